"""Curves as others published them on CIFAR-10's test images: what they state is drawn as points, never recomputed.

PSNR and RMSE of one point are taken as each other's: RMSE = 255 / 10^(PSNR / 20). bits/dim = bits/pixel / 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


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
    """From (bits/pixel, PSNR)."""
    return Published(name, kind, source, tuple(b / 3 for b, _ in points), tuple(255 / 10 ** (p / 20) for _, p in points))


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
        "BPG", "real", "reported by Yang et al. 2025 (UQDM)", (0.330, 19.30), (0.738, 25.03), (1.737, 30.99), (3.528, 36.82)
    ),
)
