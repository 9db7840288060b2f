"""Bjøntegaard's delta rate: by how many per cent the rate of a curve differs from an anchor's at equal PSNR."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

Points = Sequence[tuple[float | None, float | None]]  # (rate, PSNR in dB)
LEAST_POINTS = 4
LEAST_OVERLAP = 1.0  # dB


def bd_rate(anchor: Points, test: Points) -> dict[str, Any]:
    """Return {"percent", "from_psnr", "to_psnr"} over the PSNRs that both curves reach, or {"refused": why}.

    Negative: the test curve needs fewer bits. Akima's interpolation of log rate (package bjontegaard), as in JVET's
    practice. Points at which a curve needs more bits for less PSNR are left out.
    """
    try:
        import bjontegaard
    except ImportError:
        return {"refused": "the package bjontegaard is not installed: pip install 'ddpmcodec[eval]'"}
    a, b = _rising(anchor), _rising(test)
    if min(len(a), len(b)) < LEAST_POINTS:
        return {"refused": f"curves of {len(a)} and {len(b)} points: expected at least {LEAST_POINTS} each"}
    low, high = max(a[0][1], b[0][1]), min(a[-1][1], b[-1][1])
    if high - low < LEAST_OVERLAP:
        ranges = f"{a[0][1]:.1f} to {a[-1][1]:.1f} dB and {b[0][1]:.1f} to {b[-1][1]:.1f} dB"
        return {"refused": f"the curves' PSNRs don't overlap by {LEAST_OVERLAP:g} dB: {ranges}"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about small overlaps; the range is reported
        percent = bjontegaard.bd_rate(
            *zip(*a, strict=True), *zip(*b, strict=True), "akima", require_matching_points=False
        )
    if not np.isfinite(percent):
        return {"refused": "the interpolation gave no number"}
    return {"percent": float(percent), "from_psnr": low, "to_psnr": high}


def _rising(points: Points) -> list[tuple[float, float]]:
    """Return the points that no cheaper one matches, by rising rate and PSNR."""
    kept: list[tuple[float, float]] = []
    for rate, psnr in sorted((r, p) for r, p in points if r and p is not None):
        if not kept or (psnr > kept[-1][1] and rate > kept[-1][0]):
            kept.append((rate, psnr))
        elif rate == kept[-1][0] and psnr > kept[-1][1]:
            kept[-1] = rate, psnr
    return kept
