"""Payload of a picture file, in bytes: its entropy-coded data, without container and fixed headers.

On a 32×32 picture headers can outweigh the picture (a JPEG's are 300 bytes), so rates are given with and without them.
The first line of each function names what it leaves out. Whatever the format interleaves with coded data stays in:
packet, frame and slice headers, restart markers, stuffed bytes. Pictures are single, without alpha; AVIF, HEIC and JPEG
XL files without metadata, as `ddpmcodec.eval.rd.baselines` writes them. All raise DdpmCodecError, a ValueError, on
bytes of another format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ddpmcodec.errors import DdpmCodecError


def jpeg(data: bytes) -> int:
    """Left out: markers, tables, headers and metadata; of each scan, its entropy-coded data is counted (ITU-T T.81,
    B.1).
    """
    return _scans(data, is_ls=False)


def jpegls(data: bytes) -> int:
    """Left out: markers, parameters, headers and metadata; of each scan, its coded data is counted (ITU-T T.87, C)."""
    return _scans(data, is_ls=True)


def png(data: bytes) -> int:
    """Left out: signature, chunk headers and checks, all chunks but IDAT, and zlib's 6 bytes in those (RFC
    1950, 2083).
    """
    _expect(data.startswith(b"\x89PNG\r\n\x1a\n"), "PNG", data)
    at, total, name = 8, 0, b""
    while name != b"IEND":
        length, name = _uint(data, at, 4), data[at + 4 : at + 8]
        at += 12 + length
        total += length if name == b"IDAT" else 0
    _reaches(data, at)
    return total - 6


def webp(data: bytes) -> int:
    """Left out: RIFF and chunk headers, metadata, and the frame's first 10 bytes (lossy) or 5 (lossless) (RFC 9649)."""
    _expect(data[:4] == b"RIFF" and data[8:12] == b"WEBP", "WebP", data)
    _reaches(data, 8 + _uint(data, 4, 4, "little"))
    at = 12
    while True:
        name, length = data[at : at + 4], _uint(data, at + 4, 4, "little")
        if name in (b"VP8 ", b"VP8L"):
            return length - (10 if name == b"VP8 " else 5)
        at += 8 + length + length % 2


def j2k(data: bytes) -> int:
    """Left out: JP2 boxes, main and tile-part headers; packets, their headers in them, are counted (ITU-T T.800, A)."""
    stream = data if data.startswith(b"\xff\x4f") else b"".join(_boxes(data, b"jp2c"))
    _expect(stream.startswith(b"\xff\x4f\xff\x51"), "JPEG 2000", data)
    at, total = 2, 0
    while (marker := _uint(stream, at, 2)) != 0xFFD9:
        start, after = at, at + 2 + _uint(stream, at + 2, 2)
        if marker == 0xFF90:  # SOT: a tile-part, up to `end`
            length = _uint(stream, start + 6, 4)
            end = start + length if length else len(stream) - 2
            while _uint(stream, after, 2) != 0xFF93:  # SOD
                after += 2 + _uint(stream, after + 2, 2)
            total += end - (after + 2)
            after = max(end, after)
        at = after
    return total


def jxl(data: bytes) -> int:
    """Left out: signature, size and image metadata; frame headers and tables of contents are counted (ISO/IEC
    18181-1).
    """
    _expect(data.startswith(b"\xff\x0a"), "bare JPEG XL", data)
    bits = _Bits(data[2:34])
    if bits.take(1):  # height in steps of 8, the aspect ratio's code, width where that is 0
        bits.take(5)
        if bits.take(3) == 0:
            bits.take(5)
    else:
        bits.take((9, 13, 18, 30)[bits.take(2)])
        if bits.take(3) == 0:
            bits.take((9, 13, 18, 30)[bits.take(2)])
    plain = bits.take(1) == 1  # all default, else what lossless files have: 8-bit sRGB stored without the XYB transform
    if not plain:
        extra_fields, is_float, depth = bits.take(1), bits.take(1), bits.take(2)
        _, extra_channels, _ = bits.take(1), bits.take(2), bits.take(1)  # between them: 16 bits suffice, XYB
        plain = not (extra_fields or is_float or depth or extra_channels) and bits.take(1) == 1 and bits.take(2) == 0
    _expect(plain and bits.take(1) == 1, "8-bit sRGB JPEG XL", data)
    return len(data) - 2 - (bits.used + 7) // 8


