"""Curves as others published them, on CIFAR-10 and Kodak pictures: what they state is drawn as points, never
recomputed.

PSNR and RMSE of one point are taken as each other's: RMSE = 255 / 10^(PSNR / 20). bits/dim = bits/pixel / 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_CIFAR10_SIDE = 32


@dataclass(frozen=True)
class Published:
    name: str
    kind: str  # what their rate is
    source: str
    bits_per_dim: tuple[float, ...]
    rmse: tuple[float, ...]  # on [0, 255]

    @property
    def psnr(self) -> tuple[float, ...]:
        return tuple(20 * math.log10(255 / r) for r in self.rmse)


# Table 4 of Ho et al. 2020: reverse time, bits/dim, RMSE.
TABLE4 = (
    (1000, 1.77581, 0.95136),
    (900, 0.11994, 12.02277),
    (800, 0.05415, 18.47482),
    (700, 0.02866, 24.43656),
    (600, 0.01507, 30.80948),
    (500, 0.00716, 38.03236),
    (400, 0.00282, 46.12765),
    (300, 0.00081, 54.18826),
    (200, 0.00013, 60.97170),
    (100, 0.0, 67.60125),
)


def _points(name: str, kind: str, source: str, *points: tuple[float, float]) -> Published:
    """Return a curve from points (bits/pixel, PSNR)."""
    return Published(
        name, kind, source, tuple(b / 3 for b, _ in points), tuple(255 / 10 ** (p / 20) for _, p in points)
    )


PUBLISHED = (
    Published(
        "DDPM",
        "ideal, T = 1000",
        "Ho et al. 2020, Table 4 (35.7 M parameters)",
        tuple(b for _, b, _ in TABLE4 if b),
        tuple(r for _, b, r in TABLE4 if b),
    ),
    _points(
        "VDM",
        "ideal, T = 1000",
        "reported by Yang et al. 2025 (UQDM)",
        (0.142, 21.53),
        (0.489, 27.38),
        (1.279, 34.10),
        (2.798, 41.55),
        (5.181, 49.67),
    ),
    _points("UQDM", "estimated", "Yang et al. 2025", (0.846, 21.88), (2.783, 31.18), (7.670, 43.76)),
    _points(
        "BPG",
        "real",
        "reported by Yang et al. 2025 (UQDM)",
        (0.330, 19.30),
        (0.738, 25.03),
        (1.737, 30.99),
        (3.528, 36.82),
    ),
)

# Bits a pixel and PSNR in dB of the 24 Kodak pictures, both means over pictures, rounded.
_COMPRESSAI = "CompressAI, results/image/kodak"
PUBLISHED_KODAK = (
    _points(
        "VVC (VTM)",
        "real, 24 pictures",
        _COMPRESSAI,
        (0.0482, 26.14),
        (0.1125, 28.49),
        (0.2458, 31.2),
        (0.4905, 34.26),
        (0.8748, 37.42),
        (1.4308, 40.42),
        (2.3246, 43.51),
        (3.6326, 46.59),
    ),
    _points(
        "BPG 4:4:4",
        "real, 24 pictures",
        _COMPRESSAI,
        (0.0678, 26.2),
        (0.161, 28.68),
        (0.3516, 31.59),
        (0.6847, 34.86),
        (1.1997, 38.26),
        (1.9297, 41.48),
        (3.0579, 44.7),
        (4.7031, 47.63),
    ),
    _points(
        "AV1 (libaom, slow)",
        "real, 24 pictures",
        _COMPRESSAI,
        (0.0557, 25.56),
        (0.11, 27.56),
        (0.17, 29.02),
        (0.2456, 30.44),
        (0.3524, 31.99),
        (0.4987, 33.65),
        (0.6828, 35.32),
        (0.909, 36.99),
        (1.1673, 38.56),
        (1.4148, 39.81),
        (1.8054, 41.43),
        (2.6075, 43.97),
    ),
    _points(
        "HEVC (HM)",
        "real, 24 pictures",
        _COMPRESSAI,
        (0.0514, 25.41),
        (0.1209, 27.75),
        (0.2667, 30.45),
        (0.5295, 33.5),
        (0.9504, 36.78),
        (1.5596, 39.99),
        (2.4761, 43.09),
        (3.8456, 46.14),
    ),
    _points(
        "mbt2018-mean",
        "real, 24 pictures",
        _COMPRESSAI,
        (0.1239, 27.7),
        (0.198, 29.36),
        (0.3072, 31.13),
        (0.4606, 32.95),
        (0.6617, 34.97),
        (0.9144, 36.91),
        (1.2342, 38.84),
        (1.6191, 40.63),
    ),
    _points(
        "cheng2020-attn",
        "real, 24 pictures",
        _COMPRESSAI,
        (0.1156, 28.43),
        (0.1745, 29.77),
        (0.269, 31.32),
        (0.427, 33.36),
        (0.5953, 34.95),
        (0.8059, 36.62),
    ),
    _points(
        "ELIC 2022",
        "real, 24 pictures",
        _COMPRESSAI,
        (0.1235, 29.11),
        (0.1965, 30.7),
        (0.3337, 32.78),
        (0.4908, 34.58),
        (0.7041, 36.49),
        (0.8573, 37.62),
    ),
)


SETS = {"cifar10": PUBLISHED, "kodak": PUBLISHED_KODAK}


def published_set(names: Sequence[str], side: int | None) -> str:
    """Return which of SETS to draw beside pictures of these names, squares of that side if they are any; "" for
    none.
    """
    if names and all(name.startswith("kodim") for name in names):
        return "kodak"
    return "cifar10" if side == _CIFAR10_SIDE else ""
