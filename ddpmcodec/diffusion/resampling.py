"""Noisy pictures at a part of their size, and back.

The mean of k × k pixels of x_λ has k times less noise; scaled, it is x_λ' of the picture at 1/k of its size, with λ' =
λ + 2 ln k. The network denoises that, and its x̂_0, enlarged, is the x̂_0 of the step.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ddpmcodec.diffusion.schedule import alpha_bar_of

Array = NDArray[np.float32]


def level_of_smaller(log_snr: float, factor: int) -> float:
    """Return the log-SNR of the mean of factor × factor pixels."""
    return log_snr + 2 * math.log(factor)


def smaller(x_t: Array, log_snr: float, factor: int) -> Array:
    """Return x_λ' of the picture at 1/factor of its size, (n, c, ⌈h/k⌉, ⌈w/k⌉), from x_t (n, c, h, w) at λ, or -inf.

    Sides that the factor doesn't divide are extended by mirrored rows and columns.
    """
    noise = alpha_bar_of(-level_of_smaller(log_snr, factor)) / alpha_bar_of(-log_snr)
    return _means(x_t, factor) * np.float32(factor * math.sqrt(noise))


def enlarged(small: Array, factor: int, height: int, width: int) -> Array:
    """Return (n, c, height, width) from a picture at 1/factor of that, bicubically."""
    with torch.inference_mode():
        large = F.interpolate(torch.from_numpy(small), scale_factor=factor, mode="bicubic", align_corners=False)
    return large[:, :, :height, :width].contiguous().numpy()  # type: ignore[no-any-return]


def merge(coarse: Array, fine: Array, factor: int) -> Array:
    """Return `fine`, (n, c, h, w), with what a picture at 1/factor of its size shows of it replaced by `coarse`,
    clipped to ±1.
    """
    shown = enlarged(_means(fine, factor), factor, *fine.shape[2:])
    return np.clip(coarse + (fine - shown), -1, 1)  # type: ignore[no-any-return]


def _means(x: Array, factor: int) -> Array:
    height, width = x.shape[2:]
    more = [(0, 0), (0, 0), (0, -height % factor), (0, -width % factor)]
    return F.avg_pool2d(torch.from_numpy(np.pad(x, more, mode="symmetric")), factor).numpy()
