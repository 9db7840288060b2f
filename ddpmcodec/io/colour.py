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

from ddpmcodec.errors import ImageError
from ddpmcodec.io.exif import is_adobe_rgb
from ddpmcodec.io.metadata import exif_of

_SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)  # x, y of red, green, blue and white
_D65 = _SRGB_PRIMARIES[6:]
# By ITU-T H.273. What is not here is taken for sRGB where it is unspecified or nearly it, and refused where it is not.
_PRIMARIES = {
    1: _SRGB_PRIMARIES,
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_LIKE_SRGB = {1, 2, 6, 7, 13, 14, 15}  # transfers: video's, shown on screens of about that gamma, and unspecified
_HIGH_RANGE = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = 2
_PNG_GAMMA = 1 / 0.45455
_ADOBE_RGB_PRIMARIES, _ADOBE_RGB_GAMMA = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), 563 / 256

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Conversion:
    """Conversion of a picture's colours to sRGB. apply takes and gives (h, w, 3) uint8; with a grey profile it takes
    (h, w).
    """

    name: str
    apply: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    grey: bool = False  # its profile is for grey pictures
    profile: bytes | None = None  # ICC, that says the same; None where no profile says it


def conversion_of(picture: Image.Image, code_points: tuple[int, int] | None = None) -> Conversion | None:
    """Return what makes a picture's colours sRGB, None where they are. The most precise of what a file says counts.

    code_points: primaries and transfer by ITU-T H.273. Raises ImageError for what can't be shown in 8 bits: PQ and HLG.
    """
    if code_points is not None and code_points[1] in _HIGH_RANGE:
        name = _HIGH_RANGE[code_points[1]]
        raise ImageError(f"picture of high dynamic range ({name}): expected sRGB; map its tones to sRGB first")
    profile = picture.info.get("icc_profile")
    if code_points is not None and (picture.format == "PNG" or not profile):  # PNG's cICP counts more than its profile
        return _of_code_points(*code_points)
    if profile:
        return _of_profile(bytes(profile))
    if picture.format == "PNG" and "srgb" not in picture.info:
        return _of_gamma(picture.info.get("gamma"), picture.info.get("chromaticity"))
    if (exif := exif_of(picture)) is not None and is_adobe_rgb(exif):
        return _matrix_conversion("Adobe RGB by its EXIF data", _ADOBE_RGB_PRIMARIES, _ADOBE_RGB_GAMMA)
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

    return _unless_srgb(Conversion(f"profile {name!r}", apply, mode == "L", profile))


def _of_code_points(primaries: int, transfer: int) -> Conversion | None:
    if primaries not in (*_PRIMARIES, _UNSPECIFIED) or transfer not in _LIKE_SRGB | set(_GAMMAS):
        raise ImageError(
            f"picture of colour primaries {primaries} and transfer {transfer} (ITU-T H.273): expected sRGB; convert it"
        )
    name = f"code points {primaries}/{transfer}"
    return _matrix_conversion(name, _PRIMARIES.get(primaries, _SRGB_PRIMARIES), _GAMMAS.get(transfer))


def _of_gamma(gamma: float | None, chromaticity: tuple[float, ...] | None) -> Conversion | None:
    """PNG's gAMA and cHRM. What no screen has ever had is taken for a mistake, as it is by others who show pictures."""
    primaries = _SRGB_PRIMARIES
    if chromaticity is not None and len(chromaticity) == 8 and all(0 < v < 1 for v in chromaticity[1::2]):
        white, colours = chromaticity[:2], chromaticity[2:]
        primaries = (*colours, *white)
    exponent = None
    if gamma is not None and 0.1 <= gamma <= 10 and abs(1 / gamma - _PNG_GAMMA) > 0.02:
        exponent = 1 / gamma
    try:
        return _matrix_conversion("gAMA and cHRM", primaries, exponent)
    except np.linalg.LinAlgError:  # primaries on one line
        return None


def _matrix_conversion(name: str, primaries: tuple[float, ...], gamma: float | None) -> Conversion | None:
    """gamma: of the picture's values; None is sRGB's own curve."""
    matrix = np.linalg.solve(_to_xyz(_SRGB_PRIMARIES), _to_xyz(primaries))
    levels = np.arange(256) / 255
    linear = _srgb_to_linear(levels) if gamma is None else levels**gamma

    def apply(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.empty_like(rgb)
        for row, values in zip(out, rgb, strict=True):  # by rows, or a large picture would take eight times its memory
            row[:] = np.rint(255 * _linear_to_srgb(np.clip(linear[values] @ matrix.T, 0, 1)))
        return out

    return _unless_srgb(Conversion(name, apply))


def _unless_srgb(conversion: Conversion) -> Conversion | None:
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    if conversion.grey:
        grid = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    shown = conversion.apply(grid[:, :, 0].copy() if conversion.grey else grid)
    return None if np.abs(shown.astype(int) - grid).max() <= 1 else conversion


def _to_xyz(primaries: tuple[float, ...]) -> Floats:
    """Return the matrix from linear RGB to XYZ, white scaled to (1, 1, 1): whites are taken for each other, channel by
    channel.
    """
    xy = np.array(primaries, np.float64).reshape(4, 2)
    xyz = np.column_stack([xy, 1 - xy.sum(axis=1)]) / xy[:, 1:]
    columns = xyz[:3].T
    return (columns * np.linalg.solve(columns, xyz[3])) / xyz[3][:, None]


def _srgb_to_linear(v: Floats) -> Floats:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(v: Floats) -> Floats:
    return np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)
