"""Branch metrics: what each trellis step would add to the alignment of codeword and target, as whole numbers.

The target is quantised before anything is searched, so every machine and every implementation finds the same path.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.blocks import Block
from ddpmcodec.channel.codebook import rotate, sylvester, taps
from ddpmcodec.channel.viterbi import Metrics, branch_limit
from ddpmcodec.numerics import native

TARGET_RMS = 64  # the shift is quantised to integers of this root mean square
# Branch metrics are clipped at this multiple of their own root mean square. On 64 CIFAR-10 training images 3.5 sends
# 0.2% to 0.3% more bits at small errors (± 0.1%), and 6 as many.
BRANCH_SIGMAS = 4.5
_TABLE_STEPS = 64  # trellis steps whose branch metrics are made at a time, to stay in the cache; native.c's CHUNK


def quantised(shift: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return a shift (dims,) as the target of the search: integers of root mean square TARGET_RMS."""
    rms = math.sqrt(float(np.einsum("i,i->", shift, shift, dtype=np.float64)) / len(shift))
    scaled = shift * np.float32(TARGET_RMS / max(rms, 1e-30))
    return np.rint(scaled, out=scaled).astype(np.int32)


def branch_metrics(target: NDArray[np.int32], block: Block) -> Metrics:
    """Return for every trellis step the correlations of the rotated target with each pattern of active bits.

    target: the part of the shift that the block codes.
    """
    shape, book = block.code()
    y = rotate(target, book, shape)
    # An integer, a correctly rounded root and one multiplication a metric: every machine scales and rounds alike.
    rms = math.sqrt(max(1, int(np.einsum("i,i->", y, y, dtype=np.int64))) / block.count)
    scale = branch_limit(block.memory) / (BRANCH_SIGMAS * rms)
    older, newer = taps(block.memory)
    if native.enabled():
        found = native.branch_metrics(y, book.taps, shape.edges, older + newer, scale, branch_limit(block.memory))
        return found.reshape(-1, 1 << older, 1 << newer)
    step_of_dim = shape.step_of_dim
    metrics = np.empty((block.count, 1 << older, 1 << newer), np.int16)
    for first in range(0, block.count, _TABLE_STEPS):
        rows = metrics[first : first + _TABLE_STEPS]
        lo, hi = int(shape.edges[first]), int(shape.edges[first + len(rows)])
        cell = ((step_of_dim[lo:hi] - first).astype(np.int64) << (older + newer)) + book.taps[lo:hi]
        table = np.bincount(cell, weights=y[lo:hi], minlength=rows.size)
        # Sums of integers below 2^24 are exact in float32; beyond, float64. Either way they stay integers.
        kind = np.float32 if np.abs(y[lo:hi]).sum() < 1 << 24 else np.float64
        rows[:] = _round(_correlate(table.astype(kind), older, newer) * scale, branch_limit(block.memory))
    return metrics


def _correlate(table: NDArray[np.floating], older: int, newer: int) -> NDArray[np.floating]:
    """Hadamard transform over the taps: (steps * 2^(older + newer)) sums of the target to (steps, 2^older, 2^newer)."""
    kind = table.dtype.str
    # One small product a step: a large one would wake BLAS's own threads, which fight with torch's spinning ones.
    return sylvester(older, kind) @ table.reshape(-1, 1 << older, 1 << newer) @ sylvester(newer, kind)


def _round(x: NDArray[np.floating], limit: int) -> NDArray[np.floating]:
    np.rint(x, out=x)
    return np.clip(x, -limit, limit, out=x)
