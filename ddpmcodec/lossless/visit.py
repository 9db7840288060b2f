"""Visit: how the tail passes through a picture's sub-pixels, the same whether they are written, read or counted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.error_curve import FRACTION, ErrorCurve
from ddpmcodec.lossless.adaptation import tempered
from ddpmcodec.lossless.lattice import GREEN, RADIUS, Group, bands, groups, neighbours
from ddpmcodec.lossless.learning import PART, Learner, rates
from ddpmcodec.lossless.network import Mixtures, inputs, layers, mixtures
from ddpmcodec.lossless.rounding import UNIT

Planes = NDArray[np.int64]  # (3, h, w)


@dataclass(frozen=True)
class TailLevel:
    """Level where diffusion stopped, as the tail knows it: integers from the model's error curve."""

    log_snr: int  # x_t's level, in 2^-16
    scale: int  # expected root mean square of x_0 - x0_hat, in 1/512 of a level

    @classmethod
    def of(cls, curve: ErrorCurve, log_snr: float) -> TailLevel:
        """Return what is known at one of the curve's levels."""
        level = round(log_snr * 65536)
        mse = curve.mse[curve.log_snr.index(level)]
        scale = math.isqrt(mse * (255 * UNIT) ** 2 >> (FRACTION + 2))  # [-1, 1] is 255 levels wide
        return cls(level, min(max(scale, UNIT // 8), 64 * UNIT))


class Coder(Protocol):
    """Coder of sub-pixels by their mixtures, and knows or learns their values."""

    def begin(self, group: Group, band: slice) -> None:
        """Take up a band of a group."""

    def way(self, mixture: Mixtures, own: NDArray[np.int64]) -> int:
        """Code how the mixtures of all of the band are tempered. own: (n,) the predictions."""

    def values(self, mixture: Mixtures) -> NDArray[np.int64]:
        """Code the band's next n values, and return them."""


def visit(predictions: Planes, level: TailLevel, coder: Coder, grey: bool = False, learns: bool = False) -> Planes:
    """Return the true values of all sub-pixels, coded in their order. grey: green is red and blue. learns: networks
    learn as they go, instead of being tempered.
    """
    _, height, width = predictions.shape
    truth = np.zeros_like(predictions)
    margin = ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS))
    around, errors = np.pad(predictions, margin, mode="edge"), np.pad(truth, margin)
    inside = errors[:, RADIUS : RADIUS + height, RADIUS : RADIUS + width]
    for group, net, rate in zip(groups(), layers(), rates(), strict=True):
        columns = group.shape(height, width)[1]
        copied = grey and group.colour != GREEN
        if copied:
            group.of(truth)[:] = replace(group, colour=GREEN).of(truth)
        learner = Learner(net, rate) if learns and not copied else None
        for band in () if copied else bands(group, height, width):
            own = group.of(predictions)[band].reshape(-1)
            known = neighbours(errors, group, group.known, band, columns)
            texture = neighbours(around, group, group.around, band, columns)
            x = inputs(known, texture, own, level.scale, level.log_snr)
            coder.begin(group, band)
            if learner is None:
                mixture = mixtures(net, x, own, level.scale)
                values = coder.values(tempered(mixture, own, coder.way(mixture, own)))
            else:
                values = _learning(learner, x, own, level.scale, coder)
            group.of(truth)[band] = values.reshape(-1, columns)
        group.of(inside)[:] = group.of(truth) * UNIT - group.of(predictions)
    return truth


def _learning(
    learner: Learner, x: NDArray[np.float64], own: NDArray[np.int64], scale: int, coder: Coder
) -> NDArray[np.int64]:
    """A band's values, coded part by part: the network learns from each for the next."""
    values = np.empty(len(own), np.int64)
    for first in range(0, len(own), PART):
        part = slice(first, first + PART)
        values[part] = coder.values(learner.mixtures(x[part], own[part], scale))
        learner.learn(values[part], scale)
    return values
