"""The basis in which the prior of a step is diagonal: opponent colours, a cosine transform, coefficients sorted by power.

Orthonormal, so squared lengths are those of the picture. The order is whole numbers; the transform itself is floats, and
only the picture depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

from ddpmcodec.channel.prior import Prior
from ddpmcodec.spectrum import BANDS, CLASSES, COLOURS, POWER_FRACTION, bands, by_power, group_power

Array = NDArray[np.float32]

# Rows: luminance, red - blue, green - magenta; the decorrelating rotation of natural pictures' colours, nearly.
OPPONENT = (np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])).astype(np.float32)


def transform(x: Array) -> Array:
    """(..., 3, h, w) to its coefficients, likewise: opponent colours, each by an orthonormal two-dimensional DCT-II."""
    return dctn(np.einsum("ab,...bhw->...ahw", OPPONENT, x), axes=(-2, -1), norm="ortho", overwrite_x=True)  # type: ignore[no-any-return]


def transform_back(y: Array) -> Array:
    """The inverse of `transform`."""
    return np.einsum("ab,...ahw->...bhw", OPPONENT, idctn(y, axes=(-2, -1), norm="ortho"))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Basis:
    """The coefficients of a (3, height, width) picture, strongest class of a spectrum's row first."""

    row: tuple[int, ...]
    height: int
    width: int

    @cached_property
    def prior(self) -> Prior:
        power = group_power(self.row, self.height, self.width)
        return Prior(tuple(p / (1 << POWER_FRACTION) for p in power), COLOURS * self.height * self.width)

    @cached_property
    def order(self) -> NDArray[np.int32]:
        """(dims,) place of each sorted coefficient among those of `transform`; equals stay in their order."""
        rank = np.empty(CLASSES, np.uint8)
        rank[by_power(self.row)] = np.arange(CLASSES)
        classes = bands(self.height, self.width).ravel()
        ranks = np.concatenate([rank[colour * BANDS + classes] for colour in range(COLOURS)])
        return ranks.argsort(kind="stable").astype(np.int32)

    def analyse(self, x: Array) -> Array:
        """(3, h, w) to (dims,)."""
        return transform(x).reshape(-1)[self.order]

    def synthesise(self, coefficients: Array) -> Array:
        """(dims,) to (3, h, w)."""
        y = np.empty_like(coefficients)
        y[self.order] = coefficients
        return transform_back(y.reshape(COLOURS, self.height, self.width))


@lru_cache(maxsize=2)
def basis_of(row: tuple[int, ...], height: int, width: int) -> Basis:
    """The last ones are kept: a step asks for its basis several times, and large pictures' orders are large."""
    return Basis(row, height, width)
