"""The plan: which noise levels a stream passes through. Integers only, so that sender and receiver always agree.

A model's error curve mse(log-SNR), measured once on training images, gives the expected rate of any step in closed form;
the cheapest K-step trajectory is then a shortest path (Watson et al. 2021). The curve is stored with the model in fixed
point, and the search runs on integers with ties to the lower index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import ModelError
from ddpmcodec.spectrum import POWER_FRACTION, Spectrum, group_power

FRACTION = 40  # fixed-point bits of mse and snr
REFINE = 2  # levels of the stored curve for each measured one: lets a plan place its steps more evenly
BITS_FRACTION = 8  # fixed-point bits of rates: units of 1/256 bit
_LOG_FRACTION = 16
_RATIO_FRACTION = 24  # fixed-point bits of v/b where a group's power multiplies it
MAX_LEVELS = 1024  # of a curve: a plan's tables grow with the square
MAX_DIMS = 1 << 26  # sub-pixels it may be for; rates stay far from overflow
MAX_LOG_SNR = 64

# RMSE of x0_hat, on [0, 255], where the diffusion part of a stream ends. Rounding to whole levels adds 1/12 to its square,
# and test pictures are a little harder than training ones, so decoded pictures end just below 0.95, as the paper's do.
END_RMSE = 0.88
END_MSE = round((END_RMSE / 127.5) ** 2 * 2.0**FRACTION)

# What a step costs above its ideal rate R, in bits, as the plan sees it: the trellis code and the step's bit count.
_EXCESS_FIXED = round(0.74 * (1 << BITS_FRACTION))
_SIDE_BITS = round(1.3 * (1 << BITS_FRACTION))
_EXCESS_SLOPE = (44, 1024)  # bits a bit, beyond _EXCESS_FROM
_EXCESS_FROM = 20 << BITS_FRACTION


@dataclass(frozen=True)
class ErrorCurve:
    """Measured |x_0 - x0_hat|^2 / d of a model, in fixed point; the first level stands for pure noise as well."""

    log_snr: tuple[int, ...]  # units of 2^-16
    snr: tuple[int, ...]  # exp(log_snr), units of 2^-40: stored, so that no machine's exp() matters
    mse: tuple[int, ...]  # on the [-1, 1] scale, units of 2^-40
    dims: int  # sub-pixels of the images it was measured on; rates below are for so many
    spectrum: Spectrum | None = None  # of the error; None: priors are white

    def __post_init__(self) -> None:
        n = len(self.log_snr)
        if n < 2 or len(self.snr) != n or len(self.mse) != n or self.dims < 1:
            raise ModelError("the model's error curve needs equally many log-SNRs, SNRs and errors, two at least")
        if n > MAX_LEVELS or self.dims > MAX_DIMS or max(map(abs, self.log_snr)) > MAX_LOG_SNR << 16:
            raise ModelError(
                f"the model's error curve has {n} levels for {self.dims} sub-pixels: expected at most {MAX_LEVELS}, log-SNRs "
                f"within ±{MAX_LOG_SNR}, and {MAX_DIMS}"
            )
        rising = all(b > a for values in (self.log_snr, self.snr) for a, b in zip(values, values[1:], strict=False))
        if not rising or min(self.mse) < 1 or self.snr[0] < 1 or max(*self.mse, *self.snr) > 1 << 60:
            raise ModelError("the model's error curve needs rising log-SNRs and positive errors")
        if self.spectrum is not None and 3 * self.side**2 != self.dims:
            raise ModelError(f"the model's spectrum was measured on {self.dims} sub-pixels: expected square RGB pictures")

    @property
    def side(self) -> int:
        """Of the square RGB pictures it was measured on."""
        return math.isqrt(self.dims // 3)

    @classmethod
    def from_floats(
        cls,
        log_snr: NDArray[np.float64],
        mse: NDArray[np.float64],
        dims: int,
        refine: int = REFINE,
        spectrum: Spectrum | None = None,
    ) -> ErrorCurve:
        """Rounds a measured curve (both (n,), log_snr even and rising) to fixed point, with `refine` levels for each.

        The error is made to fall, as it does in theory, and a level is put where the RMSE is END_RMSE. refine=1 keeps the
        levels just as they are, even or not: for a network that knows no others.
        """
        falling = np.minimum.accumulate(np.asarray(mse, np.float64))
        if refine > 1:
            coarse, log_snr = log_snr, np.linspace(log_snr[0], log_snr[-1], refine * (len(log_snr) - 1) + 1)
            falling = np.exp(np.interp(log_snr, coarse, np.log(falling)))
        end = (END_RMSE / 127.5) ** 2
        if refine > 1 and falling[-1] < end < falling[0]:  # make the end a level of its own
            at_end = np.interp(-np.log(end), -np.log(falling), log_snr)
            if np.abs(log_snr - at_end).min() > 1e-3:
                place = int(np.searchsorted(log_snr, at_end))
                log_snr, falling = np.insert(log_snr, place, at_end), np.insert(falling, place, end * (1 + 1e-9))
        levels = np.rint(np.asarray(log_snr) * 65536)
        return cls(
            tuple(int(v) for v in levels),
            tuple(int(v) for v in np.rint(np.exp(levels / 65536) * 2.0**FRACTION)),
            tuple(max(1, int(v)) for v in np.rint(falling * 2.0**FRACTION)),
            dims,
            spectrum,
        )

    def expected_mse(self, log_snr: NDArray[np.float64]) -> NDArray[np.float64]:
        """|x_0 - x0_hat|^2 / d at any levels, its logarithm interpolated; the ends go on level. Floats: not for streams."""
        measured = np.log(np.array(self.mse, np.float64)) - FRACTION * math.log(2)
        return np.exp(np.interp(log_snr, np.array(self.log_snr) / 65536, measured))

    def to_dict(self) -> dict[str, Any]:
        """For a model file; a curve without a spectrum is stored as it was before there were any."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "spectrum"}
        return values if self.spectrum is None else values | {"spectrum": self.spectrum.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ErrorCurve:
        try:
            levels = {k: _wholes(values[k]) for k in ("log_snr", "snr", "mse")}
            spectrum = None
            if "spectrum" in values:
                stored = values["spectrum"]
                spectrum = Spectrum(_wholes(stored["log_snr"]), tuple(_wholes(row) for row in stored["power"]))
            return cls(dims=_whole(values["dims"]), spectrum=spectrum, **levels)
        except (KeyError, TypeError) as error:
            raise ModelError(f"the model's error curve is not understood: {error!r}") from error


def _wholes(values: Any) -> tuple[int, ...]:
    return tuple(_whole(value) for value in values)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"found {str(value)[:40]}, expected a whole number")
    return value


