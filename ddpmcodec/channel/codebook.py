"""Codebook of the trellis code: which dimensions a bit drives, through which taps, under which rotation. Integers only.

A code of B bits over D dimensions is a time-varying convolutional code with 2^L states (one bit a trellis step). Each
dimension is a parity of the newest bit, the oldest bit and a random subset of MAX_TAPS bits between, as +-1; the
vector of parities, sign-flipped and interleaved, goes through a block-wise Hadamard transform so that every coordinate
looks Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.numerics import native
from ddpmcodec.numerics.philox import Key

MAX_TAPS = 10  # with ten, a step's branch metrics are one 1024-point Hadamard transform; more taps buy nothing
MAX_HADAMARD = 4096
MIN_HADAMARD = 256
# Where groups of coefficients have powers of their own, mixing must keep to coefficients of like power.
GROUPED_HADAMARD = 128

# Dimensions a bit, relative to the middle of the block, in units of 1/1024: 1 + 2.2 exp(-j/1.7), j steps before the
# end. Steeper, longer and shorter tapers were no better on Gaussian shifts of 16 to 64 bits (docs/channel.md).
_TAIL = (2253, 1251, 695, 386, 214, 119, 66, 37, 20, 11, 6, 3, 2, 1)


def taper(bits: int, dims: int, memory: int) -> NDArray[np.int64]:
    """Return the edges (bits + 1,) of the dimensions driven by each trellis step: few at the start, more at the end.

    At the start few states can be reached, so a choice there is worth little; at the end a bit has fewer successors
    that share its choice. Tapering is worth 1-2 bits a block. Every step owns at least one dimension, hence dims >=
    bits.
    """
    assert bits <= dims < 1 << 28
    assert bits <= 1 << 14
    i = np.arange(bits, dtype=np.int64)
    head = np.array([math.isqrt((1 << 20) * (k + 1) ** 3 // memory**3) for k in range(min(bits, memory))], np.int64)
    weight = np.full(bits, 1024, np.int64)
    weight[: len(head)] = np.minimum(head, 1024)
    from_end = bits - 1 - i
    tail = np.concatenate([np.array(_TAIL, np.int64), np.zeros(1, np.int64)])[np.minimum(from_end, len(_TAIL))]
    cumulative = np.concatenate([np.zeros(1, np.int64), np.cumsum(weight * (1024 + tail))])
    # 4096 bits of weight 2^21 over 2^28 dimensions stay below 2^63.
    edges = cumulative * dims // int(cumulative[-1])
    j = np.arange(bits + 1, dtype=np.int64)
    edges[1:] = np.maximum.accumulate(np.maximum(edges[1:] - j[1:], 0)) + j[1:]
    return np.minimum(edges, dims - bits + j)


@dataclass(frozen=True)
class Geometry:
    """Part of a block's code that (bits, dims, memory) alone decide; shared by all blocks of that shape."""

    dims: int  # dimensions that carry data
    padded: int  # dimensions the code covers: a whole number of Hadamard blocks
    hadamard: int  # length of the Hadamard transform
    edges: NDArray[np.int64]  # (bits + 1,) first code dimension of each trellis step, and the end
    rows: NDArray[np.int64] | None  # the order in which Hadamard blocks are interleaved; None: as they come

    @property
    def step_of_dim(self) -> NDArray[np.int32]:
        """Return the trellis step (padded,) that drives each code dimension."""
        return np.repeat(np.arange(len(self.edges) - 1, dtype=np.int32), np.diff(self.edges))