def avif(data: bytes) -> int:
    """Left out: all boxes but mdat, and in it headers of OBUs and the sequence header; frame headers are counted (AV1,
    5.3).
    """
    _expect(b"avif" in next(_boxes(data, b"ftyp"), b""), "AVIF", data)
    stream, at, total = b"".join(_boxes(data, b"mdat")), 0, 0
    while at < len(stream):
        header = stream[at]
        at += 1 + (header >> 2 & 1)
        length = len(stream) - at
        if header >> 1 & 1:
            at, length = _leb128(stream, at)
        if header >> 3 & 15 in (3, 4, 6):  # frame header, tile group, or both in one
            total += length
        at += length
    _expect(at == len(stream) and total > 0, "AVIF", data)
    return total


def heic(data: bytes) -> int:
    """Left out: all boxes but mdat, and in it lengths, NAL headers, SEI; slices are counted, headers in them (H.265,
    7.3).
    """
    _expect(b"hei" in next(_boxes(data, b"ftyp"), b""), "HEIC", data)
    stream, at, total = b"".join(_boxes(data, b"mdat")), 0, 0
    while at < len(stream):
        length = _uint(stream, at, 4)
        if _uint(stream, at + 4, 1) >> 1 & 63 < 32:  # a slice
            total += length - 2
        at += 4 + length
    _expect(at == len(stream) and total > 0, "HEIC", data)
    return total


def _expect(fits: bool, kind: str, data: bytes) -> None:
    if not fits:
        raise DdpmCodecError(f"{len(data)} bytes that begin with {data[:12]!r}: expected a {kind} file of one picture")


def _reaches(data: bytes, length: int) -> None:
    if length > len(data):
        raise DdpmCodecError(f"the file ends after {len(data)} bytes: expected at least {length}; it may be cut short")


def _uint(data: bytes, at: int, size: int, order: Literal["big", "little"] = "big") -> int:
    _reaches(data, at + size)
    return int.from_bytes(data[at : at + size], order)


def _scans(data: bytes, is_ls: bool) -> int:
    """Return the bytes of entropy-coded data of a JPEG or JPEG-LS file."""
    kind, frames = "JPEG-LS" if is_ls else "JPEG", set()
    _expect(data.startswith(b"\xff\xd8"), kind, data)
    at, total = 2, 0
    while (marker := _uint(data, at, 2)) != 0xFFD9:
        _expect(marker >= 0xFFC0, kind, data)
        frames.add(marker)
        at += 2 + _uint(data, at + 2, 2)
        if marker == 0xFFDA:
            end = _scan_end(data, at, is_ls)
            total += end - at
            at = end
    _expect((0xFFF7 in frames) == is_ls and total > 0, kind, data)
    return total


def _scan_end(data: bytes, at: int, is_ls: bool) -> int:
    """Return where the first marker is that is neither stuffing nor, in JPEG, a restart."""
    while (at := data.find(b"\xff", at)) >= 0:
        after = _uint(data, at + 1, 1)
        if not (after < 0x80 if is_ls else after == 0 or 0xD0 <= after <= 0xD7):
            return at
        at += 2
    raise DdpmCodecError(f"no end marker in {len(data)} bytes: the file may be cut short")


def _boxes(data: bytes, name: bytes) -> Iterator[bytes]:
    """Yield the contents of the top-level boxes of a name (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at < len(data):
        length, header = _uint(data, at, 4), 8
        if length == 1:
            length, header = _uint(data, at + 8, 8), 16
        end = at + max(length, header) if length else len(data)
        if data[at + 4 : at + 8] == name:
            _reaches(data, end)
            yield data[at + header : end]
        at = end


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return the position after the number at `at`, and the number: seven bits a byte, least significant first."""
    value = shift = 0
    while True:
        byte = _uint(data, at, 1)
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return at, value


class _Bits:
    """Bits of a few bytes, least significant first; zeros after their end."""

    def __init__(self, data: bytes):
        self.number = int.from_bytes(data, "little")
        self.used = 0

    def take(self, count: int) -> int:
        value = self.number >> self.used & ((1 << count) - 1)
        self.used += count
        return value