@dataclass(frozen=True)
class Plan:
    """K steps: step n (1 … K) goes from level n - 1 to level n; level 0 is pure noise."""

    log_snr: tuple[float, ...]  # (K,) levels reached, rising
    rate: tuple[int, ...]  # (K,) expected ideal bits of each step for `dims` sub-pixels, units of 1/256 bit
    dims: int
    spectrum: Spectrum | None = None  # of the error that the steps correct; None: their priors are white

    @property
    def steps(self) -> int:
        return len(self.log_snr)

    def level(self, n: int) -> float:
        """Log-SNR after n steps; -inf before the first."""
        return self.log_snr[n - 1] if n else float("-inf")

    def expected_bits(self, n: int, dims: int) -> int:
        """Bits step n is expected to send over `dims` sub-pixels, code excess included: an integer, for the stream."""
        rate = np.array([self.rate[n - 1] * dims // self.dims], np.int64)
        return int(_with_excess(rate)[0]) >> BITS_FRACTION


def fixed_log2(x: NDArray[np.uint64], fraction: int) -> NDArray[np.int64]:
    """log2(x / 2^fraction) in units of 2^-16, rounded down to within a few units; integer arithmetic only. x >= 1."""
    exponent, y = np.zeros(x.shape, np.int64), x
    for shift in (32, 16, 8, 4, 2, 1):
        shifted = y >> np.uint64(shift)
        exponent += np.where(shifted > 0, shift, 0)
        y = np.where(shifted > 0, shifted, y)
    up, down = np.maximum(31 - exponent, 0).astype(np.uint64), np.maximum(exponent - 31, 0).astype(np.uint64)
    mantissa = (x << up) >> down  # [2^31, 2^32): squaring it yields the logarithm a bit at a time
    result = (exponent - fraction) << _LOG_FRACTION
    for bit in range(_LOG_FRACTION - 1, -1, -1):
        mantissa = mantissa * mantissa >> np.uint64(31)
        carry = mantissa >> np.uint64(32)
        mantissa >>= carry
        result += carry.astype(np.int64) << bit
    return result


def _with_excess(rate: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rate plus what the channel code spends on top, both in units of 1/256 bit."""
    half_log = fixed_log2(np.maximum(rate, 2 << BITS_FRACTION).astype(np.uint64), BITS_FRACTION) >> 1
    per_bit, unit = _EXCESS_SLOPE
    excess = _EXCESS_FIXED + (half_log >> (_LOG_FRACTION - BITS_FRACTION))
    excess += np.maximum(rate - _EXCESS_FROM, 0) * per_bit // unit
    return rate + np.minimum(excess, 9 * rate)


@lru_cache(maxsize=16)
def _rates(curve: ErrorCurve) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rates (end + 1, end + 1) of the steps from row to column, and the first steps' (end + 1,), from pure noise."""
    mse = np.array(curve.mse, object)
    end = int(np.flatnonzero(mse >= END_MSE)[-1]) if (mse >= END_MSE).any() else len(mse) - 1
    snr = np.array(curve.snr, object)[: end + 1]
    gain = np.maximum(snr[None, :] - snr[:, None], 0)

    def rate(error: Any, snr_gain: Any) -> NDArray[np.int64]:
        ratio = np.asarray((error * snr_gain) >> (2 * FRACTION - 32)) + (1 << 32)
        log = fixed_log2(np.minimum(ratio, (1 << 63) - 1).astype(np.uint64), 32)
        return (log * curve.dims) >> (1 + _LOG_FRACTION - BITS_FRACTION)

    return rate(mse[: end + 1, None], gain), rate(mse[0], snr)


def most_steps(curve: ErrorCurve) -> int:
    """Length of the longest plan: one step a level of the curve, up to the plan's end."""
    return len(_rates(curve)[1])


@lru_cache(maxsize=64)
def make_plan(curve: ErrorCurve, steps: int) -> Plan:
    """The `steps`-step trajectory of least expected bits from pure noise to the level where the RMSE is END_RMSE.

    The steps are those that are best with white priors, whatever the spectrum: pictures differ from it, and so gain less by it
    in the early steps than their mean does; measured on training images, its own best steps send 0.4% more bits in all.

    Raises ModelError when steps is below 1 or above the number of levels the curve has.
    """
    between, first = _rates(curve)
    n = len(first)
    if not 1 <= steps <= n:
        raise ModelError(f"a plan of {steps} steps was asked for; this model's plans have 1 to {n}")
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
    steps_taken = list(zip(path, path[1:], strict=False))
    if curve.spectrum is None:
        rate = [int(first[path[0]]), *(int(between[i, j]) for i, j in steps_taken)]
    else:
        gains = [(0, curve.snr[path[0]]), *((i, curve.snr[j] - curve.snr[i]) for i, j in steps_taken)]
        rate = [_coloured_rate(curve, curve.spectrum, start, gain) for start, gain in gains]
    return Plan(tuple(curve.log_snr[i] / 65536 for i in path), tuple(rate), curve.dims, curve.spectrum)


def _coloured_rate(curve: ErrorCurve, spectrum: Spectrum, start: int, snr_gain: int) -> int:
    """Rate of a step from a level of the curve: the mean over the groups of d/2 log2(1 + v/b power)."""
    power = group_power(spectrum.row(curve.log_snr[start] / 65536), curve.side, curve.side)
    ratio = min(curve.mse[start] * snr_gain >> (2 * FRACTION - _RATIO_FRACTION), 1 << 40)
    of_group = np.array([(1 << _RATIO_FRACTION) + (ratio * p >> POWER_FRACTION) for p in power], np.uint64)
    log = int(fixed_log2(of_group, _RATIO_FRACTION).sum())
    return (log * curve.dims // len(power)) >> (1 + _LOG_FRACTION - BITS_FRACTION)


def planned_bits(curve: ErrorCurve, plan: Plan) -> float:
    """Expected bits in the stream of the plan's dims: rates, excess and bit counts."""
    rates = np.array(plan.rate, np.int64)
    return float((_with_excess(rates) + _SIDE_BITS).sum()) / (1 << BITS_FRACTION)
