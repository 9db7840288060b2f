"""Source of a stream that is decoded: a file that is there, or one that still arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import Header, missing_header_bytes, parse_header, read_header
from ddpmcodec.cli.files import read_input, stdin
from ddpmcodec.errors import DdpmCodecError

_PIECE = 1 << 16  # bytes read at a time, at most
_KEPT = (1 << 20) + _PIECE  # bytes that hold any header


class Source:
    """Source of a stream, read whole at first, or as it arrives; and what is known of it before it is decoded."""

    def __init__(self, stream: str, data: bytes, watch: bool, steps: int | None, allow_partial: bool):
        self.stream, self.watch, self.limit, self.allow_partial = stream, watch, steps, allow_partial
        self.data = data  # b"" at first where it is watched
        self.found = self.planned = 0  # steps in the file, and of its plan; 0: not known while it arrives
        self.complete = True
        self._waiting: list[bytes] = []  # pieces that came and were only looked at
        self._read = self._reader() if watch else lambda: b""
        if watch and steps is not None and steps < 1:
            raise DdpmCodecError(f"{steps} steps were asked for: expected at least 1")

    def header(self) -> Header:
        """Return the header. Of a stream that arrives, waits for all of it. Raises DdpmCodecError."""
        if not self.watch:
            return read_header(self.data)
        start = bytearray()
        while missing_header_bytes(start) and (piece := self._read()):
            self._waiting.append(piece)
            start += piece
        return parse_header(bytes(start), whole=False)[0]

    def look(self, info: Any) -> None:
        """Count the steps, unless they are still to arrive."""
        if self.watch:
            return
        about = read_info(self.data, info)
        self.found, self.planned, self.complete = about.pictures, about.plan.steps, about.complete

    @property
    def expected(self) -> int:
        return self.limit or self.found

    def steps(self, codec: Any) -> Iterator[Any]:
        from ddpmcodec.codec.decoding import decode_progressive, decode_stream

        if not self.watch:
            yield from decode_progressive(self.data, self.limit, model=codec, allow_partial=self.allow_partial)
            return
        for item in decode_stream(self._pieces(), model=codec, allow_partial=self.allow_partial):
            yield item
            if item.n == self.limit:
                return

    def _pieces(self) -> Iterator[bytes]:
        """Yield bytes as they come; the first ones are kept, for they hold the header."""
        while piece := self._waiting.pop(0) if self._waiting else self._read():
            if len(self.data) < _KEPT:
                self.data += piece
            yield piece

    def _reader(self) -> Callable[[], bytes]:
        if self.stream == "-":
            source: Any = stdin()
            return lambda: bytes(source.read1(_PIECE))  # gives what is there; read would wait for more
        data = read_input(self.stream)
        pieces = iter([data[i : i + _PIECE] for i in range(0, len(data), _PIECE)])
        return lambda: next(pieces, b"")
