"""LEB128: whole numbers of any size in few bytes, seven bits a byte, the least first; all bytes but the last have the
high bit.
"""

from __future__ import annotations

from ddpmcodec.errors import FormatError

_MOST_BYTES = 10


def leb128(value: int) -> bytes:
    """Return the number's bytes."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def read_leb128(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the number that starts there, and where it ends. Raises FormatError when it has no end, or more than ten
    bytes.
    """
    end, value = leb128_end(data, at), 0
    if end > len(data):
        raise FormatError("the input ends inside the header")
    for byte in reversed(data[at:end]):
        value = value << 7 | byte & 127
    return value, end


def leb128_end(data: bytes | bytearray, at: int) -> int:
    """Return where the number that starts there ends; beyond the data, where it does not end in them."""
    for end in range(at, at + _MOST_BYTES):
        if end >= len(data) or data[end] < 128:
            return end + 1
    raise FormatError("a number in the header is too long; the file is damaged")
