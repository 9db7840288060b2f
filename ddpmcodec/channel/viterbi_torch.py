"""Trellis search in torch, for GPUs: many codes side by side, a few small operations a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ddpmcodec.channel.codebook import taps
from ddpmcodec.channel.viterbi import RENORMALISE, Metrics, initial


def search_torch(group: Sequence[Metrics], memory: int, device: torch.device) -> list[NDArray[np.uint8]]:
    """Return the bits of the best path of each code, longest code first; see `viterbi.search`."""
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
    history[0] = torch.from_numpy(initial(memory)).to(device).reshape(2, half)
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
