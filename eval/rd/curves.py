"""Curves from results picture by picture: means over pictures, each with its standard error.

Rates are bits per dimension, a picture's dimensions being its values, three a pixel. Both conventions of the RMSE are
given, and of the PSNR: mean over images of each one's, and that of the mean squared error over all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Curve = dict[str, list[float | None]]
RMSE = ("rmse_mean_over_images", "rmse_of_mean_mse")
RMSES = (30.0, 20.0, 12.0, 8.0, 5.0, 3.0, 2.0, 1.2, 0.951)
RATES = (0.1, 0.4, 1.0, 1.5, 2.0)  # bits per dimension
REAL, PAYLOAD, IDEAL = "file_bits_per_dim", "payload_bits_per_dim", "ideal_bits_per_dim"


def joined(tables: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """Return tables of several batches as one: rows are pictures."""
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


def with_error(name: str, values: Floats) -> Curve:
    """Return column means, and the standard errors of them (None for a single picture)."""
    n = len(values)
    error = values.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(values.shape[1], math.nan)
    return {name: finite(values.mean(axis=0)), f"{name}_error": finite(error)}


def distortion_curve(mse: Floats, ssim: Floats | None = None) -> Curve:
    """Return distortion by column, from (n, columns) squared errors on [0, 255]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        psnr = 10 * np.log10(255**2 / mse)
        curve = with_error(RMSE[0], np.sqrt(mse)) | {RMSE[1]: finite(np.sqrt(mse.mean(axis=0)))}
        curve |= with_error("psnr_mean_over_images", psnr)
        curve["psnr_of_mean_mse"] = finite(10 * np.log10(255**2 / mse.mean(axis=0)))
    return curve if ssim is None else curve | with_error("ssim", ssim)


def real_curve(table: dict[str, Floats], dims: Floats) -> Curve:
    """Return the curve of files: `file_bytes` and their `payload_bytes`, or `header_bytes` to take from them."""
    payload = table["payload_bytes"] if "payload_bytes" in table else table["file_bytes"] - table["header_bytes"]
    rates = with_error(REAL, 8 * table["file_bytes"] / dims[:, None]) | with_error(PAYLOAD, 8 * payload / dims[:, None])
    return rates | distortion_curve(table["mse"], table["ssim"])


def ideal_curve(table: dict[str, Floats], dims: Floats) -> Curve:
    rate = np.cumsum(table["ideal_bits"], axis=1) / dims[:, None]
    return with_error(IDEAL, rate) | distortion_curve(table["mse"], table["ssim"])


def breakdown(table: dict[str, Floats], dims: Floats) -> dict[str, Any]:
    """Return where the bits of the files go, in bits/dim: by step, and for each n in the file of n steps.

    A file has ideal bits, what the channel code takes beyond them, side information (bit counts and END) and container
    (header, check and rounding to whole bytes). They add up to `file_bits_per_dim`.
    """
    per_dim = {name: table[name] / dims[:, None] for name in ("ideal_bits", "channel_bits", "count_bits", "end_bits")}
    excess = per_dim["channel_bits"] - per_dim["ideal_bits"]
    ideal, over = np.cumsum(per_dim["ideal_bits"], axis=1), np.cumsum(excess, axis=1)
    side = np.cumsum(per_dim["count_bits"], axis=1) + per_dim["end_bits"]
    total = 8 * table["file_bytes"] / dims[:, None]
    of_files = {
        "ideal": ideal,
        "channel_excess": over,
        "side_information": side,
        "container": total - ideal - over - side,
    }
    by_step = {"ideal": per_dim["ideal_bits"], "channel_excess": excess, "side_information": per_dim["count_bits"]}
    return {
        "by_step": {name: finite(values.mean(axis=0)) for name, values in by_step.items()},
        "of_files": {name: finite(values.mean(axis=0)) for name, values in of_files.items()},
        "header_and_check_bits_per_dim": float((8 * table["header_bytes"][:, -1] / dims).mean()),
    }


def rate_at(curve: Curve, rate: str, rmse: float, convention: str = RMSE[0]) -> float | None:
    """Return the rate at an RMSE, interpolated in the logarithms of both; None beyond the curve's ends."""
    points = sorted((-math.log(d), math.log(r)) for d, r in zip(curve[convention], curve[rate], strict=True) if d and r)
    at = -math.log(rmse)
    if not points or not points[0][0] <= at <= points[-1][0]:
        return None
    x, y = zip(*points, strict=True)
    return math.exp(float(np.interp(at, x, y)))


def real_over_ideal(real: Curve, ideal: Curve) -> dict[str, Any]:
    """Return payload and file rates over the ideal rate at equal RMSE, at fixed RMSEs and at fixed payload rates.

    By convention of the RMSE, a dict of lists; rows that lie beyond a curve's end are left out.
    """
    result: dict[str, Any] = {}
    for convention in RMSE:
        rows: dict[str, list[float | None]] = {k: [] for k in ("at_rate", "rmse", "ideal", "payload", "file", "ratio")}
        at: list[tuple[float | None, float]] = [(None, rmse) for rmse in RMSES]
        at += [(rate, rmse) for rate in RATES if (rmse := _rmse_at(real, rate, convention))]
        for rate, rmse in at:
            found = rate_at(ideal, IDEAL, rmse, convention), rate_at(real, PAYLOAD, rmse, convention)
            if found[0] and found[1]:
                row = (rate, rmse, *found, rate_at(real, REAL, rmse, convention), found[1] / found[0])
                for values, value in zip(rows.values(), row, strict=True):
                    values.append(value)
        result[convention] = rows
    return result


def _rmse_at(curve: Curve, rate: float, convention: str) -> float | None:
    """Return the RMSE at a payload rate, interpolated as `rate_at` does."""
    points = [(math.log(r), math.log(d)) for r, d in zip(curve[PAYLOAD], curve[convention], strict=True) if r and d]
    x, y = zip(*points, strict=True)
    return math.exp(float(np.interp(math.log(rate), x, y))) if x[0] <= math.log(rate) <= x[-1] else None


def finite(values: Floats) -> list[float | None]:
    """Turn NaN and infinity into None, since JSON has neither."""
    return [float(v) if math.isfinite(v) else None for v in values]
