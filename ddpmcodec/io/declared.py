"""Declarations of a picture file about its samples and colours, before Pillow converts them to 8 bits without a word.

Each container is read just far enough. Where one is damaged nothing is found here, and Pillow says what is wrong with
it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JP2_START, _J2K_START = b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"
_LARGEST_PROFILE = 16 << 20  # bytes
_NO_FRAME_HEADERS = {0xC4, 0xC8, 0xCC}  # those of JPEG's markers from C0 to CF that begin no frame
_SCAN = 0xDA
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}  # the critical ones
_ENUMERATED = 1  # JPEG 2000's way to name a colour space; the others are ICC profiles
_SRGB, _GREY, _SYCC = 16, 17, 18  # JPEG 2000's enumerated colour spaces
# TIFF's tags NewSubfileType, BitsPerSample, PhotometricInterpretation, SamplesPerPixel, ExtraSamples and SampleFormat.
_SUBFILE_TYPE, _DEPTH, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT = 254, 258, 262, 277, 338, 339
_TAGS = (_SUBFILE_TYPE, _DEPTH, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT)
_SAMPLES_OF = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}  # colours by photometric interpretation
_ALPHA = ((1,), (2,))
_REDUCED_OR_MASK = 1 | 4
_TIFF_NUMBERS = {3: "H", 4: "I"}  # types SHORT and LONG
_MOST_ENTRIES = 1 << 18
_UNSIGNED, _SIGNED, _UNDEFINED = 1, 2, 4
_BC6H = range(94, 97)  # DirectDraw's formats of floating numbers, of which Pillow makes bytes


@dataclass(frozen=True)
class Declared:
    """Declarations of a file. Where one is unknown it is that of 8-bit RGB."""

    bits: int = 8  # depth of its deepest sample
    signed: bool = False
    floating: bool = False
    colours: str = ""  # a colour space that Pillow would take for RGB or grey
    code_points: tuple[int, int] | None = None  # primaries and transfer by ITU-T H.273, as in PNG's cICP
    pages: tuple[int, ...] = ()  # a TIFF's
    unknown: str = ""  # a part of the file that changes how the rest is read
    profile: bytes | None = None  # ICC, where Pillow doesn't look for it, or refuses pictures whose profile is damaged


def declared(data: bytes) -> Declared:
    """Return what a picture file declares of its samples and colours; runs no decoder and raises nothing."""
    with suppress(Exception):  # nothing is found in a damaged file
        for starts, read in _READERS:
            if starts(data[:12]):
                return read(data)
    return Declared()


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield name, content and checksum of each whole chunk of a PNG, IEND being the last."""
    at = len(PNG_START)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        name, content, check = data[at + 4 : at + 8], data[at + 8 : at + 8 + size], data[at + 8 + size : at + 12 + size]
        if len(check) < 4:
            return
        yield name, content, check
        if name == b"IEND":
            return
        at += 12 + size


def _png(data: bytes) -> Declared:
    bits, points, profile, colours = 8, None, None, ""
    for name, content, check in png_chunks(data):
        critical = name.isalpha() and name[:1].isupper()  # Apple's CgBI, for one
        if critical and name not in _PNG_CHUNKS and zlib.crc32(name + content) == int.from_bytes(check, "big"):
            return Declared(unknown=f"PNG's chunk {name.decode()}")
        if name == b"IHDR":
            bits = content[8]
        elif name == b"cICP" and len(content) >= 4:
            points, colours = (content[0], content[1]), "" if content[3] else "narrow-range"
        elif name == b"iCCP":
            with suppress(ValueError, zlib.error):
                profile = zlib.decompressobj().decompress(content[content.index(0) + 2 :], _LARGEST_PROFILE)
        elif name == b"IDAT":
            break
    return Declared(bits, colours=colours, code_points=points, profile=profile)


def _jpeg(data: bytes) -> Declared:
    frames = (c for marker, _, c in jpeg_segments(data) if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS)
    return Declared(next(frames)[0])


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, place and content of each segment of a JPEG before its first scan. Raises IndexError at the end of
    a cut file.
    """
    at = 2
    while True:
        while data[at] == 0xFF:
            at += 1
        marker, size = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        if marker == _SCAN:
            return
        yield marker, at - 1, data[at + 3 : at + 1 + size]
        at += 1 + size


def _jpeg2000(data: bytes) -> Declared:
    start = data.index(_J2K_START)
    (components,) = struct.unpack_from(">H", data, start + 40)
    depths = list(data[start + 42 : start + 42 + 3 * components : 3])
    if (palette := data.find(b"pclr", 0, start)) >= 0:
        depths += data[palette + 7 : palette + 7 + data[palette + 6]]
    colours, profile = "", None
    if (colour := data.find(b"colr", 0, start)) >= 0 and data[colour + 4] == _ENUMERATED:
        (space,) = struct.unpack_from(">I", data, colour + 7)
        known = {12: "CMYK", 14: "LAB"}
        colours = "" if space in (_SRGB, _GREY, _SYCC) else known.get(space, f"JPEG 2000's colour space {space}")
    elif colour >= 4:
        (size,) = struct.unpack_from(">I", data, colour - 4)
        profile = data[colour + 7 : colour - 4 + size]
    depth, signed = max((d & 127) + 1 for d in depths), any(d & 128 for d in depths)
    return Declared(depth, signed, colours=colours, profile=profile)


def _bmp(data: bytes) -> Declared:
    """A version 5 header may have a profile behind the picture."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header < 124 or data[14 + 56 : 14 + 60] != b"DEBM":  # "MBED", as a number
        return Declared()
    start, size = struct.unpack_from("<II", data, 14 + 112)
    return Declared(profile=data[14 + start : 14 + start + size])


