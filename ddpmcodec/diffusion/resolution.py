"""Resolutions at which the network looks at a picture: where noise hides everything fine, a smaller one shows it more,
for less.

The mean of k × k pixels of x_λ has k times less noise; scaled, it is x_λ' of the picture at 1/k of its size, with λ' =
λ + 2 ln k. The network denoises that, and its x̂_0, enlarged, is the x̂_0 of the step. Which size is best at which
level is measured with the error curve and stored with it, in integers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ddpmcodec.diffusion.schedule import alpha_bar_of
from ddpmcodec.errors import ModelError

Array = NDArray[np.float32]
FACTORS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Resolution:
    """Resolution of 1/factor of the picture's size; merged: only for what such a picture shows, the rest from the
    picture as it is.
    """

    factor: int = 1
    merged: bool = False


WHOLE = Resolution()


@dataclass(frozen=True)
class Resolutions:
    """Resolutions from each of some log-SNRs on; the first one serves noisier levels, too."""

    log_snr: tuple[int, ...]  # rising, units of 2^-16
    factor: tuple[int, ...]
    merged: tuple[int, ...]  # 0 or 1

    def __post_init__(self) -> None:
        rising = all(b > a for a, b in zip(self.log_snr, self.log_snr[1:], strict=False))
        alike = len(self.log_snr) == len(self.factor) == len(self.merged) >= 1
        if not alike or not rising or set(self.factor) - set(FACTORS) or set(self.merged) - {0, 1}:
            raise ModelError(f"the model's resolutions need rising log-SNRs, and a factor of {FACTORS} for each")

    @classmethod
    def of(cls, log_snr: NDArray[np.float64], chosen: list[Resolution]) -> Resolutions:
        """Return the runs of equal resolutions at some rising levels."""
        starts = [i for i, r in enumerate(chosen) if not i or r != chosen[i - 1]]
        levels = tuple(int(v) for v in np.rint(log_snr[starts] * 65536))
        return cls(levels, tuple(chosen[i].factor for i in starts), tuple(int(chosen[i].merged) for i in starts))

    def at(self, log_snr: float, side: int, least: int) -> Resolution:
        """Return the resolution at a level for a picture whose shorter side is `side`, and a network that needs `least`
        pixels.
        """
        i = max(bisect_right(self.log_snr, log_snr * 65536) - 1, 0)
        factor = self.factor[i]
        while factor > 1 and side < factor * least:
            factor //= 2
        return Resolution(factor, bool(self.merged[i]) and factor > 1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
