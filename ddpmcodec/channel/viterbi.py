"""Trellis search: the Viterbi algorithm over 2^L states, several codes of different length at a time.

Metrics are int16, so one vector instruction handles many states, and every implementation takes the same decisions:
ties go to the branch from the lower state. Path metrics are brought back to a maximum of 0 every RENORMALISE steps;
branch metrics are clipped to `branch_limit(L)`, which bounds the spread between any two paths and so rules out
overflow.

There are three searches: in C where it was built (`native`), in numpy, which is the reference, and in torch for GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.codebook import taps
from ddpmcodec.numerics import native
from ddpmcodec.numerics.threads import in_threads

if TYPE_CHECKING:
    import torch

RENORMALISE = 8
HISTORY_BYTES = 1 << 28  # path metrics kept for tracing back, all codes searched together

# One code's branch metrics: (steps, 2^older, 2^newer) int16, indexed by the active bits of the state before the step.
Metrics = NDArray[np.int16]


def branch_limit(memory: int) -> int:
    """Return the largest branch metric that can't overflow a path metric.

    States that can't be reached start 2L branches below the reachable ones, fall at most L more before they are
    overtaken, and the best path rises at most L + RENORMALISE above its last zero: 4L + RENORMALISE in all, and 2
    spare.
    """
    return 32767 // (4 * memory + RENORMALISE + 2)


def search(metrics: Sequence[Metrics], memory: int, device: torch.device | None = None) -> list[NDArray[np.uint8]]:
    """Return the bits of the best path (from state 0, free end) of each code: argmax of the sum of branch metrics.

    device: None searches natively, several codes in threads, or with numpy, one after the other; a torch device
    searches many together. Same bits.
    """
    if device is None:
        one = _search_native if native.enabled() else _search_numpy
        return in_threads(lambda m: one(m, memory) if len(m) else np.zeros(0, np.uint8), metrics)
    from ddpmcodec.channel.viterbi_torch import search_torch

    order = sorted((i for i in range(len(metrics)) if len(metrics[i])), key=lambda i: -len(metrics[i]))
    result = [np.zeros(0, np.uint8)] * len(metrics)
    start = 0
    while start < len(order):
        count = max(1, HISTORY_BYTES // (len(metrics[order[start]]) * (2 << memory)))
        group = order[start : start + count]
        for i, bits in zip(group, search_torch([metrics[i] for i in group], memory, device), strict=True):
            result[i] = bits
        start += count
    return result


def initial(memory: int) -> NDArray[np.int16]:
    """Return the path metrics (2^memory,) before the first step: only state 0 can be reached."""
    metric = np.full(1 << memory, -2 * memory * branch_limit(memory) - 1, np.int16)
    metric[0] = 0
    return metric


def _search_native(metrics: Metrics, memory: int) -> NDArray[np.uint8]:
    return native.search(metrics, memory, initial(memory))


def _search_numpy(metrics: Metrics, memory: int) -> NDArray[np.uint8]:
    steps, half = len(metrics), 1 << (memory - 1)
    older, newer = taps(memory)
    gap = 1 << (memory - 1 - older - newer)
    # history[i] holds the path metrics before step i. Read as (oldest bit, rest of the state); written, one step on, as
    # (rest of the state, newest bit). Everything is one-dimensional, which is where numpy's calls are quickest.
    history = np.empty((steps + 1, 2 * half), np.int16)
    history[0] = initial(memory)
    stretch = max(RENORMALISE, (1 << 18) >> memory)  # steps whose branch metrics are laid out at a time: fits the cache
    branch = np.empty((stretch, 2, 1 << older, gap, 1 << newer), np.int16)  # +x for oldest bit 0, -x for 1
    sums = np.empty(2 * half, np.int16)
    sums0, sums1 = sums[:half], sums[half:]
    for first in range(0, steps, stretch):
        count = min(stretch, steps - first)
        branch[:count, 0] = metrics[first : first + count, :, None, :]
        np.negative(branch[:count, 0], out=branch[:count, 1])
        now = history[first : first + count]
        new = history[first + 1 : first + count + 1].reshape(count, half, 2)
        laid_out = branch[:count].reshape(count, -1)
        for i, (row, x, new0, new1) in enumerate(zip(now, laid_out, new[..., 0], new[..., 1], strict=True), first + 1):
            np.add(row, x, out=sums)  # newest bit 0
            np.maximum(sums0, sums1, out=new0)
            np.subtract(row, x, out=sums)  # newest bit 1
            np.maximum(sums0, sums1, out=new1)
            if i % RENORMALISE == 0:
                history[i] -= history[i].max()
    return _trace_back(history, metrics, memory)


def _trace_back(history: NDArray[np.int16], metrics: Metrics, memory: int) -> NDArray[np.uint8]:
    """Retake, backwards from the best final state, the decision of each step on the best path."""
    steps, half = len(metrics), 1 << (memory - 1)
    older, newer = taps(memory)
    flat, low = metrics.reshape(steps, -1), (1 << newer) - 1
    state = int(history[steps].argmax())
    bits = np.empty(steps, np.uint8)
    for i in range(steps - 1, -1, -1):
        bit, rest = state & 1, state >> 1
        x = int(flat[i, ((rest >> (memory - 1 - older)) << newer) | (rest & low)])
        if bit:
            x = -x
        bits[i] = bit
        state = rest + half if int(history[i, rest + half]) - x > int(history[i, rest]) + x else rest
    return bits
