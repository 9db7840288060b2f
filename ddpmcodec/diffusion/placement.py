"""Placement of a plan's steps: by what coloured steps really cost, and for the whole of the rate-distortion curve.

A stream is cut anywhere, so what counts is the mean of log R over the distortions it passes. To first order, a bit sent
at one level counts for every distortion after it, in inverse proportion to the rate there. With these weights the best
trajectory is a shortest path again (Watson et al. 2021 for the last distortion alone). Floats: plans made here are
stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.error_curve import END_MSE, FRACTION, ErrorCurve
from ddpmcodec.diffusion.spectrum import POWER_FRACTION, group_power

Floats = NDArray[np.float64]

_COUNTED = 33  # distortions that count alike
RMSES = np.geomspace(30, 0.95, _COUNTED)  # levels of 255: those of pictures; of latents, see `_counted`
_ROUNDS = 3  # how often weights are made from the rates of the plan before
# What a step costs above its ideal rate, in bits: the trellis code's excess with about 2^14 states, on Gaussian shifts
# (docs/channel.md), and what its bit count and its time are worth. The count takes 3 bits in the first step and under 1
# in later ones; by `cifar10-small`'s curve, 3 cost 0.2% more in the mean than 2, in fewer steps before RMSE 12.
_EXCESS_FIXED, _EXCESS_SLOPE, _EXCESS_FROM = 0.74, 0.035, 20.0
_SIDE_BITS = 3.0
# Words of +-1 carry a bit a dimension at most, and lose from half a bit on (`channel/trellis`). What a step asks
# for beyond that doesn't arrive, which no number of bits makes good.
_LOST_FROM_HALF, _LOST_BEYOND = 0.8, 100.0
_END_WEIGHT = 4.0  # distortions that what follows the last of them counts for: it is where whole streams end


def placed(curve: ErrorCurve, steps: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the levels of the curve, as indices, that the plan of each number of steps passes; numbers too large
    are left out.
    """
    mse = np.array(curve.mse, np.float64) / 2.0**FRACTION
    past = np.flatnonzero(np.array(curve.mse) >= END_MSE)
    end = int(past[-1]) if len(past) else len(mse) - 1
    costs = _step_costs(curve, end)
    rmse = 127.5 * np.sqrt(mse[: end + 1])
    counted = _counted(rmse, latents=curve.bound is not None)
    return tuple(_placed(costs, rmse, counted, n) for n in steps if 1 <= n <= end + 1)


def _counted(rmse: Floats, latents: bool) -> Floats:
    """Return the distortions that count alike, falling: of latents, whose values are no levels, those from the first
    of a curve to its last.
    """
    return np.geomspace(rmse[0], rmse[-1], _COUNTED) if latents else RMSES


def _step_costs(curve: ErrorCurve, end: int) -> Floats:
    """Return (end + 2, end + 1) expected bits of the step from row - 1, row 0 being pure noise, to column; inf where
    it's no step.
    """
    snr, mse = (np.array(v, np.float64)[: end + 1] / 2.0**FRACTION for v in (curve.snr, curve.mse))
    costs = np.full((end + 2, end + 1), np.inf)
    for row in range(end + 1):  # the last level starts no step
        start = max(row - 1, 0)
        gain = snr if row == 0 else snr[row:] - snr[start]
        power = np.ones(1)
        if curve.spectrum is not None:
            groups = group_power(curve.spectrum.row(curve.log_snr[start] / 65536), curve.side, curve.side)
            power = np.array(groups, np.float64) / (1 << POWER_FRACTION)
        rate = curve.dims / 2 * np.log2(1 + (mse[start] * gain)[:, None] * power).mean(axis=1)
        excess = _EXCESS_FIXED + np.log2(np.maximum(rate, 2)) / 2 + _EXCESS_SLOPE * np.maximum(rate - _EXCESS_FROM, 0)
        excess += _LOST_FROM_HALF * np.maximum(rate - curve.dims / 2, 0) ** 2 / curve.dims
        excess += _LOST_BEYOND * np.maximum(rate - curve.dims, 0)
        costs[row, 0 if row == 0 else row :] = rate + excess + _SIDE_BITS
    return costs


def _placed(costs: Floats, rmse: Floats, counted: Floats, steps: int) -> tuple[int, ...]:
    levels = np.arange(len(rmse))
    wanted = np.interp(-counted, -rmse, levels)  # where each distortion is reached
    weights = np.ones(len(rmse) + 1)
    path = _shortest(costs * _of_steps(weights), steps)
    for _ in range(_ROUNDS):
        sent = np.cumsum([costs[i, j] for i, j in zip([0, *(np.array(path) + 1)], path, strict=False)])
        rates = np.interp(wanted, [-1, *path], [0, *sent])
        # In units of bits at the last distortion; row 0, pure noise, is before all of them.
        counts = (wanted[None, :] >= np.arange(-1, len(rmse))[:, None]) / np.maximum(rates, sent[0] / 4)
        weights = np.maximum(counts.sum(axis=1) * rates[-1], _END_WEIGHT)
        path = _shortest(costs * _of_steps(weights), steps)
    return path


def _of_steps(weights: Floats) -> Floats:
    """Return what a bit counts in the step from row to column: the mean of what it counts at the step's ends."""
    return (weights[:, None] + weights[None, 1:]) / 2


def _shortest(costs: Floats, steps: int) -> tuple[int, ...]:
    """Return the `steps` columns of the cheapest path from row 0 to the last column."""
    best, came_from = costs[0], []
    for _ in range(steps - 1):
        total = best[:, None] + costs[1:]
        came_from.append(total.argmin(axis=0))
        best = total.min(axis=0)
    path = [costs.shape[1] - 1]
    for choice in reversed(came_from):
        path.append(int(choice[path[-1]]))
    return tuple(reversed(path))
