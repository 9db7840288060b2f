"""Command that makes streams of pictures: encode."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, DeviceOption, JsonOption, ModelOption, QuietOption, command
from ddpmcodec.cli.encode_report import EncodeReport
from ddpmcodec.cli.files import check_outputs, goes_on, read_input, write_output
from ddpmcodec.cli.folders import (
    EngineOption,
    JobsOption,
    OverwriteOption,
    RecursiveOption,
    is_folder,
    only_for_folders,
)
from ddpmcodec.cli.picture_files import colour_of, noting, read_pictures
from ddpmcodec.cli.progress import StepProgress, showing, step_bar
from ddpmcodec.cli.size import YesOption, weigh
from ddpmcodec.cli.speech import say, tell
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.outputs import descriptor_of


@command
def encode(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...",
            help="A picture file, or - for stdin; several, of one size, make an archive; a folder: a stream for each "
            "of its pictures.",
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="The stream to write, or - for stdout; a folder's folder.")
    ],
    model: ModelOption = "auto",
    plan_steps: Annotated[
        int | None,
        typer.Option(
            help="Steps of the chain, 100 is slow; default: tiles 33, photographs 28, above 2 megapixels 22, exact 46."
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Take two thirds of the steps at most, and more bits: tiles 20, photographs 16."),
    ] = False,
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
    names: Annotated[bool, typer.Option("--names", help="Keep the pictures' file names in the archive.")] = False,
    archive: Annotated[bool, typer.Option("--archive", help="Make an archive of a single picture, too.")] = False,
    solid: Annotated[
        int | None,
        typer.Option(help="Code pictures of an archive together, as many as this, such as 16: fewer bytes."),
    ] = None,
    class_label: Annotated[int | None, typer.Option("--class", help="Class that the network is told.", min=0)] = None,
    prompt: Annotated[str, typer.Option(help="Text that the network is told.")] = "",
    guidance: Annotated[
        float | None, typer.Option(help="Times that the network's answer to class or prompt is taken; default 1.")
    ] = None,
    recursive: RecursiveOption = False,
    jobs: JobsOption = None,
    engine: EngineOption = "processes",
    overwrite: OverwriteOption = False,
    yes: YesOption = False,
    device: DeviceOption = "cpu",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for each step.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Code a picture to a progressive stream, or pictures of one size to an archive of such streams; or each picture of
    a folder to a stream of its own, NAME.ddpc, going on where an earlier run stopped.
    """
    if as_json and (output == "-" or descriptor_of(output) == 1):
        raise DdpmCodecError(f"--json and -o {output} both want stdout; write the stream to a file")
    folder = is_folder(images)
    if not folder:
        only_for_folders(recursive, jobs, overwrite)
        check_outputs(output, inputs=[*images, model], report=as_json)
    behind = None if flatten is None else colour_of(flatten)
    if fast and plan_steps is not None:
        raise DdpmCodecError("--fast is a plan by name: leave out --plan-steps")
    plan: Any = "fast" if fast else plan_steps
    options: dict[str, Any] = {"plan_steps": plan, "channel": channel, "seed": seed, "lossless": lossless}
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
    if names and not (archive or all_frames or len(images) > 1):
        raise DdpmCodecError("--names is for archives: name several pictures, or add --archive")
    keep_profile = icc == "keep" or (lossless and icc is None)
    if folder:
        if archive or all_frames or solid is not None:
            raise DdpmCodecError(
                "a folder's pictures have a stream each: leave out --archive, --all-frames and --solid"
            )
        from ddpmcodec.cli.whole_folders import encode_folder

        encode_folder(
            images[0],
            output,
            recursive=recursive,
            jobs=jobs,
            engine=engine,
            overwrite=overwrite,
            yes=yes,
            device=device,
            quiet=quiet,
            as_json=as_json,
            model=model,
            options={name: value for name, value in {**options, **targets}.items() if value is not None},
            flatten=behind,
            frame=frame,
            keep_profile=keep_profile,
            keep_metadata=keep_metadata,
        )
        return
    from ddpmcodec.io.reading import Reading, read_picture

    how = Reading(behind, keep_profile=keep_profile, keep_metadata=keep_metadata)
    if archive or all_frames or len(images) > 1 or solid is not None:
        from ddpmcodec.cli.archive import encode_all

        if any(target is not None for target in targets.values()):
            raise DdpmCodecError("targets are for single pictures; an archive's take their steps together")
        said = {"verbose": verbose, "quiet": quiet, "as_json": as_json, "yes": yes}
        read = partial(read_pictures, images, how, frame=frame, all_frames=all_frames, quiet=quiet)
        encode_all(read, output, names=names, model=model, device=device, solid=solid, **said, **options)
        return
    start = time.perf_counter()
    from ddpmcodec.codec import trajectory
    from ddpmcodec.codec.encoding import encode_stream
    from ddpmcodec.codec.estimate import StepSeconds, step_seconds
    from ddpmcodec.codec.forecast import Forecast
    from ddpmcodec.codec.metadata import to_fields
    from ddpmcodec.codec.options import Options
    from ddpmcodec.models import load_model
    from ddpmcodec.models.choice import AUTO, name_for
    from ddpmcodec.models.condition import condition_from

    found = read_picture(read_input(images[0]), replace(how, note=noting(images[0], quiet)), frame)
    picture = found.rgb
    options["fields"] = to_fields(found.metadata)
    codec = load_model(name_for(*picture.shape[:2]) if model == AUTO else model, device)
    codec = codec.told(condition_from(class_label, prompt, guidance))
    options["plan_steps"] = plan = trajectory.steps_of_plan(
        codec, plan, picture.shape[0] * picture.shape[1], exact=lossless
    )
    coding: dict[str, Any] = {"plan_steps": plan, "channel": channel, "encoding": True}
    weigh(codec, *picture.shape[:2], yes=yes, quiet=quiet, **coding)
    loaded = time.perf_counter()
    report = EncodeReport(picture, lossless)
    given = {name: value for name, value in (targets | options).items() if value is not None}
    forecast = Forecast(codec, Options(**given), picture)
    ahead = psnr is not None or rmse is not None
    each = step_seconds(codec, *picture.shape[:2], ahead=ahead, **coding) if showing(quiet) else StepSeconds([], [])
    progress = StepProgress(each.network, forecast.last, forecast.last_takes, each.search)
    with step_bar("encoding", progress, not quiet) as advance:

        def on_step(sent: Any) -> None:
            report.add(sent)
            if each.network:
                advance(forecast.after(sent), forecast.bits_ratio)
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


def _sent(pieces: Iterator[bytes], output: str) -> bytes:
    """Write what is final to where bytes follow one another, as it comes; return all of it."""
    data = b""
    for piece in pieces:
        write_output(output, piece)
        data += piece
    return data
