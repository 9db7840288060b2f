"""Pillow pictures as they are shown: upright 8-bit sRGB, whatever their mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ddpmcodec.errors import ImageError
from ddpmcodec.io.colour import conversion_of
from ddpmcodec.io.declared import Declared, declared
from ddpmcodec.io.exif import is_uncalibrated
from ddpmcodec.io.metadata import NOTHING, Metadata, exif_of

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OTHER_COLOURS = ("CMYK", "YCCK", "LAB")
Note = Callable[[str], None]


@dataclass(frozen=True)
class Shown:
    """Picture as it is shown."""

    rgb: NDArray[np.uint8]  # (h, w, 3)
    meaning: Metadata = NOTHING  # of its values: a profile, or another declaration
    converted: bool = False  # to sRGB


def ignore_note(note: str) -> None:
    """Take a note and do nothing with it."""


def as_shown(picture: Image.Image, keep: bool = False) -> Shown:
    """Return what is shown of a picture in memory. keep: as in `to_rgb`. Raises ImageError like that."""
    about = Declared()
    if isinstance(picture, ImageFile.ImageFile) and picture.tile:  # opened and not loaded yet: Pillow may cut its depth
        about = declared(_bytes_of(picture))
    check_declared(about)
    check_depth(picture)
    try:
        picture.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on damaged files
        raise ImageError(f"the picture is damaged: {error}") from error
    if about.profile:
        picture.info["icc_profile"] = about.profile
    return to_rgb(picture, None, about.code_points, keep)


def check_declared(about: Declared) -> None:
    """Raise ImageError for samples, colours and extensions that Pillow would make 8-bit RGB of without a word."""
    if about.unknown:
        raise ImageError(f"picture with {about.unknown}, which may say how all else is read: convert it to plain PNG")
    if about.floating:
        raise ImageError("picture with floating-point samples: expected 8; convert it, e.g. magick IN -depth 8 OUT")
    if about.bits > 8:
        raise ImageError(
            f"picture with {about.bits} bits a channel: expected 8; convert it, e.g. magick IN -depth 8 OUT"
        )
    if about.signed:
        raise ImageError("picture of signed samples: expected 0 to 255; shift them and say so in the file")
    if about.colours:
        raise ImageError(
            f"picture in {about.colours} colours: expected RGB or grey; convert it, e.g. magick IN -colorspace sRGB OUT"
        )


def check_depth(picture: Image.Image) -> None:
    """Raise ImageError where Pillow is about to read 16 bits a channel, in a container that `declared` does not
    know.
    """
    for tile in getattr(picture, "tile", None) or []:
        arguments = tile[3] if isinstance(tile[3], tuple | list) else (tile[3],)
        greatest = [a for a in arguments if isinstance(a, int)] if tile[0].startswith("ppm") else []
        if max(greatest, default=0) > 255 or any(isinstance(a, str) and ";16" in a for a in arguments):
            raise ImageError("picture with 16 bits a channel: expected 8; convert it, e.g. magick IN -depth 8 OUT")


def to_rgb(
    picture: Image.Image,
    flatten: tuple[int, int, int] | None,
    code_points: tuple[int, int] | None = None,
    keep: bool = False,
    note: Note = ignore_note,
) -> Shown:
    """Return what a loaded picture shows: upright, palettes and grey expanded, colours converted to sRGB.

    flatten: colour put behind transparent pixels; None refuses pictures with alpha. code_points: see `conversion_of`.
    keep: leave values as they are, and return what the file says they mean. note: is told of conversions. Raises
    ImageError.
    """
    mode = picture.mode
    if mode.startswith(("I", "F")):
        raise ImageError(
            f"picture with 16 or more bits a channel (mode {mode}): expected 8; convert it, e.g. magick IN -depth 8 OUT"
        )
    if mode in _OTHER_COLOURS:
        raise ImageError(
            f"picture in {mode} colours: expected RGB or grey; convert it, e.g. magick IN -colorspace sRGB OUT"
        )
    clear = picture.has_transparency_data  # of palettes, too
    if clear and flatten is None:
        raise ImageError(
            f"picture with transparency (mode {mode}): the codec has no alpha channel; put a colour behind it, as "
            "`ddpmcodec encode --flatten COLOUR` does"
        )
    conversion = conversion_of(picture, code_points)
    alpha = upright(picture.convert("RGBA")).getchannel("A") if clear else None
    rgb, meaning = np.asarray(upright(picture).convert("RGB")), NOTHING
    if conversion is not None and conversion.grey and (rgb != rgb[:, :, :1]).any():
        conversion = None  # its profile is for another kind of picture
    if conversion is not None and keep:
        meaning = conversion.meaning
    elif conversion is not None:
        note(f"colours converted to sRGB ({conversion.name})")
        rgb = conversion.apply(rgb[:, :, 0].copy() if conversion.grey else rgb)
    elif "icc_profile" not in picture.info and (exif := exif_of(picture)) is not None and is_uncalibrated(exif):
        note("EXIF data say that the colours are not sRGB, but not what they are: taken for sRGB")
    if alpha is not None and flatten is not None:
        layer = Image.fromarray(rgb).convert("RGBA")
        layer.putalpha(alpha)
        rgb = np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, (*flatten, 255)), layer).convert("RGB"))
    return Shown(rgb, meaning, conversion is not None and not keep)


def upright(picture: Image.Image) -> Image.Image:
    """Return the picture turned as its EXIF data says; as it is where they say nothing, or nothing that can be read."""
    turn = None
    with suppress(Exception), warnings.catch_warnings():  # what is wrong with EXIF data is not wrong with the picture
        warnings.simplefilter("ignore")
        said = picture.getexif().get(_ORIENTATION)
        turn = _UPRIGHT.get(said) if isinstance(said, int) else None
    return picture if turn is None else picture.transpose(turn)


def _bytes_of(picture: ImageFile.ImageFile) -> bytes:
    """Return the file of an opened picture, which is left where it was; b"" where it can't be read any more."""
    with suppress(OSError, ValueError, AttributeError):
        file: Any = picture.fp
        at = file.tell()
        file.seek(0)
        try:
            return bytes(file.read())
        finally:
            file.seek(at)
    return b""