@lru_cache(maxsize=256)
def geometry(bits: int, dims: int, memory: int, grouped: bool = False) -> Geometry:
    """Return the geometry of a block. grouped: coefficients come in groups of falling power."""
    padded = -(-dims // MIN_HADAMARD) * MIN_HADAMARD
    hadamard = min(GROUPED_HADAMARD if grouped else MAX_HADAMARD, padded & -padded)
    rows = _scattered(padded // hadamard) if grouped else None
    return Geometry(dims, padded, hadamard, taper(bits, padded, memory), rows)


def _scattered(count: int) -> NDArray[np.int64]:
    """0 … count - 1 in an order that has strong and weak ones side by side, so that every bit drives some of each."""
    stride = count * 5 // 13  # about the golden section
    while math.gcd(stride, count) != 1:
        stride += 1
    return np.arange(count, dtype=np.int64) * stride % count


@dataclass(frozen=True)
class Codebook:
    """Random part of a block's code: generator taps of each dimension, signs before and after the rotation."""

    taps: NDArray[np.int16]  # (padded,) bit set of active taps
    sign_in: NDArray[np.int8]  # (padded,) +-1 on the picture's side of the rotation
    sign_out: NDArray[np.int8]  # (padded,) +-1 on the code's side: without it the all-zero path is one spike


@lru_cache(maxsize=1)  # the sender decodes what it has just encoded; a large picture's is large
def codebook(key: Key, padded: int, memory: int) -> Codebook:
    words = key.words(padded)
    one = np.int8(1)
    sign_in = one - np.int8(2) * (words >> np.uint32(31)).astype(np.int8)
    sign_out = one - np.int8(2) * ((words >> np.uint32(30)) & np.uint32(1)).astype(np.int8)
    return Codebook((words & np.uint32((1 << sum(taps(memory))) - 1)).astype(np.int16), sign_in, sign_out)


@cache
def sylvester(order: int, dtype: str = "<f8") -> NDArray[Any]:
    """Return Sylvester's Hadamard matrix of side 2^order."""
    h = np.ones((1, 1), dtype)
    for _ in range(order):
        h = np.block([[h, h], [h, -h]])
    return h


def hadamard_transform(x: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the unnormalised Walsh-Hadamard transform along the last axis (a power of two), exact in whole numbers <
    2^53.

    The matrix is a Kronecker product, so two small products do; a large one would wake BLAS's own threads.
    """
    order = x.shape[-1].bit_length() - 1
    left, right = sylvester(order // 2), sylvester(order - order // 2)
    y = left @ x.astype(np.float64).reshape(-1, len(left), len(right)) @ right
    return y.reshape(x.shape)


def _transformed(x: NDArray[np.int32]) -> NDArray[np.int32]:
    """Transform likewise rows whose sums fit 32 bits, as those of both sides do; x may be overwritten."""
    if not native.enabled():
        return hadamard_transform(x).astype(np.int32)
    x = np.ascontiguousarray(x)
    native.hadamard(x)
    return x


def rotate(x: NDArray[np.int32], book: Codebook, shape: Geometry) -> NDArray[np.int32]:
    """Rotate from the picture's side (dims,) to the code's (padded,): sqrt(hadamard) times an orthonormal map of the
    vector, padded with zeros.
    """
    y = np.zeros(shape.padded, np.int32)
    np.multiply(x, book.sign_in[: len(x)], out=y[: len(x)])
    y = _transformed(y.reshape(-1, shape.hadamard))
    if shape.rows is not None:
        y = y[shape.rows]
    y = y.T.reshape(-1)  # interleaved, so a bit's dimensions span all blocks
    y *= book.sign_out
    return y


def rotate_back(c: NDArray[np.signedinteger[Any]], book: Codebook, shape: Geometry) -> NDArray[np.int32]:
    """Rotate a codeword (padded,) of +-1 from the code's side to the picture's: the transpose of `rotate`, again
    sqrt(hadamard) times orthonormal.
    """
    x = (c * book.sign_out).reshape(shape.hadamard, -1).T
    if shape.rows is not None:
        x = x[shape.rows.argsort()]
    y = _transformed(x.astype(np.int32, order="C")).reshape(-1)
    y *= book.sign_in
    return y


def parity(x: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the parity of the set bits of each (non-negative) number below 2^16."""
    for shift in (8, 4, 2, 1):
        x = x ^ (x >> shift)
    return x & np.int16(1)


def taps(memory: int) -> tuple[int, int]:
    """Return how many of the bits between newest and oldest are active: on the older side and on the newer side."""
    total = min(memory - 1, MAX_TAPS)
    return total // 2, total - total // 2


def shift_register(bits: NDArray[np.uint8], memory: int) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """Return what drives each trellis step: its active middle bits, and the newest bit xor the oldest; from state 0.

    bits: (n,) of 0 and 1. Before step i the state holds the `memory` bits before it; a bit's age counts back from
    there.
    """
    n, (older, newer) = len(bits), taps(memory)
    history = np.concatenate([np.zeros(memory, np.int16), bits.astype(np.int16)])

    def of_age(age: int) -> NDArray[np.int16]:
        return history[memory - age : memory - age + n]

    active = np.zeros(n, np.int16)
    for tap in range(newer):
        active |= of_age(tap + 1) << np.int16(tap)
    for tap in range(older):
        active |= of_age(memory - older + tap) << np.int16(newer + tap)
    return active, (of_age(memory) ^ bits).astype(np.int8)
