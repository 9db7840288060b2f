"""Bit counts: how many bits a step sends. A grid of possible counts, and the model that codes a step's place on it.

Everything here is integers from the plan and from counts already read, so a stream parses the same on every machine.
"""

from __future__ import annotations

from functools import cache, cached_property, lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.base import Channel
from ddpmcodec.diffusion.gaussians import ideal_bits
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.numerics.symbol_model import SymbolModel

END = 0  # the symbol that ends a stream before its plan does; symbol g + 1 is the g-th count of the grid
_TOTAL = 1 << 16
_UNIT = 256  # predictions are in 1/256 of a grid place
# Compared on 64 CIFAR-10 training images with `cifar10-small`: a quarter or four times _END_FREQUENCY is 0.02% at most;
# half or twice MISMATCH_BITS is nothing beyond the error, 0.1% over the whole chain and 0.4% down to RMSE 12.
_END_FREQUENCY = 128
# In 1/256 of a place. This, the least spread and how counts move both were tuned together on 200 CIFAR-10 training
# pictures, 46 steps: bits of the counts and MISMATCH_BITS, half of them from the first 14 steps.
FIRST_SPREAD = 640
MISMATCH_BITS = 4.0  # what one place too many or too few is taken to cost, in bits
_DIMS = 3072  # of the pictures that the above was tuned on
MOST_FINE = 16


def fineness(dims: int) -> int:
    """Return how many times finer than a sixth the grid of a step over `dims` dimensions is: once at 3,072, then as
    the square root of them.

    What a count is off by, as a share of it, costs in proportion to the dimensions, so that one place costs
    MISMATCH_BITS whatever their number. Beyond MOST_FINE there is nothing left to win.
    """
    return min(max(1, isqrt(dims // _DIMS)), MOST_FINE)


@cache
def grid(max_bits: int, finer: int = 1) -> tuple[int, ...]:
    """Return the counts a step may send: every number up to 8 · finer, then about 1 / (6 · finer) apart, up to
    max_bits.

    Measured on CIFAR-10 training images: a spacing of 16% sends 1% fewer bits in all than 8%, for a step needs its
    bits only roughly (see `BitCountModel.choose`) and a coarser grid is cheaper to name.
    """
    values = [0]
    while values[-1] < max_bits:
        values.append(values[-1] + max(1, (values[-1] + 3 * finer) // (6 * finer)))
    return tuple(v for v in values if v <= max_bits)


def place(bits: int, values: tuple[int, ...]) -> int:
    """Return where `bits` lies on the grid, in 1/256 of a place, by linear interpolation in integers."""
    high = int(np.searchsorted(values, bits))
    if high >= len(values):
        return (len(values) - 1) * _UNIT
    if values[high] == bits:
        return high * _UNIT
    low = high - 1
    return low * _UNIT + (bits - values[low]) * _UNIT // (values[high] - values[low])


@lru_cache(maxsize=64)
def _expected_places(plan: Plan, dims: int, values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(place(plan.expected_bits(n, dims), values) for n in range(1, plan.steps + 1))


def least_spread(step: int) -> int:
    """Return how sure of a count one can be after step + 1 of them, in 1/256 of a place: less of early ones."""
    return 96 + 96 * 3**step // 4**step


class BitCountModel:
    """Adaptive model of one stream's counts: the plan's expectation, shifted by how this image deviated so far.

    dims: of all its pictures together. Of one picture on a finer grid as many more places are likely; the mean of
    several deviates less.
    """

    def __init__(self, plan: Plan, channel: Channel, dims: int, pictures: int = 1):
        self.values = grid(channel.max_bits(dims), fineness(dims))
        self._wider = fineness(dims // pictures)
        self._channel, self._dims = channel, dims
        self._expected = _expected_places(plan, dims, self.values)
        self._step = 0
        self._deviation = 0  # how far this image is from the plan, in 1/256 of a place
        self._spread = FIRST_SPREAD * self._wider  # scale of the prediction error, likewise

    def symbol_model(self) -> SymbolModel:
        """Return the model of the next step's symbol."""
        centre = self._expected[self._step] + self._deviation
        return SymbolModel(1, len(self.values) + 1, _frequencies(centre, self._spread, len(self.values)))

    def expected_bits(self) -> int:
        """Return the bits that the next step is expected to send, by the plan and by how this image deviated."""
        most = len(self.values) - 1
        low, part = divmod(min(max(self._expected[self._step] + self._deviation, 0), most * _UNIT), _UNIT)
        return self.values[low] + (self.values[min(low + 1, most)] - self.values[low]) * part // _UNIT

    @cached_property
    def _ideal(self) -> NDArray[np.float64]:
        """Return the ideal bits (places,) that each count of the grid buys."""
        return np.array([ideal_bits(self._channel.snr(bits, self._dims), self._dims) for bits in self.values])

    def update(self, index: int) -> None:
        """Take note of the grid index that the step sent."""
        error = index * _UNIT - self._expected[self._step] - self._deviation
        # The first steps say little about the later ones; then each says more than all before; late ones mostly repeat.
        self._deviation += error * (16 if 3 <= self._step < 8 else 10) // 16
        self._spread = max(least_spread(self._step) * self._wider, (8 * self._spread + 3 * abs(error)) // 16)
        self._step += 1

    def bits_for(self, ideal: float) -> float:
        """Return the bits that the channel takes for a step of `ideal` bits, KL(q || p)."""
        return float(np.interp(ideal, self._ideal, self.values))

    def choose(self, wanted: float) -> int:
        """Return the grid index to send where `wanted` bits are needed: the cheapest that is near enough.

        A step that sends a little more or less than it needs leaves its successors a little less or more to do, so a
        mismatch costs only its square; naming an unexpected count costs bits at once.
        """
        frequencies = np.array(self.symbol_model().frequencies[1:], np.float64)  # type: ignore[index]
        exact = np.interp(wanted, self.values, np.arange(len(self.values)))
        mismatch = (np.arange(len(self.values)) - exact) ** 2
        return int((MISMATCH_BITS * mismatch - np.log2(frequencies)).argmin())


@lru_cache(maxsize=4096)
def _frequencies(centre: int, spread: int, count: int) -> tuple[int, ...]:
    """Return the frequencies of END and the `count` grid places, integers that sum to 2^16."""
    return (_END_FREQUENCY, *peaked(centre, spread, count, _TOTAL - _END_FREQUENCY))


def peaked(centre: int, spread: int, count: int, total: int) -> tuple[int, ...]:
    """Return integer frequencies of `count` places that sum to `total`: 1 / (1 + x^2 + x^4 / 4) around a centre.

    centre and spread are in 1/256 of a place; every place gets at least 1.
    """
    x = np.minimum(np.abs(np.arange(count, dtype=np.int64) * _UNIT - centre) * 256 // spread, 1 << 14)
    weight = (1 << 40) // ((1 << 16) + x * x + (x * x >> 9) * (x * x >> 9))
    frequencies = 1 + weight * (total - count) // int(weight.sum())
    frequencies[int(weight.argmax())] += total - int(frequencies.sum())
    return tuple(int(f) for f in frequencies)
