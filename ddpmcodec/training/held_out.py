"""Training pictures that training never sees: which they are, and the ideal rate on them that tells one model from
another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.numerics.philox import Key, gaussian
from ddpmcodec.training.objective import denoising_errors

_SPACING = 1.0  # distance between the log-SNRs at which a run in progress is measured
_PICTURES = 64  # largest number of pictures that a run in progress is measured on
_AT_A_TIME = 1 << 18  # sub-pixels in the network at once


def is_held_out(name: str, one_in: int = 16) -> bool:
    """Return whether a picture of this name is kept from training: where the SHA-1 of the name begins with a zero digit
    (two, …).
    """
    digits = round(math.log(one_in, 16))
    return hashlib.sha1(name.encode()).hexdigest()[:digits] == "0" * digits


@dataclass(frozen=True)
class HeldOut:
    """Crops on which a run is measured as it goes: always the same, with the same noise."""

    crops: NDArray[np.uint8]  # (n, side, side, 3)
    min_log_snr: float
    max_log_snr: float

    @classmethod
    def of(
        cls,
        pictures: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        side: int,
        min_log_snr: float,
        max_log_snr: float,
    ) -> HeldOut | None:
        """Return the middles of at most 64 of the pictures, evenly taken; None where none is large enough."""
        able = [p for p in pictures if min(p.shape[:2]) >= side]
        chosen = [able[i * len(able) // min(len(able), _PICTURES)] for i in range(min(len(able), _PICTURES))]
        middles = [p[(p.shape[0] - side) // 2 :, (p.shape[1] - side) // 2 :][:side, :side] for p in chosen]
        return cls(np.stack(middles), min_log_snr, max_log_snr) if middles else None

    def bound(self, network: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> float:
        """Return ideal bits/dim of a chain of many steps over these levels: ½∫E|ε − ε̂|²/d dλ (Kingma et al. 2021,
        eq. 17).
        """
        steps = max(1, round((self.max_log_snr - self.min_log_snr) / _SPACING))
        levels = np.linspace(self.min_log_snr, self.max_log_snr, steps + 1)
        errors = level_errors(network, self.crops, levels, device)
        return float(np.trapezoid(errors, levels)) / (2 * math.log(2))


@torch.no_grad()
def level_errors(
    network: Callable[[Tensor, Tensor], Tensor],
    crops: NDArray[np.uint8],
    levels: NDArray[np.float64],
    device: torch.device,
    factor: int = 1,
) -> NDArray[np.float64]:
    """Return E|ε − ε̂|²/d at each log-SNR, (len(levels),), over crops (n, side, side, 3); one noise a crop, the same at
    every level.

    factor: the network sees factor × factor pixels averaged, at the log-SNR that this makes; the error is still that of
    the full picture, whose x̂_0 is the small one enlarged.
    """
    side = crops.shape[1]
    at_a_time = max(1, _AT_A_TIME // (3 * side * side))
    total = np.zeros(len(levels))
    for first in range(0, len(crops), at_a_time):
        part = torch.from_numpy(crops[first : first + at_a_time].copy())
        x_0 = (part.permute(0, 3, 1, 2).float() / 127.5 - 1).to(device)
        eps = torch.from_numpy(gaussian(Key(seed=1, step=first), x_0.numel()).reshape(x_0.shape)).to(device)
        for i, level in enumerate(levels):
            log_snr = torch.full((len(x_0),), float(level), device=device)
            if factor == 1:
                found = denoising_errors(network, x_0, log_snr, eps)
            else:
                found = _of_smaller(network, x_0, log_snr, eps, factor)
            total[i] += float(found.double().sum())
    return total / len(crops)


def _of_smaller(
    network: Callable[[Tensor, Tensor], Tensor], x_0: Tensor, log_snr: Tensor, eps: Tensor, factor: int
) -> Tensor:
    """Return `denoising_errors` through x̂_0 of the picture at 1/factor of its size: a mean of k² pixels has k²
    times the SNR.
    """
    small_level = log_snr + 2 * math.log(factor)
    signal, noise = (torch.sigmoid(v * small_level).sqrt()[:, None, None, None] for v in (1, -1))
    small = F.avg_pool2d(x_0, factor)
    x_t = signal * small + noise * F.avg_pool2d(eps, factor) * factor
    x0_hat = ((x_t - noise * network(x_t, small_level).float()) / signal).clamp(-1, 1)
    whole = F.interpolate(x0_hat, scale_factor=factor, mode="bicubic", align_corners=False)
    return (whole - x_0).square().mean(dim=(1, 2, 3)) * log_snr.exp()
