"""Logarithms in integers: what a stream's plan and symbol models are made of, so that no machine's log() matters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOG_FRACTION = 16  # fixed-point bits of a logarithm


def fixed_log2(x: NDArray[np.uint64], fraction: int) -> NDArray[np.int64]:
    """Return log2(x / 2^fraction) in units of 2^-16, rounded down to within a few units; integer arithmetic only. x >=
    1.
    """
    exponent, y = np.zeros(x.shape, np.int64), x
    for shift in (32, 16, 8, 4, 2, 1):
        shifted = y >> np.uint64(shift)
        exponent += np.where(shifted > 0, shift, 0)
        y = np.where(shifted > 0, shifted, y)
    up, down = np.maximum(31 - exponent, 0).astype(np.uint64), np.maximum(exponent - 31, 0).astype(np.uint64)
    mantissa = (x << up) >> down  # [2^31, 2^32): squaring it yields the logarithm a bit at a time
    result = (exponent - fraction) << LOG_FRACTION
    for bit in range(LOG_FRACTION - 1, -1, -1):
        mantissa = mantissa * mantissa >> np.uint64(31)
        carry = mantissa >> np.uint64(32)
        mantissa >>= carry
        result += carry.astype(np.int64) << bit
    return result
