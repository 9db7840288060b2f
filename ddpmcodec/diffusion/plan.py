"""Plans: which noise levels a stream passes through. Integers only, so that sender and receiver always agree.

A model's error curve mse(log-SNR), measured once on training images, gives the expected rate of any step in closed
form; the cheapest K-step trajectory is then a shortest path (Watson et al. 2021). The curve is stored with the model in
fixed point, and the search runs on integers with ties to the lower index.
"""

from __future__ import annotations

from collections.abc import Sequence
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

# Words of +-1 carry a bit a dimension at most; what a step asks for beyond that doesn't arrive. Plans of fewer steps
# are left as they are: those of good models ask for more, too, and files go by them.
_LOST_BEYOND = 100
_FEWEST_CARRIED = 6

DEFAULT_STEPS = 46
_NEVER = 1 << 60  # more bits than any trajectory costs


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
        return _expected_bits(self.rate, self.dims, dims)[n - 1]


def _with_excess(rate: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a rate plus what the channel code spends on top, both in units of 1/256 bit."""
    half_log = fixed_log2(np.maximum(rate, 2 << BITS_FRACTION).astype(np.uint64), BITS_FRACTION) >> 1
    per_bit, unit = _EXCESS_SLOPE
    excess = _EXCESS_FIXED + (half_log >> (LOG_FRACTION - BITS_FRACTION))
    excess += np.maximum(rate - _EXCESS_FROM, 0) * per_bit // unit
    return rate + np.minimum(excess, 9 * rate)


@lru_cache(maxsize=64)
def _expected_bits(rate: tuple[int, ...], per: int, dims: int) -> list[int]:
    """Those of all steps, of rates `per` sub-pixels."""
    scaled = np.array([r * dims // per for r in rate], np.int64)
    return (_with_excess(scaled) >> BITS_FRACTION).tolist()  # type: ignore[no-any-return]


def _rate(curve: ErrorCurve, mse: Any, snr_gain: Any) -> NDArray[np.int64]:
    """Rates d/2 log2(1 + v/b) of white steps: mse where they start times what they gain in SNR, arrays of whole numbers
    of any size.
    """
    ratio = np.asarray((mse * snr_gain) >> (2 * FRACTION - 32)) + (1 << 32)
    log = fixed_log2(np.minimum(ratio, (1 << 63) - 1).astype(np.uint64), 32)
    return (log * curve.dims) >> (1 + LOG_FRACTION - BITS_FRACTION)


def most_steps(curve: ErrorCurve) -> int:
    """Return the length of the longest plan: one step a level of the curve, up to the plan's end."""
    return max((i + 1 for i, mse in enumerate(curve.mse) if mse >= END_MSE), default=len(curve.mse))


def default_steps(curve: ErrorCurve) -> int:
    """Steps of the plan that a stream uses when its header names none: few bits more than the best plan, half its
    calls.
    """
    return min(curve.usual_plan or DEFAULT_STEPS, most_steps(curve))


def fast_steps(curve: ErrorCurve, usual: int) -> int:
    """Return the steps of the short plan: the longest stored one of at most two thirds of the usual steps, 20 of 33 and
    12 of 22.
    """
    most = 2 * usual // 3
    return max((len(plan) for plan in curve.plans if len(plan) <= most), default=max(1, most))


def longer_steps(curve: ErrorCurve, most: int) -> int:
    """Return the steps of the longest stored plan of at most `most`, or the usual where that has as many."""
    usual = default_steps(curve)
    return max((len(plan) for plan in curve.plans if usual <= len(plan) <= most), default=usual)


@lru_cache(maxsize=64)
def make_plan(curve: ErrorCurve, steps: int) -> Plan:
    """Return the `steps`-step trajectory of least expected bits from pure noise to the level where the RMSE is
    END_RMSE.

    Where the curve stores a plan of this length, it is that one (see `placement`). Else its steps are those that are
    best with white priors; where one of them asks for more than a channel carries, those that are best without such.

    Raises ModelError when steps is below 1 or above the number of levels the curve has.
    """
    n = most_steps(curve)
    if not 1 <= steps <= n:
        raise ModelError(f"a plan of {steps} steps was asked for; this model's plans have 1 to {n}")
    stored = next((plan for plan in curve.plans if len(plan) == steps), None)
    if stored is not None:
        return _through(curve, stored)
    plan = _through(curve, _cheapest(curve, steps))
    if steps < _FEWEST_CARRIED or max(plan.rate) <= curve.dims << BITS_FRACTION:
        return plan
    return _through(curve, _cheapest(curve, steps, _LOST_BEYOND))


def _through(curve: ErrorCurve, levels: Sequence[int]) -> Plan:
    """The plan through levels of the curve, given as indices."""
    path = np.array(levels)
    starts = np.concatenate([path[:1] * 0, path[:-1]])  # the first level stands for pure noise as well
    mse, snr = (np.array(values, object) for values in (curve.mse, curve.snr))
    gains = snr[path] - np.concatenate([[0], snr[path[:-1]]])
    rate = _rate(curve, mse[starts], gains)
    if curve.spectrum is not None:
        power = [
            group_power(curve.spectrum.row(curve.log_snr[i] / 65536), curve.side, curve.side) for i in starts.tolist()
        ]
        rate = _coloured_rate(curve, mse[starts] * gains, np.array(power, object))
    log_snr = (np.array(curve.log_snr)[path] / 65536).tolist()
    return Plan(tuple(log_snr), tuple(rate.tolist()), curve.dims, curve.spectrum)


def _cheapest(curve: ErrorCurve, steps: int, lost_beyond: int = 0) -> list[int]:
    """The levels of the trajectory of least cost, with white priors, to the last level; see `_costs`."""
    best, costs = _costs(curve, lost_beyond)
    came_from = []
    for _ in range(steps - 1):
        total = best + costs
        came_from.append(total.argmin(axis=1))  # the first minimum: ties to the lower index
        best = np.minimum(np.take_along_axis(total, came_from[-1][:, None], axis=1)[:, 0], _NEVER)
    path = [len(costs) - 1]
    for choice in reversed(came_from):
        path.append(int(choice[path[-1]]))
    path.reverse()
    return path


@lru_cache(maxsize=16)
def _costs(curve: ErrorCurve, lost_beyond: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return costs of white steps: (n,) the first, from pure noise to each level, and (n, n) others, to the row's from
    the column's. lost_beyond: what a bit beyond one a dimension counts for more than others.
    """

    def cost(rate: NDArray[np.int64]) -> NDArray[np.int64]:
        return _with_excess(rate) + _SIDE_BITS + lost_beyond * np.maximum(rate - (curve.dims << BITS_FRACTION), 0)

    n = most_steps(curve)
    mse, snr = (np.array(values, object) for values in (curve.mse[:n], curve.snr[:n]))
    to, start = np.tril_indices(n, -1)
    costs = np.full((n, n), _NEVER)
    costs[to, start] = cost(_rate(curve, mse[start], snr[to] - snr[start]))
    return cost(_rate(curve, mse[0], snr)), costs


def _coloured_rate(curve: ErrorCurve, ratio: Any, power: Any) -> NDArray[np.int64]:
    """Rates of coloured steps: the mean over the groups of d/2 log2(1 + v/b power). ratio: (K,) v/b, units of 2^-80;
    power: (K, groups); whole numbers of any size.
    """
    ratio = np.minimum(ratio >> (2 * FRACTION - _RATIO_FRACTION), 1 << 40)
    of_group = ((ratio[:, None] * power) >> POWER_FRACTION) + (1 << _RATIO_FRACTION)
    log = fixed_log2(of_group.astype(np.uint64), _RATIO_FRACTION).sum(axis=1)
    return (log * curve.dims // power.shape[1]) >> (1 + LOG_FRACTION - BITS_FRACTION)


def planned_bits(curve: ErrorCurve, plan: Plan) -> float:
    """Return the bits that a stream of the plan's dims is expected to have: rates, excess and bit counts."""
    rates = np.array(plan.rate, np.int64)
    return float((_with_excess(rates) + _SIDE_BITS).sum()) / (1 << BITS_FRACTION)
