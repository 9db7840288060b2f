"""Table 4 of Ho et al. 2020, the paper's ten rows beside ours: ideal on the same chain of T = 1000, and real at equal
RMSE.

The ideal rate at reverse time r is the sum of the KL terms of the timesteps passed. A term changes little from timestep
to timestep, so each picture measures every STRIDE-th, the pictures taking turns; the ten rows' distortions are measured
on all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.bound import L_T_bits, kl_bits, model_variances
from ddpmcodec.diffusion.schedule import NoiseSchedule, named
from ddpmcodec.eval.rd import measure
from ddpmcodec.eval.rd.curves import RMSE, Curve, distortion_curve, rate_at
from ddpmcodec.eval.rd.published import TABLE4
from ddpmcodec.io.images import to_plane
from ddpmcodec.models import CodecModel

Floats = NDArray[np.float64]
T = 1000
STRIDE = 20
ROWS = tuple(T - reverse_time + 1 for reverse_time, _, _ in TABLE4)  # timesteps whose x_t is at hand


def timesteps(turn: int, pictures: int) -> list[int]:
    """Return the timesteps of one turn's pictures, the rows' last: every `turns(pictures)`-th of 2 … T, and the ten
    rows.
    """
    return [t for t in range(2, T + 1) if t % turns(pictures) == turn] + list(ROWS)


def turns(pictures: int) -> int:
    return min(STRIDE, pictures)


def measured(
    model: CodecModel,
    images: Sequence[NDArray[np.uint8]],
    turn: int,
    turn_count: int,
    seed: int,
    first: int,
    on_step: Callable[[], None],
) -> dict[str, Floats]:
    """Measure one batch of one turn: what `table4` takes."""
    schedule, at = named("linear", T), timesteps(turn, turn_count)
    table = measure.denoised(model, images, schedule, at, seed, first, on_step)
    L_T = np.array([L_T_bits(to_plane(i), schedule.log_snr(T)).mean() for i in images])
    by_timestep = np.full((len(images), T), np.nan)
    by_timestep[:, np.array(at[: -len(ROWS)]) - 1] = table["exact_mse"][:, : -len(ROWS)]
    return {"exact_mse": by_timestep, "row_mse": table["mse"][:, -len(ROWS) :], "L_T": L_T[:, None]}


def table4(table: dict[str, Floats], model: CodecModel, ideal: Curve, real: dict[str, Curve]) -> dict[str, Any]:
    """Return a dict of lists, a row of the paper's table each: theirs, ours ideal at equal reverse time, others at
    equal RMSE.
    """
    schedule = named("linear", T)
    result: dict[str, Any] = {
        "reverse_time": [r for r, _, _ in TABLE4],
        "paper_ideal_bits_per_dim": [b for _, b, _ in TABLE4],
        "paper_rmse": [e for _, _, e in TABLE4],
        "pictures": len(table["L_T"]),
    }
    for name, rates in _cumulative(table, model, schedule).items():
        result[f"ideal_T1000_{name}_bits_per_dim"] = [float(rates[t - 1]) for t in ROWS]
    distortion = distortion_curve(table["row_mse"])
    result |= {f"ideal_T1000_{convention}": distortion[convention] for convention in RMSE}
    for convention in RMSE:
        result[f"ideal_plan_bits_per_dim_at_{convention}"] = [
            rate_at(ideal, "ideal_bits_per_dim", e, convention) for _, _, e in TABLE4
        ]
        for name, curve in real.items():
            result[f"{name}_file_bits_per_dim_at_{convention}"] = [
                rate_at(curve, "file_bits_per_dim", e, convention) for _, _, e in TABLE4
            ]
    return result


def _cumulative(table: dict[str, Floats], model: CodecModel, schedule: NoiseSchedule) -> dict[str, Floats]:
    """Return L_T + … + L_t in bits/dim at index t - 1, for t = 1 … T, under each variance of p."""
    result = {}
    for name, variance in model_variances(schedule, model.curve).items():
        kl = kl_bits(table["exact_mse"][:, 1:] / 127.5**2, variance, schedule)  # L_1 … L_{T-1}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a column that no picture measured stays NaN, and shows
            mean = np.nanmean(kl, axis=0)
        passed = np.concatenate([np.cumsum(mean[::-1])[::-1], [0.0]])  # at t - 1: L_t + … + L_{T-1}
        result[name] = float(table["L_T"].mean()) + passed
    return result
