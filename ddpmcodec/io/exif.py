"""EXIF blocks: the few tags that say how a picture is shown, read and set in place, so that all else stays as it is.

A block is a small TIFF file without a picture. Tags and values: Exif 3.0 (CIPA DC-008), sections 4.6 and 4.7.
"""

from __future__ import annotations

import struct
from contextlib import suppress

_ORIENTATION, _EXIF_IFD, _COLOUR_SPACE, _INTEROP_IFD, _INTEROP_INDEX = 0x0112, 0x8769, 0xA001, 0xA005, 0x0001
_SHORT, _LONG, _ASCII = 3, 4, 2
_UPRIGHT = 1
_SRGB, _ADOBE_RGB, _UNCALIBRATED = 1, 2, 0xFFFF  # the second one isn't in the standard, but in cameras
_INDEX_OF_SRGB, _INDEX_OF_ADOBE_RGB = b"R98\0", b"R03\0"
_MARK = b"Exif\0\0"  # before the block in a JPEG, and now and then elsewhere


def block_of(data: bytes) -> bytes | None:
    """Return an EXIF block from its byte order mark on; None for what is none."""
    block = data.removeprefix(_MARK)
    return block if block[:4] in (b"II*\0", b"MM\0*") else None


def is_adobe_rgb(block: bytes) -> bool:
    """Return whether a block declares Adobe RGB, as cameras do that embed no profile (DCF 2.0)."""
    space = _number(block, _COLOUR_SPACE)
    return space == _ADOBE_RGB or (space == _UNCALIBRATED and _index(block) == _INDEX_OF_ADOBE_RGB)


def is_uncalibrated(block: bytes) -> bool:
    """Return whether a block says that colours are none of those it could name."""
    return _number(block, _COLOUR_SPACE) == _UNCALIBRATED


def as_upright(block: bytes) -> bytes:
    """Return a block whose orientation is that of a picture that has been turned upright."""
    return _with_number(block, _ORIENTATION, _UPRIGHT)


def as_srgb(block: bytes) -> bytes:
    """Return a block that declares sRGB, for a picture that has been converted to it."""
    out = bytearray(_with_number(block, _COLOUR_SPACE, _SRGB))
    with suppress(struct.error):
        if (at := _place(block, _INTEROP_INDEX)) is not None and _index(block) == _INDEX_OF_ADOBE_RGB:
            out[at + 8 : at + 12] = _INDEX_OF_SRGB
    return bytes(out)


def _number(block: bytes, tag: int) -> int | None:
    with suppress(struct.error):
        at = _place(block, tag)
        if at is not None and struct.unpack_from(_order(block) + "HI", block, at + 2) == (_SHORT, 1):
            return int(struct.unpack_from(_order(block) + "H", block, at + 8)[0])
    return None


def _index(block: bytes) -> bytes | None:
    """The four characters that name a set of interoperability rules."""
    with suppress(struct.error):
        at = _place(block, _INTEROP_INDEX)
        if at is not None and struct.unpack_from(_order(block) + "HI", block, at + 2) == (_ASCII, 4):
            return block[at + 8 : at + 12]
    return None


def _with_number(block: bytes, tag: int, value: int) -> bytes:
    if _number(block, tag) is None:
        return block
    out, at = bytearray(block), _place(block, tag)
    assert at is not None
    struct.pack_into(_order(block) + "H", out, at + 8, value)
    return bytes(out)


def _place(block: bytes, tag: int) -> int | None:
    """Return where a tag's entry begins, in the directory it belongs to. Raises struct.error for a damaged block."""
    (start,) = struct.unpack_from(_order(block) + "I", block, 4)
    for pointer in {_ORIENTATION: (), _COLOUR_SPACE: (_EXIF_IFD,)}.get(tag, (_EXIF_IFD, _INTEROP_IFD)):
        at = _entry(block, start, pointer)
        if at is None:
            return None
        (start,) = struct.unpack_from(_order(block) + "I", block, at + 8)
    return _entry(block, start, tag)


def _entry(block: bytes, start: int, tag: int) -> int | None:
    (count,) = struct.unpack_from(_order(block) + "H", block, start)
    places = (start + 2 + 12 * i for i in range(count))
    return next((at for at in places if struct.unpack_from(_order(block) + "H", block, at)[0] == tag), None)


def _order(block: bytes) -> str:
    return "<" if block.startswith(b"II") else ">"
