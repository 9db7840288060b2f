"""Short step, which ends a stream coded to a target: fewer bits than a whole step takes, and the level they pay for.

Its bit count follows END, uniform over what is usually left of a budget; the model of it is integers from the plan and
the counts read so far. The level is a float that both sides compute here: the picture depends on it, parsing doesn't.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.base import Channel
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.diffusion.schedule import snr_of
from ddpmcodec.numerics.symbol_model import SymbolModel

_USUAL_SYMBOLS, _MOST_SYMBOLS = 1 << 14, 1 << 22
_RARE = (15, 1)  # frequencies of the usual counts and of those beyond


@dataclass(frozen=True)
class ShortStep:
    """Short step as both sides know it beforehand: it goes from level n of the plan to less than level n + 1."""

    plan: Plan
    channel: Channel
    dims: int
    n: int  # whole steps taken, fewer than the plan has
    expected: int  # bits that step n + 1, were it whole, is expected to send

    @property
    def most_bits(self) -> int:
        return self.channel.max_bits(self.dims)

    @property
    def unit(self) -> int:
        """Return the unit that bits are counted in: 1, but for large pictures a thousandth of the expected step or
        so.
        """
        unit = 1
        while self._usual_bits // unit >= _USUAL_SYMBOLS or self.most_bits // unit >= _MOST_SYMBOLS:
            unit *= 2
        return unit

    @property
    def _usual_bits(self) -> int:
        """Return a bound that the rest of a budget hardly ever exceeds where a whole step doesn't fit into it."""
        return min(self.most_bits, 2 * self.expected + 16)

    def rare(self) -> SymbolModel:
        """Return the model of whether the bit count is beyond the usual."""
        beyond = self.most_bits // self.unit > self._usual_bits // self.unit
        return SymbolModel(1, 2, _RARE) if beyond else SymbolModel(1, 1)

    def counts(self, rare: int) -> tuple[int, SymbolModel]:
        """Return the first bit count, in units, and the model of how many units more there are. 0 bits are no step at
        all.
        """
        usual = self._usual_bits // self.unit + 1
        return (usual, SymbolModel(1, self.most_bits // self.unit + 1 - usual)) if rare else (0, SymbolModel(1, usual))

    def symbols(self, bits: int) -> tuple[list[SymbolModel], NDArray[np.int32]]:
        """Return the models and symbols that name a bit count, which is a multiple of the unit."""
        rare = int(bits > self._usual_bits)
        first, counts = self.counts(rare)
        return [self.rare(), counts], np.array([rare, bits // self.unit - first], np.int32)

    def log_snr(self, bits: int) -> float:
        """Return the level that `bits` bits (not 0) buy, at most the plan's next one.

        v/b is the picture's error times the gain of SNR (`gaussians.snr_gain`), and `channel.snr` says how much of it
        bits buy. The receiver doesn't know the error, but what the whole step was expected to send: so bits go as far
        on the way in SNR as the share that they buy of what `expected` bits would.
        """
        level, following = self.plan.level(self.n), self.plan.level(self.n + 1)
        share = self.channel.snr(bits, self.dims) / self.channel.snr(max(self.expected, 1), self.dims)
        if share >= 1.0:
            return following
        return math.log(snr_of(level) + share * (snr_of(following) - snr_of(level)))
