"""Prior of a step, N(0, I + kappa P) in units of the noise b: P is diagonal, of mean 1, and known; kappa goes with the
bits.

Coefficients come sorted, so P is a few numbers, each for a run of coefficients. With P = I, kappa is the excess
variance over noise variance that `Channel.snr` gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_TOGETHER = 1 << 20  # coefficients whose squares are taken at a time


@dataclass(frozen=True)
class Prior:
    """Shape of a coloured prior. power: (groups,) diagonal of P in equal runs of the coefficients, g * dims // groups
    to the next.
    """

    power: tuple[float, ...]
    dims: int

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        return np.arange(len(self.power) + 1) * self.dims // len(self.power)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.edges)

    @cached_property
    def _power(self) -> Floats:
        return np.array(self.power)

    def spread(self, values: Floats) -> NDArray[np.float32]:
        """Return one value a coefficient, from one a group."""
        return np.repeat(values.astype(np.float32), self.sizes)

    def variances(self, kappa: float) -> Floats:
        """Return the prior's variances (groups,): 1 + kappa P."""
        return 1 + kappa * self._power

    def energies(self, shift: NDArray[np.float32]) -> Floats:
        """Return the mean squares (groups,) of a shift (dims,)."""
        found, edges = np.empty(len(self.power)), self.edges
        at_a_time = max(1, _TOGETHER * len(self.power) // self.dims)  # groups, so that no copy of a large shift is made
        for first in range(0, len(self.power), at_a_time):
            part = edges[first : first + at_a_time + 1]
            values = shift[part[0] : part[-1]].astype(np.float64)
            found[first : first + at_a_time] = np.add.reduceat(values * values, part[:-1] - part[0])
        return found / self.sizes

    def bits(self, kappa: float) -> float:
        """Return 1/2 sum of log2(1 + kappa P): what a shift of just this prior costs, in theory."""
        return float((self.sizes * np.log2(self.variances(kappa))).sum()) / 2

    def kappa(self, bits: float) -> float:
        """Return the inverse of `bits`; kept, for sender and receiver ask for the same."""
        return _kappa(self, bits)

    def fit(self, energies: Floats) -> float:
        """Return the kappa at which a shift of these mean squares costs `bits(kappa)`: there KL(N(shift, I) || prior)
        is just that.

        In KL = bits(kappa) + 1/2 sum of [(1 + shift^2) / (1 + kappa P) - 1] / ln 2 the second term is to vanish. With
        equal powers that is kappa = the mean square, and the cost d/2 log2(1 + v/b).
        """
        excess = self.sizes * (1 + energies) / self.dims
        value = 0.0
        for _ in range(200):  # convex and falling: Newton's method comes from below
            variances = self.variances(value)
            over = float((excess / variances).sum()) - 1
            step = over / float((excess * self._power / variances**2).sum())
            if not step > 1e-12 * value:
                break
            value += step
        return value

    def reach(self, energies: Floats, kappa: float) -> float:
        """Return how much of its power the hardest group's codewords would have to align with the shift: below 1 can be
        done.
        """
        return float((energies / self.variances(kappa)).max())


def joined(priors: Sequence[Prior | None], gains: Sequence[float], dims: int) -> Prior:
    """Return the prior of several pictures' coefficients, one picture after another, of `dims` each.

    A picture's powers are multiplied by its gain, and then all by one number, so that their mean is 1 again. None is
    white: equal powers, in as many groups as the others have.
    """
    groups = max((len(prior.power) for prior in priors if prior is not None), default=1)
    power = [np.ones(groups) if prior is None else np.array(prior.power) for prior in priors]
    whole = Prior((1.0,) * (groups * len(power)), dims * len(power))
    scaled = np.concatenate([gain * of_one for gain, of_one in zip(gains, power, strict=True)])
    scaled /= float((whole.sizes * scaled).sum()) / whole.dims
    return Prior(tuple(scaled.tolist()), whole.dims)


@lru_cache(maxsize=256)  # joint priors have many powers
def _kappa(prior: Prior, bits: float) -> float:
    # The sum is concave and at most that of equal powers, so Newton's method comes from below.
    value = float(np.expm1(2 * bits * math.log(2) / prior.dims))
    for _ in range(60):
        slope = float((prior.sizes * prior._power / prior.variances(value)).sum()) / (2 * math.log(2))
        step = (bits - prior.bits(value)) / slope
        if not step > 1e-13 * value:
            break
        value += step
    return value
