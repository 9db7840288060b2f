"""What a chain asks of a model, and x̂_0 of pictures of any size by it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.diffusion.gaussians import predict_x0
from ddpmcodec.diffusion.resolution import WHOLE, Resolutions, enlarged, level_of_smaller, merge, smaller
from ddpmcodec.diffusion.tiles import in_tiles
from ddpmcodec.diffusion.windows import in_windows
from ddpmcodec.errors import FormatError
from ddpmcodec.io.images import MAX_PIXELS

Array = NDArray[np.float32]


class Denoiser(Protocol):
    """Every CodecModel is one, and a trained network without an error curve can be."""

    @property
    def window(self) -> int:
        """Side of the squares it takes; of one for any size, what sides must be multiples of."""
        ...

    @property
    def any_size(self) -> bool:
        """Whether it takes pictures of any size, and is the same function of a neighbourhood in all of them."""
        ...

    @property
    def channels(self) -> int: ...

    @property
    def resolutions(self) -> Resolutions | None:
        """At which size it looks at pictures, by level; None: always as they are."""
        ...

    @property
    def bound(self) -> float:
        """Greatest |x_0|: 1 of pictures."""
        ...

    def trained_level(self, log_snr: float) -> float: ...
    def predict_eps(self, x_t: Tensor, log_snr: float) -> Tensor: ...


def canvas_size(height: int, width: int, window: int, factor: int = 1) -> tuple[int, int]:
    """Return the plane the chain runs on: the picture, at 1/factor of its size for latents, extended to a window where
    it is smaller. FormatError beyond limits.
    """
    canvas = max(-(-height // factor), window), max(-(-width // factor), window)
    if canvas[0] * canvas[1] * factor**2 > MAX_PIXELS:
        raise FormatError(
            f"picture of {width}x{height}: it is coded as {canvas[1] * factor}x{canvas[0] * factor}, more than "
            f"{MAX_PIXELS >> 20} megapixels"
        )
    return canvas


def x0_hat(model: Denoiser, x_t: Array, log_snr: float) -> Array:
    """Return the mean of x_0 given x_t, clipped to its bound (Ho et al. 2020, eq. 15): least in expected squared error.

    x_t: (n, c, h, w), h and w at least the model's window. log_snr: of x_t, -inf for pure noise. The network looks at
    the size that the model's resolutions name.
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


def x0_hat_at_full_size(model: Denoiser, x_t: Array, log_snr: float) -> Array:
    """Return x̂_0 of x_t (n, c, h, w) as it is; the network is asked at the nearest level it was trained on."""
    level = model.trained_level(log_snr)
    predict = in_tiles if model.any_size else in_windows
    eps = predict(model.predict_eps, x_t, level, model.window)
    return predict_x0(x_t, eps, level, model.bound)  # type: ignore[no-any-return]
