"""Colours to sRGB, which is what the codec's pictures are: ICC profiles by littleCMS, and PNG's gAMA, cHRM and code
points.

A profile that shows every colour as sRGB would, to within a level, is taken for sRGB.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ddpmcodec.io.colorimetry import HIGH_RANGE, SRGB, Floats, adobe_rgb, colorimetry_of, of_code_points, of_gamma
from ddpmcodec.io.exif import is_adobe_rgb
from ddpmcodec.io.metadata import NOTHING, Metadata, exif_of


@dataclass(frozen=True)
class Conversion:
    """Conversion of a picture's colours to sRGB. apply takes and gives (h, w, 3) uint8; with a grey profile it takes
    (h, w).
    """

    name: str
    apply: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    grey: bool = False  # its profile is for grey pictures
    meaning: Metadata = NOTHING  # of the values that it takes: a profile, or another declaration


def conversion_of(picture: Image.Image, code_points: tuple[int, int] | None = None) -> Conversion | None:
    """Return what makes a picture's colours sRGB, None where they are. The most precise of what a file says counts.

    code_points: primaries and transfer by ITU-T H.273. Raises ImageError for what can't be shown in 8 bits: PQ and HLG.
    """
    profile, png = picture.info.get("icc_profile"), picture.format == "PNG"
    # PNG's cICP counts more than its profile, and a high range more than any.
    if code_points is not None and (png or not profile or code_points[1] in HIGH_RANGE):
        return _of_declaration("code points {}/{}".format(*code_points), of_code_points(*code_points))
    if isinstance(profile, bytes) and profile:  # a TIFF's may be anything
        return _of_profile(profile)
    if png and "srgb" in picture.info:
        return None
    if png and (said := of_gamma(picture.info.get("gamma"), picture.info.get("chromaticity"))):
        return _of_declaration("gAMA and cHRM", said)
    if (exif := exif_of(picture)) is not None and is_adobe_rgb(exif):
        return _of_declaration("Adobe RGB by its EXIF data", adobe_rgb())
    return None


@lru_cache(maxsize=16)
def _of_profile(profile: bytes) -> Conversion | None:
    """None for sRGB, and for a profile that is damaged or of another kind than screens', which says nothing of the
    picture.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(opened).strip() or "unnamed"
        mode = {"RGB": "RGB", "GRAY": "L"}.get(opened.profile.xcolor_space.strip())
        if mode is None:
            return None
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None

    def apply(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(ImageCms.applyTransform(Image.fromarray(rgb), transform))

    return _unless_srgb(Conversion(f"profile {name!r}", apply, mode == "L", Metadata(profile)))


def _of_declaration(name: str, declaration: bytes) -> Conversion | None:
    meant = colorimetry_of(declaration)
    if meant is None:
        return None
    matrix, linear = np.linalg.solve(SRGB.to_d50(), meant.to_d50()), meant.linear(np.arange(256) / 255)

    def apply(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.empty_like(rgb)
        for row, values in zip(out, rgb, strict=True):  # by rows, or a large picture would take eight times its memory
            row[:] = np.rint(255 * _from_linear(np.clip(linear[values] @ matrix.T, 0, 1)))
        return out

    return _unless_srgb(Conversion(name, apply, meaning=Metadata(colours=declaration)))


def _unless_srgb(conversion: Conversion) -> Conversion | None:
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    if conversion.grey:
        grid = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    shown = conversion.apply(grid[:, :, 0].copy() if conversion.grey else grid)
    return None if np.abs(shown.astype(int) - grid).max() <= 1 else conversion


def _from_linear(v: Floats) -> Floats:
    return np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)
