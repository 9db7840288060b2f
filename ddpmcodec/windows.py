"""Any picture size: cover it with overlapping windows of the network's own size and blend the predicted noise smoothly.

The weighted mean of the windows' ε̂ is the blend of MultiDiffusion (Bar-Tal et al. 2023); weights fall to almost nothing
at a window's edge, so neighbouring windows hand over without a seam.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ddpmcodec.models.base import CodecModel

STRIDE = (3, 4)  # at most this fraction of the window between neighbours
WINDOWS_AT_A_TIME = 64  # bounds the network's memory, whatever the picture's size


def canvas_size(height: int, width: int, window: int) -> tuple[int, int]:
    """The plane the chain runs on: the picture, or one window where the picture is smaller."""
    return max(height, window), max(width, window)


@lru_cache(maxsize=32)
def _starts(length: int, window: int) -> tuple[int, ...]:
    """Evenly spread window positions from 0 to length - window."""
    steps = -(-(length - window) * STRIDE[1] // (window * STRIDE[0]))
    return tuple((length - window) * i // steps for i in range(steps + 1)) if steps else (0,)


@lru_cache(maxsize=8)
def _weight(window: int) -> NDArray[np.float32]:
    ramp = np.sin(math.pi * (np.arange(window) + 0.5) / window) ** 2 + 1e-3
    return (ramp[:, None] * ramp[None, :]).astype(np.float32)


def predict_eps(model: CodecModel, x_t: NDArray[np.float32], log_snr: float) -> NDArray[np.float32]:
    """ε̂ for pictures of any size: x_t (n, c, h, w) with h, w at least the window; float32 like x_t."""
    n, _, height, width = x_t.shape
    window = model.window
    places = [(i, y, x) for i in range(n) for y in _starts(height, window) for x in _starts(width, window)]
    eps = np.zeros_like(x_t)
    single = height == window and width == window
    weight = np.ones((window, window), np.float32) if single else _weight(window)
    for first in range(0, len(places), WINDOWS_AT_A_TIME):
        part = places[first : first + WINDOWS_AT_A_TIME]
        cut = np.stack([x_t[i, :, y : y + window, x : x + window] for i, y, x in part])
        predicted = model.predict_eps(torch.from_numpy(cut), log_snr).cpu().numpy()
        for (i, y, x), tile in zip(part, predicted, strict=True):
            eps[i, :, y : y + window, x : x + window] += tile * weight
    if not single:
        eps /= _total_weight(height, width, window)
    return eps


def _total_weight(height: int, width: int, window: int) -> NDArray[np.float32]:
    # The weights are a product, so their sum over a grid of windows is one too.
    row, column = (np.zeros(length, np.float32) for length in (height, width))
    ramp = np.sqrt(np.diag(_weight(window)))
    for total, length in ((row, height), (column, width)):
        for start in _starts(length, window):
            total[start : start + window] += ramp
    return row[:, None] * column[None, :]
