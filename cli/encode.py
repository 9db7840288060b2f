"""Command that makes streams of pictures: encode."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, DeviceOption, JsonOption, ModelOption, QuietOption, command
from ddpmcodec.cli.encode_report import EncodeReport
from ddpmcodec.cli.files import check_outputs, goes_on, read_input, write_output
from ddpmcodec.cli.progress import StepProgress, showing, step_bar
from ddpmcodec.cli.size import YesOption, weigh
from ddpmcodec.cli.speech import say, tell
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.outputs import descriptor_of

if TYPE_CHECKING:
    from ddpmcodec.io.reading import Picture, Reading


@command
def encode(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="A picture file, or - for stdin; several, of one size, make an archive."),
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="The stream to write, or - for stdout.")],
    model: ModelOption = "auto",
    plan_steps: Annotated[
        int | None, typer.Option(help="Steps of the chain: 20 is fast, 100 slow; default 46.")
    ] = None,
    channel: Annotated[
        str, typer.Option(help="trellis, trellis:8…16 (memory), orc or orc:8…16 (log2 candidates).")
    ] = "trellis",
    seed: Annotated[int, typer.Option(help="Of the randomness that sender and receiver share.")] = 0,
    flatten: Annotated[
        str | None, typer.Option(help="Colour behind transparent pixels, such as white or #204060.")
    ] = None,
    frame: Annotated[int | None, typer.Option(help="Which frame or page of a file that holds several, from 0.")] = None,
    all_frames: Annotated[bool, typer.Option("--all-frames", help="All frames or pages, to an archive.")] = False,
    icc: Annotated[
        str | None,
        typer.Option(
            help="srgb: convert colours to sRGB, as lossy streams do; keep: leave them, and store the profile, as "
            "--lossless does."
        ),
    ] = None,
    keep_metadata: Annotated[
        bool, typer.Option("--keep-metadata", help="Store EXIF and XMP, and have decode put them back.")
    ] = False,
    target_bytes: Annotated[int | None, typer.Option(help="The file is never larger, and hardly smaller.")] = None,
    target_bpp: Annotated[float | None, typer.Option(help="The same in bits a pixel.")] = None,
    psnr: Annotated[
        float | None, typer.Option("--psnr", help="Stop when the decoded picture has this PSNR, in dB.")
    ] = None,
    rmse: Annotated[
        float | None, typer.Option("--rmse", help="Stop when its RMSE is down to this, in levels of 255.")
    ] = None,
    quality: Annotated[
        float | None, typer.Option(help="1 to 100; 75 where nothing else says when to stop and the picture isn't tiny.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Go on to the end of the chain, whatever the picture's size.")
    ] = False,
    lossless: Annotated[bool, typer.Option("--lossless", help="Go on to the exact picture.")] = False,
    archive: Annotated[bool, typer.Option("--archive", help="Make an archive of a single picture, too.")] = False,
    class_label: Annotated[int | None, typer.Option("--class", help="Class that the network is told.", min=0)] = None,
    prompt: Annotated[str, typer.Option(help="Text that the network is told.")] = "",
    guidance: Annotated[
        float | None, typer.Option(help="Times that the network's answer to class or prompt is taken; default 1.")
    ] = None,
    yes: YesOption = False,
    device: DeviceOption = "cpu",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for each step.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Code a picture to a progressive stream, or pictures of one size to an archive of such streams."""
    if as_json and (output == "-" or descriptor_of(output) == 1):
        raise DdpmCodecError(f"--json and -o {output} both want stdout; write the stream to a file")
    check_outputs(output, inputs=[*images, model], report=as_json)
    behind = None if flatten is None else _colour(flatten)
    options: dict[str, Any] = {"plan_steps": plan_steps, "channel": channel, "seed": seed, "lossless": lossless}
    options |= {"quality": quality, "full": full}
    options |= {"class_label": class_label, "prompt": prompt, "guidance": guidance}
    targets: dict[str, Any] = {
        "target_bytes": target_bytes,
        "target_bpp": target_bpp,
        "target_psnr": psnr,
        "target_rmse": rmse,
    }
    if icc not in (None, "srgb", "keep"):
        raise DdpmCodecError(f"--icc {icc!r}: expected srgb or keep")
    if frame is not None and (all_frames or len(images) > 1):
        raise DdpmCodecError("--frame takes one picture of one file; leave out --all-frames and the other files")
    from ddpmcodec.io.reading import Reading, read_picture

    keep_profile = icc == "keep" or (lossless and icc is None)
    how = Reading(behind, keep_profile=keep_profile, keep_metadata=keep_metadata)
    if archive or all_frames or len(images) > 1:
        from ddpmcodec.cli.archive import encode_all

        if any(target is not None for target in targets.values()):
            raise DdpmCodecError("targets are for single pictures; an archive's take their steps together")
        said = {"verbose": verbose, "quiet": quiet, "as_json": as_json, "yes": yes}
        read = partial(_read_pictures, images, how, frame=frame, all_frames=all_frames, quiet=quiet)
        encode_all(read, output, model=model, device=device, **said, **options)
        return
    start = time.perf_counter()
    from ddpmcodec.codec.encoding import encode_stream
    from ddpmcodec.codec.estimate import step_seconds
    from ddpmcodec.codec.forecast import Forecast
    from ddpmcodec.codec.metadata import to_fields
    from ddpmcodec.codec.options import Options
    from ddpmcodec.models import load_model
    from ddpmcodec.models.choice import AUTO, name_for
    from ddpmcodec.models.condition import condition_from

    found = read_picture(read_input(images[0]), replace(how, note=_noting(images[0], quiet)), frame)
    picture = found.rgb
    options["fields"] = to_fields(found.metadata)
    codec = load_model(name_for(*picture.shape[:2]) if model == AUTO else model, device)
    codec = codec.told(condition_from(class_label, prompt, guidance))
    weigh(codec, *picture.shape[:2], yes=yes, quiet=quiet, plan_steps=plan_steps, encoding=True)
    loaded = time.perf_counter()
    report = EncodeReport(picture, lossless)
    given = {name: value for name, value in (targets | options).items() if value is not None}
    forecast = Forecast(codec, Options(**given), picture)
    seconds = step_seconds(codec, *picture.shape[:2], plan_steps=plan_steps, encoding=True) if showing(quiet) else []
    with step_bar("encoding", StepProgress(seconds, forecast.last), not quiet) as advance:

        def on_step(sent: Any) -> None:
            report.add(sent)
            if seconds:
                advance(forecast.after(sent))
            if verbose:
                tell(report.line(sent))

        pieces = encode_stream(picture, model=codec, on_step=on_step, **targets, **options)
        data = _sent(pieces, output) if goes_on(output) else b"".join(pieces)
    coded = time.perf_counter()
    values = report.values(data, codec)
    if not goes_on(output):
        write_output(output, data)
    values |= {"seconds_load": round(loaded - start, 3), "seconds_encode": round(coded - loaded, 3)}
    if as_json:
        say(json.dumps(values))
    elif not quiet:
        reached = "exact" if values["psnr"] is None else f"{values['psnr']:.2f} dB"
        tell(
            f"{values['bytes']} bytes, {values['real_bits_per_dim']:.4f} bits/dim real "
            f"({values['ideal_bits_per_dim']:.4f} ideal), {reached}, RMSE {values['rmse']:.3f}, "
            f"{values['steps']} steps, {values['seconds_encode']:.2f} s",
        )


