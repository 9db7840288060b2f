"""Files that go through the network together: of one size, in the order of their paths, whatever is done already."""

from __future__ import annotations

import io
import warnings
from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple

from PIL import Image

from ddpmcodec.bitstream.header import missing_header_bytes, parse_header
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.places import Place

AT_A_TIME = 64
PIXELS_AT_A_TIME = 1 << 20  # so that a batch of pictures that aren't small doesn't fill the memory
_TRANSPOSED = (5, 6, 7, 8)  # orientations of EXIF
_ORIENTATION = 0x0112
_PIECE = 1 << 12


class Sized(NamedTuple):
    """File, with what it shares with those of its batch, and its pixels."""

    path: Path  # relative
    kind: Hashable  # None where it can't be told
    pixels: int


def sized_picture(path: Path, data: Place | bytes) -> Sized:
    """Return a picture's size, as its file, or the bytes of it, declares it. Nothing is decoded, and nothing raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(data) as file, Image.open(file) as picture:
                width, height = picture.size
                if picture.getexif().get(_ORIENTATION) in _TRANSPOSED:
                    width, height = height, width
        return Sized(path, (height, width), height * width)
    except Exception:  # what is wrong with it is said by who decodes it
        return Sized(path, None, 0)


def sized_stream(path: Path, data: Place | bytes) -> Sized:
    """Return what a stream's header shares with others, and its pixels, of its file or the bytes of it. Nothing is
    raised.
    """
    try:
        header, _ = parse_header(data if isinstance(data, bytes) else _start(data), whole=False)
        return Sized(path, header.shared(), header.pixels)
    except (OSError, DdpmCodecError):
        return Sized(path, None, 0)


def _opened(data: Place | bytes) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(io.BytesIO(data)) if isinstance(data, bytes) else data.open("rb")


def _start(path: Place) -> bytes:
    """The beginning of a stream's file, with its whole header."""
    with path.open("rb") as file:
        start = file.read(_PIECE)
        while (missing := missing_header_bytes(start)) and (piece := file.read(missing)):
            start += piece
    return start


def in_batches(files: Iterable[Sized], at_a_time: int = AT_A_TIME) -> list[tuple[Sized, ...]]:
    """Return the files of each kind, `at_a_time` or fewer together; those whose kind can't be told go alone.

    A file's batch depends on the files, and not on which of them are done: who starts again makes the same ones.
    """
    groups: dict[Hashable, list[Sized]] = {}
    for file in sorted(files):
        groups.setdefault(file.path if file.kind is None else (file.kind,), []).append(file)
    return sorted(part for group in groups.values() for part in _parts(group, at_a_time))


def _parts(group: Sequence[Sized], at_a_time: int) -> Iterable[tuple[Sized, ...]]:
    size = max(1, min(at_a_time, PIXELS_AT_A_TIME // max(1, group[0].pixels)))
    return (tuple(group[i : i + size]) for i in range(0, len(group), size))
