"""Declarations of colours that are no profile: as bytes that a stream keeps, as PNG's chunks, and as an ICC profile.

A declaration is two code points of ITU-T H.273 (primaries and transfer, a byte each), as PNG's cICP and AVIF have them;
or the contents of PNG's gAMA (4 bytes), of its cHRM (32), or of both, one behind the other.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import ImageError

SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)  # x, y of red, green, blue and white
_D65 = SRGB_PRIMARIES[6:]
# By ITU-T H.273. What is not here is taken for sRGB where it is unspecified or nearly it, and refused where it is not.
_PRIMARIES = {
    1: SRGB_PRIMARIES,
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_LIKE_SRGB = {1, 2, 6, 7, 13, 14, 15}  # transfers: video's, shown on screens of about that gamma, and unspecified
HIGH_RANGE = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = 2
_UNIT = 100_000  # of PNG's numbers
_LARGEST_GAMMA, _LARGEST_COLORANT = 10, 100  # what is beyond means nothing, and has no room in a profile
_SRGB_GAMMA = 1 / 0.45455
_ADOBE_RGB_PRIMARIES, _ADOBE_RGB_GAMMA = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), 256 / 563
_D50 = np.array([0.9642, 1.0, 0.8249])  # XYZ of the white that ICC profiles are about
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Colorimetry:
    """Meaning of a picture's values."""

    primaries: tuple[float, ...]  # x, y of red, green, blue and white
    gamma: float | None  # light is the value to this power; None: sRGB's curve

    def to_d50(self) -> Floats:
        """Return the matrix from linear RGB to XYZ, white being D50 (by Bradford). Raises LinAlgError."""
        xy = np.array(self.primaries, np.float64).reshape(4, 2)
        xyz = np.column_stack([xy, 1 - xy.sum(axis=1)]) / xy[:, 1:]
        columns, white = xyz[:3].T, xyz[3]
        adapted = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD)
        return np.asarray(adapted @ (columns * np.linalg.solve(columns, white)))

    def linear(self, values: Floats) -> Floats:
        """Return the light of values from 0 to 1."""
        if self.gamma is not None:
            return np.asarray(values**self.gamma)
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


SRGB = Colorimetry(SRGB_PRIMARIES, None)


def of_code_points(primaries: int, transfer: int) -> bytes:
    """Return the declaration of code points. Raises ImageError for what can't be shown in 8 bits, or isn't known."""
    if transfer in HIGH_RANGE:
        raise ImageError(
            f"picture of high dynamic range ({HIGH_RANGE[transfer]}): expected sRGB; map its tones to sRGB first"
        )
    if primaries not in (*_PRIMARIES, _UNSPECIFIED) or transfer not in _LIKE_SRGB | set(_GAMMAS):
        raise ImageError(
            f"picture of colour primaries {primaries} and transfer {transfer} (ITU-T H.273): expected sRGB; convert it"
        )
    return bytes([primaries, transfer])


def of_gamma(gamma: float | None, chromaticity: tuple[float, ...] | None) -> bytes:
    """Return the declaration of PNG's gAMA and cHRM, each as Pillow gives it. What no screen has ever had is taken for
    a mistake and left out, as it is by others who show pictures: b"" where nothing is left.
    """
    declaration = b""
    if gamma is not None and 0.1 <= gamma <= 10:
        declaration += struct.pack(">I", round(gamma * _UNIT))
    if chromaticity is not None and len(chromaticity) == 8 and all(0 < y < 1 for y in chromaticity[1::2]):
        declaration += struct.pack(">8I", *(round(v * _UNIT) for v in chromaticity))
    return declaration


def adobe_rgb() -> bytes:
    """Return the declaration of Adobe RGB (1998)."""
    return of_gamma(_ADOBE_RGB_GAMMA, (*_D65, *_ADOBE_RGB_PRIMARIES[:6]))


def colorimetry_of(declaration: bytes) -> Colorimetry | None:
    """Return what a declaration means; None for one that means nothing, such as primaries on one line."""
    found = _chunks(declaration)
    if b"cICP" in found:
        primaries, transfer = found[b"cICP"][:2]
        if primaries not in (*_PRIMARIES, _UNSPECIFIED) or transfer not in _LIKE_SRGB | set(_GAMMAS):
            return None
        return Colorimetry(_PRIMARIES.get(primaries, SRGB_PRIMARIES), _GAMMAS.get(transfer))
    colours, gamma = SRGB_PRIMARIES, None
    if b"cHRM" in found:
        numbers = [v / _UNIT for v in struct.unpack(">8I", found[b"cHRM"])]
        colours = (*numbers[2:], *numbers[:2])
    if b"gAMA" in found:
        gamma = _UNIT / max(1, *struct.unpack(">I", found[b"gAMA"]))
        if colours == SRGB_PRIMARIES and abs(gamma - _SRGB_GAMMA) <= 0.02:  # how programs say sRGB
            gamma = None
    meant = Colorimetry(colours, gamma)
    with suppress(np.linalg.LinAlgError), np.errstate(all="ignore"):
        if found and (gamma or 1) <= _LARGEST_GAMMA and np.abs(meant.to_d50()).max() < _LARGEST_COLORANT:
            return meant
    return None


def png_chunks_for(declaration: bytes) -> dict[bytes, bytes]:
    """Return the chunks, by name, with which a PNG says the same; none for a declaration that means nothing."""
    return _chunks(declaration) if colorimetry_of(declaration) is not None else {}


def profile_for(declaration: bytes) -> bytes | None:
    """Return an ICC profile (version 4) that says the same; None for a declaration that means nothing."""
    meant = colorimetry_of(declaration)
    if meant is None:
        return None
    colorants = meant.to_d50()
    curve = (
        _curve(0, meant.gamma)
        if meant.gamma is not None
        else _curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    )
    tags = {b"desc": _text("Colours as the picture declared them"), b"cprt": _text("None"), b"wtpt": _xyz(_D50)}
    for colour, colorant in zip((b"r", b"g", b"b"), colorants.T, strict=True):
        tags |= {colour + b"XYZ": _xyz(colorant), colour + b"TRC": curve}
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        at = body.find(content)  # the curve is there once
        if at < 0:
            at, body = len(body), body + content
        table += name + struct.pack(">II", start + at, len(content))
    head = struct.pack(">I4xI12s6H4s", start + len(body), 0x04200000, b"mntrRGB XYZ ", 2000, 1, 1, 0, 0, 0, b"acsp")
    head += bytes(24) + struct.pack(">I", 1) + _numbers(_D50)  # intent: relative colorimetric
    return head.ljust(128, b"\0") + table + body


def _chunks(declaration: bytes) -> dict[bytes, bytes]:
    if len(declaration) == 2:
        return {b"cICP": declaration + b"\0\1"}  # RGB, full range
    if len(declaration) == 36:
        return {b"gAMA": declaration[:4], b"cHRM": declaration[4:]}
    name: Any = {4: b"gAMA", 32: b"cHRM"}.get(len(declaration))
    return {name: declaration} if name else {}


def _numbers(values: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(v) * 65536)) for v in values)


def _xyz(values: Floats) -> bytes:
    return b"XYZ \0\0\0\0" + _numbers(values)


def _curve(kind: int, *parameters: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _numbers(parameters)


def _text(words: str) -> bytes:
    content = words.encode("utf-16-be")
    return (b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(content), 28) + content).ljust(
        28 + -(-len(content) // 4) * 4, b"\0"
    )
