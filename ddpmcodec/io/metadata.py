"""Metadata of a picture file, beside its pixels: taken out of one file, and put into another of the decoded picture."""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageFile, PngImagePlugin

from ddpmcodec.io.colorimetry import png_chunks_for, profile_for
from ddpmcodec.io.declared import PNG_START, png_chunks
from ddpmcodec.io.exif import as_upright, block_of

_XMP_KEYWORD = b"XML:com.adobe.xmp"
_LARGEST_XMP = 16 << 20  # bytes
_TIFF_XMP = 700
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
# Tags of a TIFF that tell of the picture, not of how the file keeps it: description, make, model, software, date,
# artist, copyright.
_TELLING = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:>|=["']))[1-8]""")
# Pillow's formats that hold EXIF, XMP and an ICC profile, and those among them that hold grey pictures' profiles.
HOLDING, HOLDING_GREY = {"PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF"}, {"PNG", "JPEG", "MPO", "TIFF"}
_SPACE = slice(16, 20)  # of a profile: what its colours are made of


@dataclass(frozen=True)
class Metadata:
    """Metadata of a picture that is upright."""

    profile: bytes | None = None  # ICC: what the samples mean
    colours: bytes | None = None  # what says that instead, see `colorimetry`; they are sRGB where neither is there
    exif: bytes | None = None  # from its byte order mark on
    xmp: bytes | None = None  # UTF-8

    @property
    def has_grey_profile(self) -> bool:
        return self.profile is not None and self.profile[_SPACE] == b"GRAY"

    @property
    def says_colours(self) -> bool:
        return self.profile is not None or self.colours is not None

    def in_words(self) -> list[str]:
        """Name what there is."""
        named = {"the colour profile": self.profile or self.colours, "EXIF data": self.exif, "XMP data": self.xmp}
        return [name for name, data in named.items() if data is not None]


NOTHING = Metadata()


def exif_of(picture: Image.Image) -> bytes | None:
    """Return a picture's EXIF block as its file has it; of a TIFF, what tells of the picture. None for none."""
    if getattr(picture, "format", None) == "TIFF":
        with suppress(Exception):  # what is wrong with EXIF data is not wrong with the picture
            told = _telling(picture.getexif())
            return block_of(told.tobytes()) if len(told) else None
        return None
    found = picture.info.get("exif")
    return block_of(found) if isinstance(found, bytes) else None


def xmp_of(file: ImageFile.ImageFile, data: bytes) -> bytes | None:
    """Return the XMP packet of a file; data: its bytes. None for none."""
    if data.startswith(PNG_START):
        return next((packet for name, content, _ in png_chunks(data) if (packet := _png_xmp(name, content))), None)
    found = file.info.get("xmp")
    return found if isinstance(found, bytes) and found else None


def turned(exif: bytes | None, xmp: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Return EXIF and XMP of a picture that has been turned as they said."""
    return exif and as_upright(exif), xmp and _ORIENTATION.sub(rb"\g<1>1", xmp)


def held_by(kind: str, metadata: Metadata, grey: bool) -> Metadata:
    """Return what a format (Pillow's name) holds of a picture's metadata; grey: whether its pixels are."""
    if kind not in HOLDING:
        return NOTHING
    keeps = not metadata.has_grey_profile or (grey and kind in HOLDING_GREY)
    if metadata.colours is not None and kind != "PNG":
        return replace(metadata, profile=profile_for(metadata.colours), colours=None)
    return metadata if keeps else replace(metadata, profile=None)


def saving(kind: str, metadata: Metadata) -> dict[str, Any]:
    """Return the options of Pillow's `save` that put metadata into a file of a format that holds it."""
    options: dict[str, Any] = {}
    if metadata.profile is not None:
        options["icc_profile"] = metadata.profile
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for name, content in png_chunks_for(metadata.colours or b"").items():
            options["pnginfo"].add(name, content)
    if kind == "TIFF":
        exif = Image.Exif()
        if metadata.exif is not None:
            with suppress(Exception):  # a damaged block tells nothing
                exif.load(metadata.exif)
        told = _telling(exif)  # the file has its own tags beside these
        if metadata.xmp is not None:
            told[_TIFF_XMP] = metadata.xmp
        # As a block they would lose their inner directories' places: Pillow copies those of a block as they are.
        return options | ({"tiffinfo": dict(told)} if len(told) else {})
    if metadata.exif is not None:
        options["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.xmp is not None and kind == "PNG":
        options["pnginfo"].add_itxt(_XMP_KEYWORD.decode(), metadata.xmp.decode("utf-8", "replace"))
    elif metadata.xmp is not None:
        options["xmp"] = metadata.xmp
    return options


def _telling(exif: Image.Exif) -> Image.Exif:
    """Return what of EXIF data tells of the picture, and not of how a file keeps it."""
    ours = Image.Exif()
    for tag in _TELLING:
        if tag in exif:
            ours[tag] = exif[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        if directory := exif.get_ifd(tag):
            ours[tag] = dict(directory)
            if _INTEROP_IFD in directory:  # the value is a place in the other file
                ours[tag][_INTEROP_IFD] = dict(exif.get_ifd(_INTEROP_IFD))
    return ours


def _png_xmp(name: bytes, content: bytes) -> bytes | None:
    if name != b"iTXt" or not content.startswith(_XMP_KEYWORD + b"\0"):
        return None
    compressed = content[len(_XMP_KEYWORD) + 1 : len(_XMP_KEYWORD) + 2] == b"\1"
    packet = content[len(_XMP_KEYWORD) + 3 :].split(b"\0", 2)[-1]  # after the language and the translated keyword
    if not compressed:
        return packet
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(packet, _LARGEST_XMP)
    return None
