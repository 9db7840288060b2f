"""Rounding that stays clear of boundaries: the same integers on both sides from floats that differ a little.

Sender and receiver add shared noise (a dither) to the prediction and round down to cells of a quarter of a level. The
sender tries one dither after another for each block of values until every value lies farther than TOLERANCE from the
nearest boundary, and sends which one that was; a receiver whose floats are off by less than TOLERANCE then rounds
alike. A block of n values needs (1 - p)^-n tries on average, p = 2 TOLERANCE / CELL, so naming one costs about 1.44 p +
1.44 / n bits a value: 0.016. Flagging the values near a boundary instead, and saying which side they are on, costs
several times that, measured on training images (`python -m ddpmcodec.eval.studies.tail_study`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import FormatError
from ddpmcodec.numerics.philox import Key
from ddpmcodec.numerics.symbol_model import SymbolModel

UNIT = 512  # integers below count in 1/512 of a level
CELL = 128  # values are known to a quarter of a level afterwards; a finer cell costs more tries than it saves bits
TOLERANCE = 9 / 16  # so floats may differ by 1.1e-3 of a level
BLOCK = 512  # values that share a dither
ESCAPE = 255  # this symbol stands for 255 failed tries, and another symbol follows
_TOTAL = 1 << 20
_TOGETHER = 64  # dithers tried at a time
_MAX_TRIES = 1 << 16  # 1 in 92 succeeds: on finite values this many never all fail


def blocks(count: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]


@lru_cache(maxsize=8)
def try_model(size: int) -> SymbolModel:
    """Return the model of the number of failed tries before the one that serves a block of `size` values: geometric, in
    integers.
    """
    succeed = ((1 << 30) - 9 * (1 << 20)) ** size >> (30 * (size - 1))  # (1 - p)^size
    fail = (1 << 30) - succeed
    weights, left = [], 1 << 30
    for _ in range(ESCAPE):
        weights.append(left)
        left = left * fail >> 30
    weights.append((left << 30) // succeed)  # all the rest
    free = _TOTAL - ESCAPE - 1
    frequencies = [1 + w * free // sum(weights) for w in weights]
    frequencies[0] += _TOTAL - sum(frequencies)
    return SymbolModel(1, ESCAPE + 1, tuple(frequencies))


def dithers(key: Key, size: int, first: int, count: int) -> NDArray[np.int64]:
    """Return dithers (count, size), numbers from 0 to CELL - 1: the `first`-th of a block and those after it."""
    words = -(-size // 16) * 4  # four numbers a word, and whole counters
    values = key.words(words * count, words * first).astype("<u4").view(np.uint8)
    return values.reshape(count, -1)[:, :size].astype(np.int64) % CELL


def choose(values: NDArray[np.float64], key: Key) -> int:
    """Return the first dither that keeps every value of a block clear of boundaries. values: (size,) in UNITs."""
    for first in range(0, _MAX_TRIES, _TOGETHER):
        place = (values + dithers(key, len(values), first, _TOGETHER)) % CELL
        clear = ((place >= TOLERANCE) & (place <= CELL - TOLERANCE)).all(axis=1)
        if clear.any():
            return first + int(clear.argmax())
    raise FormatError("the prediction can't be rounded: it is not finite")


def rounded(values: NDArray[np.float64], key: Key, chosen: int) -> NDArray[np.int64]:
    """Return the middles of the cells the values lie in, dither taken off again: (size,) integers in UNITs."""
    dither = dithers(key, len(values), chosen, 1)[0]
    return np.floor((values + dither) / CELL).astype(np.int64) * CELL + CELL // 2 - dither
