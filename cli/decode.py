"""Command that makes pictures of streams: decode."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, DeviceOption, ModelOption, QuietOption, command
from ddpmcodec.cli.files import check_outputs, read_input, write_output
from ddpmcodec.cli.folders import (
    FRAMES,
    EngineOption,
    JobsOption,
    RecursiveOption,
    check_results,
    is_folder,
    make_empty,
    only_for_folders,
)
from ddpmcodec.cli.progress import StepProgress, showing, step_bar
from ddpmcodec.cli.size import YesOption, weigh
from ddpmcodec.cli.speech import tell
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.outputs import is_stream
from ddpmcodec.io.places import place_of


@command
def decode(
    stream: Annotated[str, typer.Argument(metavar="IN", help="A stream or an archive, or - for stdin; or a folder.")],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="The picture to write (.png), or - for a PNG on stdout; an archive's or a folder's directory.",
        ),
    ],
    index: Annotated[
        int | None, typer.Option(help="Decode one picture of an archive, from 0, without the others.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps to decode; default all.")] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Decode the whole steps of a cut file.")
    ] = False,
    reconstruct: Annotated[
        str, typer.Option(help="mean (least RMSE), sample (a plausible picture) or ddim (where the flow leads).")
    ] = "mean",
    ddim_steps: Annotated[
        int | None, typer.Option(help="Network calls of --reconstruct ddim; default: the plan's steps.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --reconstruct sample: another one, another picture.", min=0)] = 0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Read as bytes arrive; rewrite the picture at each step.")
    ] = False,
    frames: Annotated[str | None, typer.Option(help="A directory for one PNG a step.")] = None,
    gif: Annotated[str | None, typer.Option(help="An animated GIF of the steps.")] = None,
    webp: Annotated[str | None, typer.Option(help="An animated, lossless WebP of the steps.")] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Remove what an earlier run left in the directory of an archive or of --frames; of a folder: replace "
            "results of other options, and files in the way.",
        ),
    ] = False,
    recursive: RecursiveOption = False,
    jobs: JobsOption = None,
    engine: EngineOption = "processes",
    yes: YesOption = False,
    model: ModelOption = "auto",
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Decode a stream, or its first steps, to a picture; or an archive to a directory of pictures, by the names it
    keeps or as 00000.png and so on; or each stream of a folder, NAME.ddpc, to a PNG.
    """
    if is_folder([stream]):
        if reconstruct != "mean" or ddim_steps is not None or frames or gif or webp or watch or index is not None:
            raise DdpmCodecError(
                "--reconstruct, --frames, --gif, --webp, --watch and --index are for single files, and the input is a "
                "folder"
            )
        from ddpmcodec.cli.whole_folders import decode_folder

        how: dict[str, Any] = {"steps": steps, "allow_partial": allow_partial, "model": model, "device": device}
        how |= {"overwrite": overwrite, "yes": yes, "quiet": quiet}
        decode_folder(stream, output, recursive=recursive, jobs=jobs, engine=engine, **how)
        return
    only_for_folders(recursive, jobs, overwrite=False)
    if watch and (output == "-" or is_stream(output)):
        raise DdpmCodecError("--watch rewrites a file at each step: name one with -o")
    if watch and index is not None:
        raise DdpmCodecError("--watch reads one picture's stream as it arrives; an archive is read whole for --index")
    data = b"" if watch else read_input(stream)
    from ddpmcodec.bitstream.archive import is_archive

    if index is None and is_archive(data):
        if reconstruct != "mean" or ddim_steps is not None or frames or gif or webp:
            raise DdpmCodecError(
                "--reconstruct, --frames, --gif and --webp are for one picture of an archive: name it by --index"
            )
        from ddpmcodec.cli.archive import decode_all

        decode_all(data, output, steps, allow_partial, model, device, quiet, yes, overwrite, keep=[stream, model])
        return
    check_outputs(output, gif, webp, inputs=[stream, model])
    folder = None if frames is None else place_of(frames)
    if folder is not None:
        check_results(folder, FRAMES, overwrite, keep=[output, gif, webp, stream, model])
    from ddpmcodec.bitstream.file import require_model
    from ddpmcodec.cli.source import Source
    from ddpmcodec.codec.decoding import picture_of
    from ddpmcodec.codec.metadata import of_fields
    from ddpmcodec.io.writing import animation_bytes, image_bytes, what_it_leaves_out, what_it_loses
    from ddpmcodec.models import load_model
    from ddpmcodec.models.choice import receiving_info

    member = None
    if index is not None:
        from ddpmcodec.cli.member import Member, opened

        archive = opened(data, allow_partial)
        if archive.solid > 1:
            member = Member(archive, index, steps, allow_partial)
        data = member.data if member else archive.stream(index)
    way = _reconstruction(reconstruct, ddim_steps, seed)
    target = Path("-.png" if output == "-" or not Path(output).suffix else output)
    lost = what_it_loses(target)
    if lost and not quiet:
        tell(f"warning: {target.suffix} {lost}; use .png to keep the decoded picture")
    source = member or Source(stream, data, watch, steps, allow_partial)
    header = source.header()
    known = receiving_info(model, header.fingerprint)
    source.look(known)
    codec, start = load_model(known.path, device), time.perf_counter()
    require_model(header, codec)
    job: dict[str, Any] = {"plan_steps": header.plan_steps, "steps": source.expected or None, "encoding": False}
    weigh(codec, header.height, header.width, yes=yes, quiet=quiet, **job)
    metadata = of_fields(header.fields)
    pictures: list[Any] = []
    keeps_all, item, first = gif is not None or webp is not None, None, 0
    with _bar(source, codec, header, not quiet and not watch) as advance:
        for item in source.steps(codec):
            if watch or folder is not None or keeps_all:
                picture = picture_of(source.data, item, codec, way)
                pictures += [picture] if keeps_all else []
                if folder is not None:
                    if not first:
                        first = item.n
                        make_empty(folder, FRAMES)
                    write_output(str(folder / f"step-{item.n:03d}.png"), image_bytes(picture, Path("-.png"), metadata))
                if watch:
                    write_output(output, image_bytes(picture, target, metadata))
                    if not quiet:
                        tell(f"step {item.n}: {item.bits / 8:.0f} bytes of payload")
            advance()
    if item is None:
        raise DdpmCodecError("not even the first step of the stream is there; nothing can be decoded")
    if not watch:
        picture = picture_of(source.data, item, codec, way)
        write_output(output, image_bytes(picture, target, metadata))
    for place, kind in ((gif, "GIF"), (webp, "WEBP")):
        if place is not None:
            write_output(place, animation_bytes(pictures, kind, metadata))
    left_out = what_it_leaves_out(picture, target, metadata)
    if left_out and not quiet:
        tell(f"warning: {target.suffix} can't hold {' or '.join(left_out)} of the picture; use .png to keep all")
    if gif is not None and metadata.says_colours and not quiet:
        tell("warning: --gif can't hold the colour profile: its colours are shown as sRGB's; use --webp")
    if not quiet:
        height, width, _ = item.image.shape
        if source.found and not source.complete:
            tell(f"warning: the stream is cut or damaged; decoded {item.n} of {source.planned} steps, unverified")
        if steps is not None and source.complete and item.n < steps:
            tell(f"warning: {steps} steps were asked for, and the file holds {item.n}: decoded all of them")
        of = f" of {source.found}" if source.found else ""
        exact = ", exact" if item.exact and not lost and not left_out else ""
        tell(f"{width}x{height}, {item.n}{of} steps{exact}, {time.perf_counter() - start:.2f} s")


def _bar(source: Any, codec: Any, header: Any, show: bool) -> AbstractContextManager[Callable[..., None]]:
    """Show a bar of the steps of a stream that is there as a whole."""
    from ddpmcodec.codec.estimate import step_seconds

    shown = showing(not show)
    size, plan_steps = (header.height, header.width), header.plan_steps
    seconds = step_seconds(codec, *size, plan_steps=plan_steps, encoding=False).network if shown else []
    return step_bar("decoding", StepProgress(seconds, source.expected), shown)


def _reconstruction(name: str, ddim_steps: int | None, seed: int) -> Any:
    from ddpmcodec.codec.reconstruction import flow, mean, sample

    if ddim_steps is not None and name != "ddim":
        raise DdpmCodecError("--ddim-steps is for --reconstruct ddim")
    if name not in ("mean", "sample", "ddim"):
        raise DdpmCodecError(f"no reconstruction {name!r}: expected of mean, sample, ddim")
    return mean if name == "mean" else sample(seed) if name == "sample" else flow(ddim_steps)