def _read_pictures(
    names: Sequence[str], how: Reading, *, frame: int | None, all_frames: bool, quiet: bool
) -> Iterator[tuple[str, Picture]]:
    """Yield the name and the contents of each picture of an archive. Raises ImageError, with the name."""
    from ddpmcodec.io.reading import read_frames, read_picture

    if names.count("-") > 1:
        raise DdpmCodecError("- stands for stdin, which holds one picture: name it once")
    for name in names:
        data, noting = read_input(name), replace(how, note=_noting(name, quiet))
        try:
            if all_frames:
                for i, picture in enumerate(read_frames(data, noting)):
                    yield f"{name} (frame {i})", picture
            else:
                yield name, read_picture(data, noting, frame)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error


def _noting(name: str, quiet: bool) -> Callable[[str], None]:
    """Return what takes notes on how a file is read: each is said once."""
    said = set[str]()

    def note(text: str) -> None:
        if text not in said and not quiet:
            tell(f"note: {name}: {text}")
        said.add(text)

    return note


def _sent(pieces: Iterator[bytes], output: str) -> bytes:
    """Write what is final to where bytes follow one another, as it comes; return all of it."""
    data = b""
    for piece in pieces:
        write_output(output, piece)
        data += piece
    return data


def _colour(name: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise DdpmCodecError(f"colour {name!r}: expected a name such as white, or #rrggbb") from error
