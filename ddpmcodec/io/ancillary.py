"""Data beside a picture's pixels that would stop Pillow, taken out before it looks: nothing shown depends on them."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

from ddpmcodec.io.declared import (
    JPEG_START,
    PNG_START,
    TIFF_STARTS,
    jpeg_segments,
    png_chunks,
    tiff_directories,
    tiff_layout,
)

# PNG's ancillary chunks that say what is shown; all others are left out before they can do harm.
_NEEDED = {b"tRNS", b"sRGB", b"gAMA", b"cHRM", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
_SIZES = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}  # bytes
_STRUCTURE = {b"tRNS", b"acTL", b"fcTL", b"fdAT"}  # whose damage is the picture's
_APP0, APP13, _APP15 = 0xE0, 0xED, 0xEF
# Bytes that Pillow takes for granted behind these words. Photoshop's blocks are IPTC data, and never needed.
_LEAST = {b"JFIF": 7, b"Adobe": 7, b"ICC_PROFILE\0": 14}
PHOTOSHOP = b"Photoshop 3.0\0"
# TIFF's tags that only tell of a picture, with the types that they can have: texts, XMP, IPTC, Photoshop's, ICC
# profile, and the places of EXIF, GPS and interoperability data.
_TYPES = dict.fromkeys((269, 270, 271, 272, 285, 305, 306, 315, 316, 33432), frozenset((1, 2, 7)))
_TYPES |= dict.fromkeys((700, 34377, 34675), frozenset((1, 7))) | {33723: frozenset((1, 4, 7))}
_TYPES |= dict.fromkeys((34665, 34853, 40965), frozenset((4, 13)))
_BIG_PLACES = {16, 18}  # of BigTIFF
_PRIVATE = 1 << 15  # tags from here on, too
_BYTES_OF = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # by type; others: one
_NO_TAG = 0xFFFF, 1, 0  # with its type and its count


def without_harm(data: bytes) -> bytes:
    """Return a picture file without what nothing shown depends on and Pillow stumbles over; most as they are."""
    if data.startswith(PNG_START):
        return _png(data)
    with suppress(IndexError, struct.error):  # Pillow says what is wrong with a cut file
        if data.startswith(JPEG_START):
            return _jpeg(data)
        if data.startswith(TIFF_STARTS):
            return _tiff(data)
    return data


def _png(data: bytes) -> bytes:
    """Pillow refuses a picture for any chunk that is damaged or large, and reads colours where none may stand: behind
    the pixels. Whatever is cut off or beyond IEND stays.
    """
    kept, end = [PNG_START], len(PNG_START)
    pixels = False
    for name, content, check in png_chunks(data):
        end += 12 + len(content)
        pixels = pixels or name == b"IDAT"
        critical = bool(name) and not name[0] & 32
        needed = name in _NEEDED and _sound(name, content, check) and not (pixels and name in _SIZES)
        if critical or name in _STRUCTURE or needed:
            kept.append(len(content).to_bytes(4, "big") + name + content + check)
    return b"".join([*kept, data[end:]])


def _sound(name: bytes, content: bytes, check: bytes) -> bool:
    if zlib.crc32(name + content) != int.from_bytes(check, "big"):
        return False
    return len(content) >= _SIZES.get(name, 0)


def _jpeg(data: bytes) -> bytes:
    """A segment that Pillow can't read gets a number that says nothing; places in the file stay what they were."""
    out: bytearray | None = None
    for marker, place, content in jpeg_segments(data):
        short = any(content.startswith(word) and len(content) < least for word, least in _LEAST.items())
        if _APP0 <= marker <= _APP15 and (short or (marker == APP13 and content.startswith(PHOTOSHOP))):
            out = out or bytearray(data)
            out[place + 1] = _APP15
    return data if out is None else bytes(out)


def _tiff(data: bytes) -> bytes:
    """A tag of a type that it can't have, or whose data isn't there, becomes one that nobody knows. Pillow would look
    for them, and leave the rest of the tags unread.
    """
    order, word, entry, inside = tiff_layout(data)
    out: bytearray | None = None
    for entries in tiff_directories(data):
        for place, tag, kind, count in entries:
            types = _TYPES.get(tag, {kind}) | (_BIG_PLACES if word == "Q" and tag in _TYPES else set())
            size, at = count * _BYTES_OF.get(kind, 1), place + struct.calcsize(entry)
            start = struct.unpack_from(order + word, data, at)[0] if size > inside else at
            if (tag in _TYPES or tag >= _PRIVATE) and (kind not in types or start + size > len(data)):
                out = out or bytearray(data)
                struct.pack_into(entry, out, place, *_NO_TAG)
    return data if out is None else bytes(out)
