"""Denoisers: what a chain asks of a model, and x̂_0 of pictures of any size by it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.diffusion.gaussians import predict_x0
from ddpmcodec.diffusion.resampling import enlarged, level_of_smaller, merge, smaller
from ddpmcodec.diffusion.resolution import WHOLE, Resolutions
from ddpmcodec.diffusion.tiles import in_tiles
from ddpmcodec.diffusion.windows import in_windows

Array = NDArray[np.float32]


class Denoiser(Protocol):
    """Denoiser. Every CodecModel is one, and a trained network without an error curve can be."""

    @property
    def window(self) -> int:
        """Return the side of the squares it takes, or, where it takes any size, what sides must be multiples of."""
        ...

    @property
    def any_size(self) -> bool:
        """Return whether it takes pictures of any size, and is the same function of a neighbourhood in all of them."""
        ...

    @property
    def channels(self) -> int: ...

    @property
    def resolutions(self) -> Resolutions | None:
        """Return at which size it looks at pictures, by level; None: always as they are."""
        ...

    @property
    def bound(self) -> float:
        """Greatest |x_0|: 1 of pictures."""
        ...

    def trained_level(self, log_snr: float) -> float: ...
    def predict_eps(self, x_t: Tensor, log_snr: float) -> Tensor: ...


def x0_hat(model: Denoiser, x_t: Array, log_snr: float) -> Array:
    """Return the mean of x_0 given x_t, clipped to its bound (Ho et al. 2020, eq. 15): least in expected squared error.

    x_t: (n, c, h, w), h and w at least the model's window. log_snr: x_t's level, -inf for pure noise. The network looks
    at the size that the model's resolutions name.
    """
    height, width = x_t.shape[2:]
    found = WHOLE if model.resolutions is None else model.resolutions.at(log_snr, min(height, width), model.window)
    if found.factor == 1:
        return x0_hat_at_full_size(model, x_t, log_snr)
    small = smaller(x_t, log_snr, found.factor)
    coarse = enlarged(
        x0_hat_at_full_size(model, small, level_of_smaller(log_snr, found.factor)), found.factor, height, width
    )
    if not found.merged:
        return coarse.clip(-1, 1)
    return merge(coarse, x0_hat_at_full_size(model, x_t, log_snr), found.factor)


def x0_hat_of_both(model: Denoiser, x_t: Array, log_snr: float, x0_hat_as_is: Array) -> Array:
    """Return the mean of x̂_0 (which is known) and of x̂_0 of the mirrored picture, mirrored back.

    No network is quite the same function of both, and where they differ neither is right: their mean is nearer to x_0.
    """
    mirrored = x0_hat(model, np.ascontiguousarray(x_t[..., ::-1]), log_snr)[..., ::-1]
    return (x0_hat_as_is + mirrored) * np.float32(0.5)


def x0_hat_at_full_size(model: Denoiser, x_t: Array, log_snr: float) -> Array:
    """Return x̂_0 of x_t (n, c, h, w) as it is; the network is asked at the nearest level it was trained on."""
    level = model.trained_level(log_snr)
    predict = in_tiles if model.any_size else in_windows
    eps = predict(model.predict_eps, x_t, level, model.window)
    return predict_x0(x_t, eps, level, model.bound)  # type: ignore[no-any-return]
