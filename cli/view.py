"""Command that makes a page to look at: view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, DeviceOption, ModelOption, QuietOption, command
from ddpmcodec.cli.files import check_outputs, read_input, write_output
from ddpmcodec.cli.size import YesOption, weigh
from ddpmcodec.cli.speech import progress_bar, tell
from ddpmcodec.errors import DdpmCodecError, ImageError

_LONGEST_NAME = 80  # characters of what a stranger may have written


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
    yes: YesOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make one self-contained page of streams: every step of each, with a slider, the curve and differences."""
    originals = original or []
    check_outputs(output, inputs=[*streams, *originals, model])
    found = [picture for path in streams for picture in _pictures(path, allow_partial)]
    if originals and len(originals) != len(found):
        raise DdpmCodecError(
            f"{len(originals)} originals for {len(found)} pictures: give --original once for each, in their order"
        )
    from ddpmcodec.codec.metadata import of_fields
    from ddpmcodec.io.reading import APART, Reading, read_picture
    from ddpmcodec.models import load_model
    from ddpmcodec.models.choice import receiving_info
    from ddpmcodec.page.page import page_of

    known = [receiving_info(model, picture.fingerprint) for picture in found]
    total = sum(picture.count(info) for picture, info in zip(found, known, strict=True))
    codecs, shown = dict[Any, Any](), list[Any]()
    with progress_bar("decoding", total, not quiet) as advance:
        for i, (picture, info) in enumerate(zip(found, known, strict=True)):
            if info.path not in codecs:
                codecs[info.path] = load_model(info.path, device)
            kept = {"every": every, "model": codecs[info.path], "allow_partial": allow_partial, "on_step": advance}
            weigh(codecs[info.path], *picture.size, yes=yes, quiet=quiet, plan_steps=picture.plan_steps, encoding=False)
            source = None
            try:
                how = Reading(
                    keep_profile=of_fields(picture.fields).says_colours, several=APART
                )  # the stream's own values
                source = read_picture(read_input(originals[i]), how).rgb if originals else None
            except ImageError as error:
                raise ImageError(f"{originals[i]}: {error}") from error
            shown.append(picture.shown(original=source, **kept))
    page = page_of(shown, title or (shown[0].name if len(shown) == 1 else f"{len(shown)} pictures")).html.encode()
    write_output(output, page)
    if not quiet:
        pictures = sum(len(stream.steps) for stream in shown)
        tell(f"{output}: {pictures} pictures, {len(page)} bytes")


@dataclass(frozen=True)
class _Picture:
    """A picture of a file, before its model is known."""

    fingerprint: str
    fields: Any  # of its header
    size: tuple[int, int]  # height, width
    plan_steps: int | None
    count: Callable[[Any], int]  # steps, by a model's metadata
    shown: Callable[..., Any]  # takes what `shown_stream` takes by name


def _pictures(path: str, allow_partial: bool) -> Iterator[_Picture]:
    """Yield each picture of a file."""
    from ddpmcodec.bitstream.archive import is_archive, read_archive
    from ddpmcodec.bitstream.file import read_info
    from ddpmcodec.bitstream.header import Header, read_header
    from ddpmcodec.bitstream.solid import read_block
    from ddpmcodec.page.shown import shown_member, shown_stream

    def of(header: Header, count: Callable[[Any], int], show: Callable[..., Any]) -> _Picture:
        size = header.height, header.width
        return _Picture(header.fingerprint, header.fields, size, header.plan_steps, count, show)

    def single(data: bytes, name: str) -> _Picture:
        count = lambda info: read_info(data, info).pictures  # noqa: E731
        header = read_header(data)
        return of(header, count, partial(shown_stream, data, name))

    def member(archive: Any, i: int, name: str) -> _Picture:
        size = len(archive.members(i // archive.solid))
        count = lambda info: read_block(archive.header, archive.payload(i), size, info).pictures  # noqa: E731
        return of(archive.header, count, partial(shown_member, archive, i, name))

    data = read_input(path)
    name = "stdin" if path == "-" else Path(path).name
    if not is_archive(data):
        yield single(data, name)
        return
    archive = read_archive(data, allow_partial=allow_partial)
    for i in range(archive.intact):
        if archive.solid == 1:
            yield single(archive.stream(i), f"{name} #{i}")
        else:
            own = archive.names[i][:_LONGEST_NAME] if archive.names else ""
            yield member(archive, i, f"{name} #{i}: {own}" if own else f"{name} #{i}")
