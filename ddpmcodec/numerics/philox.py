"""Shared randomness: Philox4x32-10, a counter-based generator in integer arithmetic only.

Sender and receiver derive every random choice from (seed, step, purpose, part), so the codebook is the same on every
machine, in every version and on every device. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.numerics import native

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_PIECE = 1 << 18  # words made at a time: the rounds work on 64-bit temporaries
_MASK, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)

# Purposes keep the uses of one step's randomness apart. They are part of the stream format.
NOISE, TRELLIS, CANDIDATES, ARRIVALS = 0, 1, 2, 3
SAMPLING = 4  # outside streams: samplers and measurements, which may go on from a stream's x_t with its own seed
ROUNDING = 5  # dithers for the lossless tail's predictions


@dataclass(frozen=True)
class Key:
    """Name of one independent random sequence: no two steps, purposes or parts share one."""

    seed: int  # 64 bits, chosen by the sender
    step: int  # position in the reverse chain, 0 for x_T
    purpose: int = NOISE
    part: int = 0  # trellis block or chunk within the step

    def words(self, count: int, skip: int = 0) -> NDArray[np.uint32]:
        """Return `count` 32-bit words of the sequence, after the first `skip` (a multiple of 4)."""
        if native.enabled():
            rest = (self.step, self.purpose, self.part)
            return native.philox(skip // 4, (count + 3) // 4, rest, self.seed).reshape(-1)[:count]
        words = np.empty(count, np.uint32)
        for first in range(0, count, _PIECE):
            piece = words[first : first + _PIECE]
            start = (skip + first) // 4
            c0 = np.arange(start, start + (len(piece) + 3) // 4, dtype=np.uint64)
            fixed = (np.full(len(c0), value, np.uint64) for value in (self.step, self.purpose, self.part))
            piece[:] = philox4x32((c0, *fixed), self.seed).reshape(-1)[: len(piece)]
        return words


def philox4x32(counter: tuple[NDArray[np.uint64], ...], key: int) -> NDArray[np.uint32]:
    """Return ten rounds over four arrays of 32-bit counter words (held in uint64) and a 64-bit key; returns (n, 4)
    words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _MASK
        c2, c3 = (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _MASK
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


@cache
def _gaussian_table() -> NDArray[np.int16]:
    # Midpoint quantiles of 2^16 equal cells, in units of 2^-12, normalised to unit variance before rounding.
    normal = NormalDist()
    half = np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(32768, 65536)])
    half /= np.sqrt(np.mean(half**2))
    half = np.rint(half * 4096).astype(np.int16)
    return np.concatenate([-half[::-1], half])


def gaussian(key: Key, count: int, skip_words: int = 0) -> NDArray[np.float32]:
    """Return `count` standard normal numbers from a table of integers (multiples of 2^-12, |z| < 4.4): the same
    everywhere.
    """
    words = key.words((count + 1) // 2, skip_words)
    z = np.empty((len(words), 2), np.float32)
    z[:, 0] = _gaussian_table()[words & np.uint32(0xFFFF)]
    z[:, 1] = _gaussian_table()[words >> np.uint32(16)]
    z *= np.float32(2.0**-12)
    return z.reshape(-1)[:count]
