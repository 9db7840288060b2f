"""Trellis search: the Viterbi algorithm over 2^L states, several codes of different length at a time.

Metrics are int16, so one vector instruction handles many states, and every implementation takes the same decisions:
ties go to the branch from the lower state. Path metrics are brought back to a maximum of 0 every RENORMALISE steps;
branch metrics are clipped to `branch_limit(L)`, which bounds the spread between any two paths and so rules out
overflow.

There are three searches: in C where it was built (`native`), in numpy, which is the reference, and in torch for GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ddpmcodec.channel.codebook import taps
from ddpmcodec.channel.threads import in_threads
from ddpmcodec.numerics import native

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
    order = sorted((i for i in range(len(metrics)) if len(metrics[i])), key=lambda i: -len(metrics[i]))
    result = [np.zeros(0, np.uint8)] * len(metrics)
    start = 0
    while start < len(order):
        count = max(1, HISTORY_BYTES // (len(metrics[order[start]]) * (2 << memory)))
        group = order[start : start + count]
        for i, bits in zip(group, _search_torch([metrics[i] for i in group], memory, device), strict=True):
            result[i] = bits
        start += count
    return result


def _initial(memory: int) -> NDArray[np.int16]:
    metric = np.full(1 << memory, -2 * memory * branch_limit(memory) - 1, np.int16)
    metric[0] = 0
    return metric


def _search_native(metrics: Metrics, memory: int) -> NDArray[np.uint8]:
    return native.search(metrics, memory, _initial(memory))


def _search_numpy(metrics: Metrics, memory: int) -> NDArray[np.uint8]:
    steps, half = len(metrics), 1 << (memory - 1)
    older, newer = taps(memory)
    gap = 1 << (memory - 1 - older - newer)
    # history[i] holds the path metrics before step i. Read as (oldest bit, rest of the state); written, one step on, as
    # (rest of the state, newest bit). Everything is one-dimensional, which is where numpy's calls are quickest.
    history = np.empty((steps + 1, 2 * half), np.int16)
    history[0] = _initial(memory)
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


def _search_torch(group: Sequence[Metrics], memory: int, device: torch.device) -> list[NDArray[np.uint8]]:
    lengths = np.array([len(g) for g in group])
    counts = [int((lengths > i).sum()) for i in range(lengths[0])]  # codes, longest first, that still run at each step
    n, steps, half = len(group), len(counts), 1 << (memory - 1)
    older, newer = taps(memory)
    gap = 1 << (memory - 1 - older - newer)
    padded = np.zeros((steps, n, *group[0].shape[1:]), np.int16)
    for j, g in enumerate(group):
        padded[: len(g), j] = g
    x_of = torch.from_numpy(padded).to(device)
    history = torch.empty((steps + 1, n, 2, half), dtype=torch.int16, device=device)
    history[0] = torch.from_numpy(_initial(memory)).to(device).reshape(2, half)
    for i, active in enumerate(counts):
        now = history[i, :active]
        x = x_of[i, :active, :, None, :].expand(-1, -1, gap, -1).reshape(active, half)
        new = history[i + 1, :active].view(active, half, 2)
        torch.maximum(now[:, 0] + x, now[:, 1] - x, out=new[:, :, 0])
        torch.maximum(now[:, 0] - x, now[:, 1] + x, out=new[:, :, 1])
        if i % RENORMALISE == RENORMALISE - 1:
            flat = history[i + 1, :active].view(active, -1)
            flat -= flat.amax(dim=1, keepdim=True)
    # Trace all codes back together; a code joins at its own last step.
    rows = torch.arange(n, device=device)
    last = history[torch.from_numpy(lengths).to(device), rows].view(n, -1).to(torch.int32)
    # torch's argmax may return any of several maxima; the lowest state must win.
    index = torch.arange(2 * half, device=device)
    state = torch.where(last == last.amax(dim=1, keepdim=True), index, 2 * half).amin(dim=1)
    bits = torch.zeros((steps, n), dtype=torch.uint8, device=device)
    for i in range(steps - 1, -1, -1):
        k = counts[i]
        bit, rest = state[:k] & 1, state[:k] >> 1
        x = (
            x_of[i]
            .reshape(n, -1)[rows[:k], ((rest >> (memory - 1 - older)) << newer) | (rest & ((1 << newer) - 1))]
            .int()
        )
        x = torch.where(bit.bool(), -x, x)
        flat = history[i].view(n, -1)
        upper = flat[rows[:k], rest + half].int() - x > flat[rows[:k], rest].int() + x
        bits[i, :k] = bit.to(torch.uint8)
        state[:k] = torch.where(upper, rest + half, rest)
    table = bits.cpu().numpy()
    return [np.ascontiguousarray(table[: len(g), j]) for j, g in enumerate(group)]
