"""Adaptation: how far a picture's sub-pixels are like those that the tail's networks were trained on.

For each band of a group the sender names one of 25 ways to temper the network's mixtures: how much of what they add to
the ε-model's own prediction counts, and by how much their scales grow. Naming the usual way, which leaves them as they
are, costs a tenth of a bit; pictures of another kind (noise that differs from colour to colour, drawings) gain more by
another way than it takes to name it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.lossless.distribution import bits_of
from ddpmcodec.lossless.network import LEAST_SCALE, MOST_SCALE, Mixtures
from ddpmcodec.numerics.symbol_model import SymbolModel

_SHARES = (4, 3, 2, 1, 0)  # quarters of the networks' corrections that count
_WIDER = (0, -4, 4, 8, 12)  # growth of scales, in steps of 2^(1/8)
WAYS = len(_SHARES) * len(_WIDER)  # 0 is the usual one


@cache
def way_model() -> SymbolModel:
    return SymbolModel(1, WAYS, (256 - (WAYS - 1), *([1] * (WAYS - 1))))


def tempered(mixture: Mixtures, own: NDArray[np.int64], way: int) -> Mixtures:
    """Return the mixtures as a way tempers them. own: (n,) the ε-model's predictions."""
    share, wider = _SHARES[way // len(_WIDER)], _WIDER[way % len(_WIDER)]
    centre = own[:, None] + ((mixture.centre - own[:, None]) * share >> 2)
    return Mixtures(centre, np.clip(mixture.scale + wider, LEAST_SCALE, MOST_SCALE), mixture.odds)


def best_way(mixture: Mixtures, own: NDArray[np.int64], values: NDArray[np.int64]) -> int:
    """Return the way that codes the values in the fewest bits, its own name included."""
    named = -np.log2(np.array(way_model().frequencies) / 256)
    return int(np.argmin([bits_of(tempered(mixture, own, way), values) + named[way] for way in range(WAYS)]))
