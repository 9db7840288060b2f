"""Sampling x_0 from an x_t: ancestral (Ho et al. 2020, Algorithm 2), DDIM (Song et al. 2021), interpolation.

A sampler takes x_t, (n, c, h, w) float32 with h and w at least the model's window, and `levels`, the rising log-SNRs of
the states it visits, the first one x_t's own; it calls the network once a level. Samples start from `draw_x_T`; a
receiver starts from where it stands, and these are its ways to a picture: `x0_hat` is the mean of what x_0 may be,
`ancestral` one draw of it, `ddim` the deterministic flow. Equation numbers are the two papers'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.denoiser import Denoiser, x0_hat
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.gaussians import posterior, q_sample
from ddpmcodec.diffusion.schedule import NoiseSchedule, alpha_bar_of
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.numerics.philox import SAMPLING, Key, gaussian

Array = NDArray[np.float32]
Variance = Callable[[float, float], float]  # variance of p(x_s | x_t) from the log-SNRs of t and s


@dataclass(frozen=True)
class Noise:
    """Standard normal noise by (seed, step, place in the batch), the same on every machine and in any batch."""

    seed: int = 0  # 64 bits
    shared: bool = False  # one noise for the whole batch
    first: int = 0  # place of the batch's first picture

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise DdpmCodecError(f"seed {self.seed}: expected a whole number from 0 to 2^64 - 1")

    def __call__(self, step: int, shape: tuple[int, ...]) -> Array:
        """Return noise (n, c, h, w), or (1, c, h, w) where it is shared. Step 0 is x_T's."""
        places = [0] if self.shared else range(self.first, self.first + shape[0])
        count = math.prod(shape[1:])
        noise = [gaussian(Key(self.seed, step, SAMPLING, place), count) for place in places]
        return np.stack(noise).reshape(-1, *shape[1:])


def _ignore(step: int) -> None:
    pass


def draw_x_T(model: Denoiser, count: int, height: int, width: int, noise: Noise = Noise()) -> Array:
    """Return x_T ~ N(0, I), (count, c, height, width). Raises DdpmCodecError when it is smaller than the model's
    window.
    """
    if count < 1 or min(height, width) < model.window:
        found = f"{count} samples of {width}x{height}"
        raise DdpmCodecError(f"{found}: expected at least one, of at least {model.window}x{model.window}")
    shape = (count, model.channels, height, width)
    return np.broadcast_to(noise(0, shape), shape).copy()