def _isobmff(data: bytes) -> Declared:
    """AVIF and its kin: every coded item's configuration lies in the box "meta", every track's in "moov"."""
    bits, points = 8, None
    for name, content in _boxes(data):
        if name not in (b"meta", b"moov"):
            continue
        at = -1
        while (at := content.find(b"av1C", at + 1)) >= 0:
            flags = content[at + 6]
            bits = max(bits, 8 if not flags & 64 else 12 if flags & 32 else 10)
        at = -1
        while (at := content.find(b"hvcC", at + 1)) >= 0:
            bits = max(bits, 8 + (content[at + 4 + 17] & 7), 8 + (content[at + 4 + 18] & 7))
        if (at := content.find(b"colrnclx")) >= 0:
            points = struct.unpack_from(">HH", content, at + 8)
    return Declared(bits, code_points=points)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        size = size or len(data) - at
        if size < head:
            return
        yield name, data[at + head : at + size]
        at += size


def _tiff(data: bytes) -> Declared:
    """Return what the deepest of all pages declares; thumbnails and masks are no pages."""
    pages = list(_tiff_pages(data))
    formats = {format for page in pages for format in page.get(_FORMAT, (_UNSIGNED,))}
    full = tuple(i for i, page in enumerate(pages) if not page.get(_SUBFILE_TYPE, (0,))[0] & _REDUCED_OR_MASK)
    bits = max(bits for page in pages for bits in page.get(_DEPTH, (1,)))
    signed, floating = _SIGNED in formats, bool(formats - {_UNSIGNED, _SIGNED, _UNDEFINED})
    others = next((samples for page in pages if (samples := _other_samples(page))), 0)
    colours = f"{others}-channel" if others else ""
    return Declared(max(8, bits), signed, floating, colours, pages=full)


def _other_samples(page: dict[int, tuple[int, ...]]) -> int:
    """Return how many samples a pixel has, where Pillow drops some of them: those that are neither colour nor alpha."""
    (photometric,), (samples,) = page.get(_PHOTOMETRIC, (-1,)), page.get(_SAMPLES, (1,))
    colours = _SAMPLES_OF.get(photometric, samples)
    return samples if samples > colours + (page.get(_EXTRA) in _ALPHA) else 0


def _tiff_pages(data: bytes) -> Iterator[dict[int, tuple[int, ...]]]:
    """Yield the tags above of each page."""
    order, word, entry, inside = tiff_layout(data)
    for entries in tiff_directories(data):
        page: dict[int, tuple[int, ...]] = {}
        for place, tag, kind, count in entries:
            if tag in _TAGS and kind in _TIFF_NUMBERS and 0 < count <= 64:
                numbers, value = f"{order}{count}{_TIFF_NUMBERS[kind]}", place + struct.calcsize(entry)
                if struct.calcsize(numbers) > inside:
                    (value,) = struct.unpack_from(order + word, data, value)
                page[tag] = struct.unpack_from(numbers, data, value)
        yield page


def tiff_directories(data: bytes) -> Iterator[list[tuple[int, int, int, int]]]:
    """Yield the entries of each page of a TIFF: place, tag, type and count. Bounded: what lies behind a great number of
    entries is not looked at. Raises struct.error where the file is cut.
    """
    order, word, entry, inside = tiff_layout(data)
    big = word == "Q"
    (at,) = struct.unpack_from(order + word, data, 2 * inside if big else 4)
    seen, budget = set[int](), _MOST_ENTRIES
    while at and at not in seen and budget > 0:
        seen.add(at)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at, size = at + (8 if big else 2), struct.calcsize(entry) + inside
        places = range(at, at + min(count, budget) * size, size)
        yield [(place, *struct.unpack_from(entry, data, place)) for place in places]
        at, budget = at + len(places) * size, budget - len(places)
        (at,) = struct.unpack_from(order + word, data, at)


def tiff_layout(data: bytes) -> tuple[str, str, str, int]:
    """Return byte order, a place, an entry without its value, and the bytes of a value, as `struct` puts them."""
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    return (order, "Q", order + "HHQ", 8) if big else (order, "I", order + "HHI", 4)


def _dds(data: bytes) -> Declared:
    return Declared(floating=data[84:88] == b"DX10" and data[128] in _BC6H)


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Declared]], ...] = (
    (lambda start: start.startswith(PNG_START), _png),
    (lambda start: start.startswith(JPEG_START), _jpeg),
    (lambda start: start.startswith((_JP2_START, _J2K_START)), _jpeg2000),
    (lambda start: start.startswith(b"BM"), _bmp),
    (lambda start: start[4:8] == b"ftyp", _isobmff),
    (lambda start: start.startswith(TIFF_STARTS), _tiff),
    (lambda start: start.startswith(b"8BPS"), lambda data: Declared(int.from_bytes(data[22:24], "big"))),  # Photoshop
    (lambda start: start.startswith(b"\x01\xda"), lambda data: Declared(8 * data[3])),  # SGI
    (lambda start: start.startswith(b"DDS "), _dds),
)
