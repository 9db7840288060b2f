"""Index of an archive: how many pictures it has, and where their payloads lie.

    count | least | width 1 | sizes

Count, of pictures, and the least payload's size are LEB128 numbers; the payloads' sizes, less the least, are `width`
bits each, the highest first, with zeros to the next byte. Width is the fewest bits that hold them: 0 where all are
equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.leb128 import leb128, leb128_end, read_leb128
from ddpmcodec.errors import FormatError

MAX_WIDTH = 48  # bits of the index a payload
_BLOCK = 1 << 13  # sizes unpacked at a time
_INSIDE = "the archive ends inside its index; nothing of it can be decoded"


def index_bytes(count: int, sizes: Sequence[int]) -> bytes:
    """Return the index of `count` pictures, whose payloads have these sizes."""
    least = min(sizes)
    width = (max(sizes) - least).bit_length()
    bits = "".join(f"{size - least:0{width}b}" for size in sizes) if width else ""
    packed = bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
    return leb128(count) + leb128(least) + bytes([width]) + packed


def read_count(data: bytes, at: int) -> tuple[int, int]:
    """Return the count with which the index at `at` begins, and where it goes on. Raises FormatError."""
    count, at = _number(data, at)
    if not count:
        raise FormatError("the index declares 0 pictures, expected at least one; the file is damaged")
    return count, at


def read_starts(data: bytes, at: int, payloads: int, least_payload: int) -> tuple[int, list[int]]:
    """Return where the index ends, and where payloads start, as far as the data goes, and the last of those ends.

    at: behind the count. least_payload: bytes that each has at least. Raises FormatError for what no encoder writes.
    """
    least, at = _number(data, at)
    if at >= len(data):
        raise FormatError(_INSIDE)
    width, at = data[at], at + 1
    end = at + (payloads * width + 7) // 8
    if end > len(data):
        raise FormatError(f"{_INSIDE} ({payloads} payloads of {width} bits each, and {len(data) - at} bytes are left)")
    if width > MAX_WIDTH:
        raise FormatError(f"the index's sizes take {width} bits, expected at most {MAX_WIDTH}; the file is damaged")
    if least < least_payload:
        raise FormatError(
            f"the index declares payloads of at least {least} bytes, expected at least {least_payload}; the file is "
            "damaged"
        )
    starts = _starts(data, at, end, payloads, least, width)
    if starts[-1] > len(data) and len(data) - starts[-2] < least_payload:
        starts.pop()
    return end, starts


def _number(data: bytes, at: int) -> tuple[int, int]:
    if leb128_end(data, at) > len(data):
        raise FormatError(_INSIDE)
    value, end = read_leb128(data, at)
    if leb128(value) != data[at:end]:
        raise FormatError("a number in the archive's index is not in its shortest form; the file is damaged")
    return value, end


def _starts(data: bytes, at: int, end: int, count: int, least: int, width: int) -> list[int]:
    """Return where payloads start, as far as the data goes, and the last one's end: never more numbers than there are
    bytes.
    """
    if not width:
        begun = min(count, -(-(len(data) - end) // least))
        return [end + least * i for i in range(begun + 1)]
    starts, limits = [end], set[int]()
    for extras in _unpacked(data[at:end], count, width):
        limits |= {int(extras.min()), int(extras.max())}
        for extra in extras.tolist():
            if starts[-1] >= len(data):
                break
            starts.append(starts[-1] + least + extra)
    padding = 8 * (end - at) - count * width
    if min(limits) or max(limits).bit_length() != width or data[end - 1] & ((1 << padding) - 1):
        raise FormatError("the archive's index is not in its shortest form; the file is damaged")
    return starts


def _unpacked(packed: bytes, count: int, width: int) -> Iterator[NDArray[np.int64]]:
    """The bit-packed numbers, a block at a time."""
    weights = 1 << np.arange(width - 1, -1, -1, dtype=np.int64)
    for first in range(0, count, _BLOCK):
        size = width * min(_BLOCK, count - first)
        part = np.frombuffer(packed, np.uint8, -(-size // 8), first * width // 8)
        yield np.unpackbits(part, count=size).reshape(-1, width) @ weights