def levels_from(schedule: NoiseSchedule, steps: int | None = None, start: float | None = None) -> tuple[float, ...]:
    """Return the log-SNRs to visit from `start` (default: timestep T) down to timestep 1; `steps` of them, evenly
    spread in t.

    start: log-SNR of the x_t at hand, of any size, -inf too; where fewer than `steps` are left, all are visited.
    Raises DdpmCodecError for steps outside 1 … T. Source: Song et al. 2021, sec. 4.2 (the subsequence τ).
    """
    if steps is not None and not 1 <= steps <= len(schedule):
        raise DdpmCodecError(f"{steps} steps: expected 1 to {len(schedule)}, the timesteps of the chain")
    levels = schedule.log_snrs[::-1]
    if start is not None:
        levels = np.append(start, levels[levels > start])
    if steps is not None and steps < len(levels):
        levels = levels[np.arange(steps) * (len(levels) - 1) // max(steps - 1, 1)]
    return tuple(float(level) for level in levels)


def beta_tilde(log_snr_t: float, log_snr_s: float) -> float:
    """Return σ² of q(x_s | x_t, x_0) (Ho et al., eq. 7): best for data of which every picture is the same."""
    return posterior(log_snr_t, log_snr_s).variance


def beta(log_snr_t: float, log_snr_s: float) -> float:
    """Return σ² of q(x_t | x_s), 1 - ᾱ_t/ᾱ_s: best for data that is white noise (Ho et al., sec. 3.2)."""
    return beta_tilde(log_snr_t, log_snr_s) * alpha_bar_of(-log_snr_t) / alpha_bar_of(-log_snr_s)


def analytic(curve: ErrorCurve) -> Variance:
    """Return σ² of p(x_s | x_t) that fits data of the curve's kind: β̃ and what x̂_0's error adds to it (Bao et al.
    2022, Theorem 1).

    On steps as long as a plan's, β and β̃ are far off.
    """

    def variance(log_snr_t: float, log_snr_s: float) -> float:
        q = posterior(log_snr_t, log_snr_s)
        return q.variance + q.x0_coef**2 * float(curve.expected_mse(np.array(log_snr_t)))

    return variance


def ancestral(
    model: Denoiser,
    x_t: Array,
    levels: Sequence[float],
    *,
    variance: Variance = beta_tilde,
    noise: Noise = Noise(),
    on_step: Callable[[int], None] = _ignore,
) -> Array:
    """Draw x_0 by drawing x_s ~ N(μ_p, σ² I) from level to level (Ho et al., Algorithm 2); the last step, x̂_0, has no
    noise.
    """
    for n, (t, s) in enumerate(pairwise(levels), 1):
        mean = posterior(t, s).mean(x0_hat(model, x_t, t), x_t)
        x_t = mean + noise(n, x_t.shape) * math.sqrt(variance(t, s))
        on_step(n)
    return _last(model, x_t, levels, on_step)


def ddim(
    model: Denoiser,
    x_t: Array,
    levels: Sequence[float],
    *,
    eta: float = 0.0,
    noise: Noise = Noise(),
    on_step: Callable[[int], None] = _ignore,
) -> Array:
    """Return x_0 by Song et al., eq. 12, with σ of eq. 16; η = 0 is deterministic, η = 1 is `ancestral` with
    `beta_tilde`.

    ε̂ is the noise that goes with the clipped x̂_0. Raises DdpmCodecError for an η outside [0, 1].
    """
    if not 0.0 <= eta <= 1.0:
        raise DdpmCodecError(f"eta {eta}: expected 0 (deterministic) to 1 (as noisy as ancestral sampling)")
    for n, (t, s) in enumerate(pairwise(levels), 1):
        x_0: Any = x0_hat(model, x_t, t)
        eps = (x_t - x_0 * math.sqrt(alpha_bar_of(t))) * (1 / math.sqrt(alpha_bar_of(-t)))
        variance = eta**2 * beta_tilde(t, s)
        x_t = x_0 * math.sqrt(alpha_bar_of(s)) + eps * math.sqrt(max(alpha_bar_of(-s) - variance, 0.0))
        if variance:
            x_t += noise(n, x_t.shape) * math.sqrt(variance)
        on_step(n)
    return _last(model, x_t, levels, on_step)


def interpolate(x_0: Array, other: Array, log_snr: float, count: int, noise: Noise = Noise()) -> Array:
    """Return x_t's on the way from one picture to another, (count, c, h, w): samplers go on from them (Ho et al., sec.
    4.4).

    x_0, other: (c, h, w) on [-1, 1]. Both get the same noise, so mixing the x_t's linearly leaves it whole, and each is
    a draw of q(x_t | mixed x_0); spherical mixing, which noises of their own would need, would spoil that. The first
    and the last are the pictures' own x_t. Raises DdpmCodecError for fewer than two points or unequal sizes.
    """
    if count < 2 or x_0.shape != other.shape:
        raise DdpmCodecError(
            f"{count} points between {x_0.shape} and {other.shape}: expected at least 2 and equal sizes"
        )
    eps = noise(0, (1, *x_0.shape))
    x_t, other_t = q_sample(x_0, log_snr, eps), q_sample(other, log_snr, eps)
    way = np.linspace(0, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1)
    return (1 - way) * x_t + way * other_t


def _last(model: Denoiser, x_t: Array, levels: Sequence[float], on_step: Callable[[int], None]) -> Array:
    x_0 = x0_hat(model, x_t, levels[-1])
    on_step(len(levels))
    return x_0
