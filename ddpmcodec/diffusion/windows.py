"""Windows, for a network of one size and pictures of any: they overlap, and their predicted noise is blended smoothly.

The weighted mean of the windows' ε̂ is the blend of MultiDiffusion (Bar-Tal et al. 2023); weights fall to almost
nothing at a window's edge, so neighbouring windows hand over without a seam.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]

# At most this many 32nds of the window between neighbours. Where noise hides the picture, windows imagine different
# things, and only a wide overlap hides that (judged by eye on photographs); later they agree.
STRIDE_NOISY, STRIDE = 16, 24
NOISY_LOG_SNR = -1.0
WINDOWS_AT_A_TIME = 64  # bounds the network's memory, whatever the picture's size


@lru_cache(maxsize=32)
def _starts(length: int, window: int, stride: int) -> tuple[int, ...]:
    """Return evenly spread window positions from 0 to length - window, at most `stride` 32nds of a window apart."""
    steps = -(-(length - window) * 32 // (window * stride))
    return tuple((length - window) * i // steps for i in range(steps + 1)) if steps else (0,)


def window_count(height: int, width: int, window: int, log_snr: float) -> int:
    """Return how many windows cover one picture at a level."""
    stride = STRIDE_NOISY if log_snr < NOISY_LOG_SNR else STRIDE
    return len(_starts(height, window, stride)) * len(_starts(width, window, stride))


@lru_cache(maxsize=8)
def _weight(window: int) -> NDArray[np.float32]:
    ramp = np.sin(math.pi * (np.arange(window) + 0.5) / window) ** 2 + 1e-3
    return (ramp[:, None] * ramp[None, :]).astype(np.float32)


def in_windows(predict: Callable[[Tensor, float], Tensor], x_t: Array, log_snr: float, window: int) -> Array:
    """Return ε̂ of x_t (n, c, h, w), h and w at least the window, float32 like x_t; `predict` takes square windows."""
    n, _, height, width = x_t.shape
    stride = STRIDE_NOISY if log_snr < NOISY_LOG_SNR else STRIDE
    rows, columns = _starts(height, window, stride), _starts(width, window, stride)
    places = [(i, y, x) for i in range(n) for y in rows for x in columns]
    eps = np.zeros_like(x_t)
    single = height == window and width == window
    weight = np.ones((window, window), np.float32) if single else _weight(window)
    for first in range(0, len(places), WINDOWS_AT_A_TIME):
        part = places[first : first + WINDOWS_AT_A_TIME]
        cut = np.stack([x_t[i, :, y : y + window, x : x + window] for i, y, x in part])
        predicted = predict(torch.from_numpy(cut), log_snr).cpu().numpy()
        for (i, y, x), tile in zip(part, predicted, strict=True):
            eps[i, :, y : y + window, x : x + window] += tile * weight
    if not single:
        # The weights are a product, so their sum over the grid of windows is one too.
        eps /= _total(rows, height, window)[:, None] * _total(columns, width, window)
    return eps


def _total(starts: tuple[int, ...], length: int, window: int) -> NDArray[np.float32]:
    total, ramp = np.zeros(length, np.float32), np.sqrt(np.diag(_weight(window)))
    for start in starts:
        total[start : start + window] += ramp
    return total
