"""Any picture size: cover it with overlapping windows of the network's own size and blend the predicted noise smoothly.

The weighted mean of the windows' ε̂ is the blend of MultiDiffusion (Bar-Tal et al. 2023); weights fall to almost nothing
at a window's edge, so neighbouring windows hand over without a seam.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.diffusion.gaussians import predict_x0
from ddpmcodec.errors import FormatError
from ddpmcodec.io.images import MAX_PIXELS

# At most this many 32nds of the window between neighbours. Where noise hides the picture, windows imagine different
# things, and only a wide overlap hides that (measured by eye on photographs); later they agree.
STRIDE_NOISY, STRIDE = 16, 24
NOISY_LOG_SNR = -1.0
WINDOWS_AT_A_TIME = 64  # bounds the network's memory, whatever the picture's size


class Denoiser(Protocol):
    """What a chain asks of a model: every CodecModel is one, and a trained network without an error curve can be."""

    @property
    def window(self) -> int: ...
    @property
    def channels(self) -> int: ...
    def trained_level(self, log_snr: float) -> float: ...
    def predict_eps(self, x_t: Tensor, log_snr: float) -> Tensor: ...


def canvas_size(height: int, width: int, window: int) -> tuple[int, int]:
    """The plane the chain runs on: the picture, extended to a window where it is smaller. FormatError beyond limits."""
    canvas = max(height, window), max(width, window)
    if canvas[0] * canvas[1] > MAX_PIXELS:
        raise FormatError(
            f"picture of {width}x{height}: it is coded as {canvas[1]}x{canvas[0]}, more than {MAX_PIXELS >> 20} megapixels"
        )
    return canvas


@lru_cache(maxsize=32)
def _starts(length: int, window: int, stride: int) -> tuple[int, ...]:
    """Evenly spread window positions from 0 to length - window, at most `stride` 32nds of a window apart."""
    steps = -(-(length - window) * 32 // (window * stride))
    return tuple((length - window) * i // steps for i in range(steps + 1)) if steps else (0,)


def window_count(height: int, width: int, window: int, log_snr: float) -> int:
    """How many windows cover one picture at a level."""
    stride = STRIDE_NOISY if log_snr < NOISY_LOG_SNR else STRIDE
    return len(_starts(height, window, stride)) * len(_starts(width, window, stride))


@lru_cache(maxsize=8)
def _weight(window: int) -> NDArray[np.float32]:
    ramp = np.sin(math.pi * (np.arange(window) + 0.5) / window) ** 2 + 1e-3
    return (ramp[:, None] * ramp[None, :]).astype(np.float32)


def predict_eps(model: Denoiser, x_t: NDArray[np.float32], log_snr: float) -> NDArray[np.float32]:
    """ε̂ for pictures of any size: x_t (n, c, h, w) with h, w at least the window; float32 like x_t."""
    n, _, height, width = x_t.shape
    window = model.window
    stride = STRIDE_NOISY if log_snr < NOISY_LOG_SNR else STRIDE
    rows, columns = _starts(height, window, stride), _starts(width, window, stride)
    places = [(i, y, x) for i in range(n) for y in rows for x in columns]
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
        # The weights are a product, so their sum over the grid of windows is one too.
        eps /= _total(rows, height, window)[:, None] * _total(columns, width, window)
    return eps


def x0_hat(model: Denoiser, x_t: NDArray[np.float32], log_snr: float) -> NDArray[np.float32]:
    """The mean of x_0 given x_t, clipped to [-1, 1] (Ho et al. 2020, eq. 15): the picture of least expected squared error.

    The network is asked at the nearest level it was trained on.
    """
    level = model.trained_level(log_snr)
    return predict_x0(x_t, predict_eps(model, x_t, level), level)  # type: ignore[no-any-return]


def _total(starts: tuple[int, ...], length: int, window: int) -> NDArray[np.float32]:
    total, ramp = np.zeros(length, np.float32), np.sqrt(np.diag(_weight(window)))
    for start in starts:
        total[start : start + window] += ramp
    return total
