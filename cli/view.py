"""Command that makes a page to look at: view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, DeviceOption, ModelOption, QuietOption, command
from ddpmcodec.cli.files import check_outputs, read_input, write_output
from ddpmcodec.cli.speech import progress_bar, tell
from ddpmcodec.errors import DdpmCodecError, ImageError


@command
def view(
    streams: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Streams and archives; several make a gallery.")
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="The page to write (.html), or - for stdout.")],
    original: Annotated[
        list[str] | None,
        typer.Option(help="The picture that was encoded, for PSNR and differences; one for each IN, in their order."),
    ] = None,
    every: Annotated[int, typer.Option(help="Show every N-th step only, and the first and the last.", min=1)] = 1,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Show the whole steps of cut files.")] = False,
    model: ModelOption = "auto",
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make one self-contained page of streams: every step of each, with a slider, the curve and differences."""
    originals = original or []
    check_outputs(output, inputs=[*streams, *originals, model])
    found = [(name, data) for path in streams for name, data in _pictures(path, allow_partial)]
    if originals and len(originals) != len(found):
        raise DdpmCodecError(
            f"{len(originals)} originals for {len(found)} pictures: give --original once for each, in their order"
        )
    from ddpmcodec.bitstream.header import read_header
    from ddpmcodec.codec.metadata import of_fields
    from ddpmcodec.io.reading import Reading, read_picture
    from ddpmcodec.models import load_model
    from ddpmcodec.models.choice import receiving_info
    from ddpmcodec.page.page import page_of
    from ddpmcodec.page.shown import shown_stream

    known = [receiving_info(model, read_header(data).fingerprint) for _, data in found]
    total = sum(_count(data, info) for (_, data), info in zip(found, known, strict=True))
    codecs, shown = dict[Any, Any](), list[Any]()
    with progress_bar("decoding", total, not quiet) as advance:
        for i, ((name, data), info) in enumerate(zip(found, known, strict=True)):
            if info.path not in codecs:
                codecs[info.path] = load_model(info.path, device)
            kept = {"every": every, "model": codecs[info.path], "allow_partial": allow_partial, "on_step": advance}
            source = None
            try:
                how = Reading(keep_profile=of_fields(read_header(data).fields).says_colours)  # the stream's own values
                source = read_picture(read_input(originals[i]), how).rgb if originals else None
            except ImageError as error:
                raise ImageError(f"{originals[i]}: {error}") from error
            shown.append(shown_stream(data, name, original=source, **kept))
    page = page_of(shown, title or (shown[0].name if len(shown) == 1 else f"{len(shown)} pictures")).html.encode()
    write_output(output, page)
    if not quiet:
        pictures = sum(len(stream.steps) for stream in shown)
        tell(f"{output}: {pictures} pictures, {len(page)} bytes")


def _pictures(path: str, allow_partial: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the stream of each picture of a file."""
    from ddpmcodec.bitstream.archive import is_archive, read_archive

    data = read_input(path)
    name = "stdin" if path == "-" else Path(path).name
    if not is_archive(data):
        yield name, data
        return
    archive = read_archive(data, allow_partial=allow_partial)
    for i in range(archive.intact):
        yield f"{name} #{i}", archive.stream(i)


def _count(data: bytes, info: Any) -> int:
    from ddpmcodec.bitstream.file import read_info

    return read_info(data, info).pictures
