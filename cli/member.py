"""One picture of an archive, named by --index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ddpmcodec.errors import DdpmCodecError


def opened(data: bytes, allow_partial: bool) -> Any:
    """Return the archive of which --index names a picture. Raises DdpmCodecError."""
    from ddpmcodec.bitstream.archive import is_archive, read_archive

    if not is_archive(data):
        from ddpmcodec.bitstream.header import read_header

        read_header(data)  # says so where it is no stream at all
        raise DdpmCodecError("--index is for archives, and this file holds one picture")
    return read_archive(data, allow_partial=allow_partial)


class Member:
    """Picture of a solid archive, as `decode` sees a stream that is wholly there."""

    def __init__(self, archive: Any, index: int, steps: int | None, allow_partial: bool):
        self.archive, self.index, self.limit, self.allow_partial = archive, index, steps, allow_partial
        payload = archive.payload(index)
        self.data = self.header().to_bytes() + payload  # the header is what is read of it
        self.found = self.planned = 0
        self.complete = archive.complete

    def header(self) -> Any:
        """Return the picture's header."""
        return replace(self.archive.header, grey=self.archive.is_grey(self.index))

    def look(self, info: Any) -> None:
        """Counts the steps."""
        from ddpmcodec.bitstream.solid import read_block

        count = len(self.archive.members(self.index // self.archive.solid))
        block = read_block(self.archive.header, self.archive.payload(self.index), count, info)
        self.found, self.planned = block.pictures, block.plan.steps

    @property
    def expected(self) -> int:
        return self.limit or self.found

    def steps(self, codec: Any) -> Iterator[Any]:
        from ddpmcodec.codec.archive_decoding import decode_member

        return decode_member(self.archive, self.index, self.limit, codec, self.allow_partial)
