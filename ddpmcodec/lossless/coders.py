"""Coders of the tail's sub-pixels: one writes them, one reads them, one counts what they cost."""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from ddpmcodec.lossless.adaptation import best_way, way_model
from ddpmcodec.lossless.distribution import TOGETHER, bits_of, frequencies
from ddpmcodec.lossless.lattice import Group
from ddpmcodec.lossless.network import Mixtures

_ROWS = constriction.stream.model.Categorical(perfect=False)  # one row of frequencies a symbol


class _Knowing:
    """Knowledge of a sender's coder: the true values (3, h, w), and how far it has come in a band."""

    def __init__(self, truth: NDArray[np.int64]):
        self._truth = truth
        self._left = np.empty(0, np.int64)

    def begin(self, group: Group, band: slice) -> None:
        self._left = group.of(self._truth)[band].reshape(-1)

    def _next(self, count: int) -> NDArray[np.int64]:
        found, self._left = self._left[:count], self._left[count:]
        return found


class Writing(_Knowing):
    """Coder of a sender: values go into a range encoder."""

    def __init__(self, truth: NDArray[np.int64], encoder: Any):
        super().__init__(truth)
        self._encoder = encoder

    def way(self, mixture: Mixtures, own: NDArray[np.int64]) -> int:
        way = best_way(mixture, own, self._left)
        self._encoder.encode(np.array([way], np.int32), way_model().model)
        return way

    def values(self, mixture: Mixtures) -> NDArray[np.int64]:
        values = self._next(len(mixture.odds))
        for part in _parts(len(values)):
            self._encoder.encode(values[part].astype(np.int32), _ROWS, frequencies(_part(mixture, part)))
        return values


class Reading:
    """Coder of a receiver: values come out of a range decoder, and go into an encoder again."""

    def __init__(self, decoder: Any, again: Any):
        self._decoder, self._again = decoder, again

    def begin(self, group: Group, band: slice) -> None:
        pass

    def way(self, mixture: Mixtures, own: NDArray[np.int64]) -> int:
        way = int(self._decoder.decode(way_model().model))
        self._again.encode(np.array([way], np.int32), way_model().model)
        return way

    def values(self, mixture: Mixtures) -> NDArray[np.int64]:
        values = np.empty(len(mixture.odds), np.int64)
        for part in _parts(len(values)):
            model = frequencies(_part(mixture, part))
            values[part] = self._decoder.decode(_ROWS, model)
            self._again.encode(values[part].astype(np.int32), _ROWS, model)
        return values


class Counting(_Knowing):
    """Coder that writes nothing, and counts the bits that an ideal range coder would spend on the values."""

    bits = 0.0

    def way(self, mixture: Mixtures, own: NDArray[np.int64]) -> int:
        return best_way(mixture, own, self._left)

    def values(self, mixture: Mixtures) -> NDArray[np.int64]:
        values = self._next(len(mixture.odds))
        self.bits += bits_of(mixture, values)
        return values


def _parts(count: int) -> list[slice]:
    return [slice(first, min(first + TOGETHER, count)) for first in range(0, count, TOGETHER)]


def _part(mixture: Mixtures, part: slice) -> Mixtures:
    return Mixtures(mixture.centre[part], mixture.scale[part], mixture.odds[part])
