"""Basis in which the prior of a step is diagonal: opponent colours, cosine transforms, coefficients sorted by power.

Orthonormal, so squared lengths are those of the picture. The order is whole numbers; the transform itself is floats,
and only the picture depends on it. Transforms are of tiles of about 32x32, whatever the picture's size: the error's
spectrum was measured on pictures of that size, and a large picture's lowest frequencies would have more power than
codewords can carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.codebook import GROUPED_HADAMARD
from ddpmcodec.channel.prior import Prior
from ddpmcodec.diffusion.axes import Axes, rotation
from ddpmcodec.diffusion.spectrum import (
    BANDS,
    POWER_FRACTION,
    bands,
    by_power,
    group_power,
    transform,
    transform_back,
)
from ddpmcodec.numerics.threads import WORTH_THREADS, in_threads

Array = NDArray[np.float32]
KEPT_PIXELS = 1 << 14


@dataclass(frozen=True)
class Basis:
    """Coefficients of a (c, height, width) picture, strongest class of a spectrum's row first."""

    row: tuple[int, ...]
    height: int
    width: int
    axes: Axes = ()

    @property
    def channels(self) -> int:
        return len(self.row) // BANDS

    @cached_property
    def rotation(self) -> Array:
        return rotation(self.axes)

    @cached_property
    def prior(self) -> Prior:
        power = group_power(self.row, self.height, self.width)
        return Prior(tuple(p / (1 << POWER_FRACTION) for p in power), self.channels * self.height * self.width)

    @cached_property
    def order(self) -> NDArray[np.int32]:
        """Return the place (dims,) of each sorted coefficient among those of `transform`.

        Equals are in the picture's order, but each group is dealt out to as many runs as the channel mixes: all alike,
        then.
        """
        pixels, places = self.height * self.width, _places_of_bands(self.height, self.width)
        runs = (places[c % BANDS] + np.int32(c // BANDS * pixels) for c in by_power(self.row))
        order = np.concatenate(list(runs))
        edges = self.prior.edges
        for start, end in zip(edges.tolist(), edges[1:].tolist(), strict=False):
            if end - start > GROUPED_HADAMARD:
                order[start:end] = order[start:end][_dealt_out(end - start)]
        return order

    def analyse(self, x: Array) -> Array:
        """Return the sorted coefficients (dims,) of a plane (c, h, w)."""
        return _taken(transform(x, self.rotation).reshape(-1), self.order)

    def synthesise(self, coefficients: Array) -> Array:
        """Return the plane (c, h, w) of sorted coefficients (dims,)."""
        y = np.empty_like(coefficients)
        y[self.order] = coefficients
        return transform_back(y.reshape(self.channels, self.height, self.width), self.rotation, own=True)


def _taken(values: Array, places: NDArray[np.int32]) -> Array:
    """Return the values at places, which are in range; many by threads."""
    if len(places) < WORTH_THREADS:
        return values[places]
    found = np.empty(len(places), values.dtype)
    parts = [np.s_[i : i + WORTH_THREADS] for i in range(0, len(places), WORTH_THREADS)]
    in_threads(lambda part: np.take(values, places[part], out=found[part], mode="clip"), parts)
    return found


@lru_cache(maxsize=2)
def _places_of_bands(height: int, width: int) -> list[NDArray[np.int32]]:
    """Return the places of each band's coefficients in a plane, in the plane's order."""
    of_place = bands(height, width).ravel()
    order = of_place.argsort(kind="stable").astype(np.int32)
    return np.split(order, np.bincount(of_place, minlength=BANDS).cumsum()[:-1])


@lru_cache(maxsize=64)
def _dealt_out(count: int) -> NDArray[np.intp]:
    """Return the order in which `count` coefficients, dealt out to runs of GROUPED_HADAMARD at most, follow."""
    return (np.arange(count) % -(-count // GROUPED_HADAMARD)).argsort(kind="stable")


def basis_of(row: tuple[int, ...], height: int, width: int, axes: Axes = ()) -> Basis:
    """Return a basis; the last ones are kept, for a step asks for its own several times. Large pictures' orders are
    large, so one of them.
    """
    return (_of_small if height * width <= KEPT_PIXELS else _of_large)(row, height, width, axes)


_of_small, _of_large = lru_cache(maxsize=128)(Basis), lru_cache(maxsize=1)(Basis)
