"""Picture files as `encode` reads them: one after another, each with what is noted on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ddpmcodec.cli.files import read_input
from ddpmcodec.cli.speech import tell
from ddpmcodec.errors import DdpmCodecError, ImageError

if TYPE_CHECKING:
    from ddpmcodec.io.reading import Picture, Reading


def read_pictures(
    names: Sequence[str], how: Reading, *, frame: int | None, all_frames: bool, quiet: bool
) -> Iterator[tuple[str, Picture]]:
    """Yield the name and the contents of each picture of an archive. Raises ImageError, with the name."""
    from ddpmcodec.io.reading import read_frames, read_picture

    if names.count("-") > 1:
        raise DdpmCodecError("- stands for stdin, which holds one picture: name it once")
    for name in names:
        data, heard = read_input(name), replace(how, note=noting(name, quiet))
        try:
            if all_frames:
                for i, picture in enumerate(read_frames(data, heard)):
                    yield f"{name} (frame {i})", picture
            else:
                yield name, read_picture(data, heard, frame)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error


def noting(name: str, quiet: bool) -> Callable[[str], None]:
    """Return what takes notes on how a file is read: each is said once."""
    said = set[str]()

    def note(text: str) -> None:
        if text not in said and not quiet:
            tell(f"note: {name}: {text}")
        said.add(text)

    return note


def colour_of(name: str) -> tuple[int, int, int]:
    """Return the red, green and blue of a colour's name or #rrggbb. Raises DdpmCodecError."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise DdpmCodecError(f"colour {name!r}: expected a name such as white, or #rrggbb") from error
