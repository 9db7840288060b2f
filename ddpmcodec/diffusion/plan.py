"""Plans: which noise levels a stream passes through. Integers only, so that sender and receiver always agree.

A model's error curve mse(log-SNR), measured once on training images, gives the expected rate of any step in closed
form; the cheapest K-step trajectory is then a shortest path (Watson et al. 2021). The curve is stored with the model in
fixed point, and the search runs on integers with ties to the lower index.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.error_curve import END_MSE, FRACTION, ErrorCurve
from ddpmcodec.diffusion.spectrum import POWER_FRACTION, Spectrum, group_power
from ddpmcodec.errors import ModelError
from ddpmcodec.numerics.fixed_point import LOG_FRACTION, fixed_log2

BITS_FRACTION = 8  # fixed-point bits of rates: units of 1/256 bit
_RATIO_FRACTION = 24  # fixed-point bits of v/b where a group's power multiplies it

# What a step costs above its ideal rate R, in bits, as the plan sees it: the trellis code with 2^12 states on Gaussian
# shifts (`channel.trellis`), and a step's bit count.
_EXCESS_FIXED = round(0.74 * (1 << BITS_FRACTION))
_SIDE_BITS = round(1.3 * (1 << BITS_FRACTION))
_EXCESS_SLOPE = (44, 1024)  # bits a bit, beyond _EXCESS_FROM
_EXCESS_FROM = 20 << BITS_FRACTION


@dataclass(frozen=True)
class Plan:
    """Plan of K steps: step n (1 … K) goes from level n - 1 to level n; level 0 is pure noise."""

    log_snr: tuple[float, ...]  # (K,) levels reached, rising
    rate: tuple[int, ...]  # (K,) expected ideal bits of each step for `dims` sub-pixels, units of 1/256 bit
    dims: int
    spectrum: Spectrum | None = None  # the spectrum of the error that steps correct; None: their priors are white

    @property
    def steps(self) -> int:
        return len(self.log_snr)

    def level(self, n: int) -> float:
        """Return the log-SNR after n steps; -inf before the first."""
        return self.log_snr[n - 1] if n else float("-inf")

    def expected_bits(self, n: int, dims: int) -> int:
        """Return the bits step n is expected to send over `dims` sub-pixels, code excess included: an integer, for the
        stream.
        """
        rate = np.array([self.rate[n - 1] * dims // self.dims], np.int64)
        return int(_with_excess(rate)[0]) >> BITS_FRACTION


def _with_excess(rate: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a rate plus what the channel code spends on top, both in units of 1/256 bit."""
    half_log = fixed_log2(np.maximum(rate, 2 << BITS_FRACTION).astype(np.uint64), BITS_FRACTION) >> 1
    per_bit, unit = _EXCESS_SLOPE
    excess = _EXCESS_FIXED + (half_log >> (LOG_FRACTION - BITS_FRACTION))
    excess += np.maximum(rate - _EXCESS_FROM, 0) * per_bit // unit
    return rate + np.minimum(excess, 9 * rate)


@lru_cache(maxsize=16)
def _rates(curve: ErrorCurve) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rates (end + 1, end + 1) of steps from row to column, and (end + 1,) of first steps, from pure
    noise.
    """
    mse = np.array(curve.mse, object)
    end = int(np.flatnonzero(mse >= END_MSE)[-1]) if (mse >= END_MSE).any() else len(mse) - 1
    snr = np.array(curve.snr, object)[: end + 1]
    gain = np.maximum(snr[None, :] - snr[:, None], 0)

    def rate(error: Any, snr_gain: Any) -> NDArray[np.int64]:
        ratio = np.asarray((error * snr_gain) >> (2 * FRACTION - 32)) + (1 << 32)
        log = fixed_log2(np.minimum(ratio, (1 << 63) - 1).astype(np.uint64), 32)
        return (log * curve.dims) >> (1 + LOG_FRACTION - BITS_FRACTION)

    return rate(mse[: end + 1, None], gain), rate(mse[0], snr)


def most_steps(curve: ErrorCurve) -> int:
    """Return the length of the longest plan: one step a level of the curve, up to the plan's end."""
    return len(_rates(curve)[1])


@lru_cache(maxsize=64)
def make_plan(curve: ErrorCurve, steps: int) -> Plan:
    """Return the `steps`-step trajectory of least expected bits from pure noise to the level where the RMSE is
    END_RMSE.

    Where the curve stores a plan of this length, it is that one (see `placement`). Else its steps are those that are
    best with white priors.

    Raises ModelError when steps is below 1 or above the number of levels the curve has.
    """
    between, first = _rates(curve)
    n = len(first)
    if not 1 <= steps <= n:
        raise ModelError(f"a plan of {steps} steps was asked for; this model's plans have 1 to {n}")
    stored = next((plan for plan in curve.plans if len(plan) == steps), None)
    path = list(stored) if stored is not None else _cheapest(between, first, steps)
    steps_taken = list(zip(path, path[1:], strict=False))
    if curve.spectrum is None:
        rate = [int(first[path[0]]), *(int(between[i, j]) for i, j in steps_taken)]
    else:
        gains = [(0, curve.snr[path[0]]), *((i, curve.snr[j] - curve.snr[i]) for i, j in steps_taken)]
        rate = [_coloured_rate(curve, curve.spectrum, start, gain) for start, gain in gains]
    return Plan(tuple(curve.log_snr[i] / 65536 for i in path), tuple(rate), curve.dims, curve.spectrum)


def _cheapest(between: NDArray[np.int64], first: NDArray[np.int64], steps: int) -> list[int]:
    """Return the levels of the trajectory of least bits to the last level."""
    n = len(first)
    cost = _with_excess(between) + _SIDE_BITS
    cost[np.tril_indices(n)] = 1 << 60
    best, came_from = _with_excess(first) + _SIDE_BITS, []
    for _ in range(steps - 1):
        total = np.minimum(best[:, None] + cost, 1 << 60)
        came_from.append(total.argmin(axis=0))  # the first minimum: ties to the lower index
        best = total.min(axis=0)
    path = [n - 1]
    for choice in reversed(came_from):
        path.append(int(choice[path[-1]]))
    path.reverse()
    return path


def _coloured_rate(curve: ErrorCurve, spectrum: Spectrum, start: int, snr_gain: int) -> int:
    """Return the rate of a step from a level of the curve: the mean over the groups of d/2 log2(1 + v/b power)."""
    power = group_power(spectrum.row(curve.log_snr[start] / 65536), curve.side, curve.side)
    ratio = min(curve.mse[start] * snr_gain >> (2 * FRACTION - _RATIO_FRACTION), 1 << 40)
    of_group = np.array([(1 << _RATIO_FRACTION) + (ratio * p >> POWER_FRACTION) for p in power], np.uint64)
    log = int(fixed_log2(of_group, _RATIO_FRACTION).sum())
    return (log * curve.dims // len(power)) >> (1 + LOG_FRACTION - BITS_FRACTION)


def planned_bits(curve: ErrorCurve, plan: Plan) -> float:
    """Return the bits that a stream of the plan's dims is expected to have: rates, excess and bit counts."""
    rates = np.array(plan.rate, np.int64)
    return float((_with_excess(rates) + _SIDE_BITS).sum()) / (1 << BITS_FRACTION)
