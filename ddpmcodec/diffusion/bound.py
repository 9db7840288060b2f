"""Variational bound on -log2 p(x_0), split as by Ho et al. 2020, and the rate-distortion points along its chain.

-log2 p(x_0) <= L_T + L_{T-1} + … + L_1 + L_0 (eq. 5), all in bits/dim. Rates here are ideal: no coder has run. The mean
of p(x_{t-1} | x_t) is the same under every choice of its variance, so one pass over the network serves all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ddpmcodec.diffusion.denoiser import Denoiser, x0_hat
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.gaussians import posterior, q_sample, snr_gain
from ddpmcodec.diffusion.sampling import Noise, beta, beta_tilde
from ddpmcodec.diffusion.schedule import NoiseSchedule, alpha_bar_of
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import to_plane

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Mean over images, and the standard error of that mean (NaN for a single image)."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Floats) -> Estimate:
        n = len(values)
        return cls(float(values.mean()), float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan)


@dataclass(frozen=True)
class Split:
    """Parts of the bound in bits/dim."""

    L_T: Estimate
    chain: Estimate  # L_1 + … + L_{T-1}
    decoder: Estimate  # L_0
    total: Estimate


@dataclass(frozen=True)
class Point:
    """Point where a receiver of x_T … x_t stands. RMSEs are of x̂_0(x_t), on [0, 255]."""

    reverse_time: int  # T - t + 1, as in the paper's Table 4: at T, x_1 is known, and all but L_0 has been received
    rate: dict[str, float]  # L_T + L_{T-1} + … + L_t in bits/dim, by the name of p's variance
    rmse: float  # mean over images of each one's RMSE
    root_mse: float  # root of the mean over images of the squared error
    rmse_rounded: float  # the same two of x̂_0 in whole levels
    root_mse_rounded: float


@dataclass(frozen=True)
class Bound:
    """Bound of n images on a chain of T timesteps; column t - 1 belongs to timestep t, and to L_{t-1}."""

    log_snr: Floats  # (T,)
    variance: dict[str, Floats]  # (T,) σ² of p(x_{t-1} | x_t); the first one is the decoder's
    L_T: Floats  # (n,) bits/dim
    terms: dict[str, Floats]  # (n, T) L_{t-1} under each variance, bits/dim; the first column is L_0
    mse: Floats  # (n, T) |x_0 - x̂_0(x_t)|²/d, in squared levels of [0, 255]
    mse_rounded: Floats  # (n, T) with x̂_0 in whole levels

    def split(self, name: str) -> Split:
        """Return the parts under one of the variances."""
        decoder, chain = self.terms[name][:, 0], self.terms[name][:, 1:].sum(axis=1)
        total = self.L_T + chain + decoder
        return Split(Estimate.of(self.L_T), Estimate.of(chain), Estimate.of(decoder), Estimate.of(total))

    def point(self, reverse_time: int) -> Point:
        """Return rate and distortion at reverse time 1 … T."""
        t = len(self.log_snr) - reverse_time + 1
        rate = {name: float(self.L_T.mean() + terms[:, t:].sum(axis=1).mean()) for name, terms in self.terms.items()}
        exact, rounded = self.mse[:, t - 1], self.mse_rounded[:, t - 1]
        return Point(
            reverse_time,
            rate,
            float(np.sqrt(exact).mean()),
            math.sqrt(exact.mean()),
            float(np.sqrt(rounded).mean()),
            math.sqrt(rounded.mean()),
        )


def model_variances(schedule: NoiseSchedule, curve: ErrorCurve | None) -> dict[str, Floats]:
    """Return σ² of p(x_{t-1} | x_t), (T,) each: "beta", "beta-tilde" and, given an error curve, "analytic".

    β and β̃ as in Ho et al. 2020, sec. 3.2; at t = 1, where β̃ is 0, both are β̃_2, as in the paper's code. Analytic:
    β̃ plus the expected square of the mean's error, from the curve at λ_t, which makes each expected KL least (Bao et
    al. 2022, Theorem 1). Raises DdpmCodecError for a chain of one timestep.
    """
    if len(schedule) < 2:
        raise DdpmCodecError("a chain of one timestep: expected at least 2")
    steps = [(float(t), float(s)) for s, t in zip(schedule.log_snrs, schedule.log_snrs[1:], strict=False)]
    least = [beta_tilde(t, s) for t, s in steps]
    variances = {
        "beta": np.array([least[0], *(beta(t, s) for t, s in steps)]),
        "beta-tilde": np.array([least[0], *least]),
    }
    if curve is not None:
        x0_coef = np.array([1.0, *(posterior(t, s).x0_coef for t, s in steps)])
        variances["analytic"] = np.array([0.0, *least]) + x0_coef**2 * curve.expected_mse(schedule.log_snrs)
    return variances


def variational_bound(
    model: Denoiser,
    images: NDArray[np.uint8],
    schedule: NoiseSchedule,
    curve: ErrorCurve | None = None,
    *,
    batch: int = 50,
    seed: int = 0,
    on_call: Callable[[], None] = lambda: None,
) -> Bound:
    """Return each L_t of each image from one draw of x_t ~ q(x_t | x_0), with noise by (seed, t, image), whatever the
    batch.

    images: (n, h, w, 3) with h and w at least the model's window, never those `curve` was measured on. `on_call` is
    called after each timestep of each batch. Raises DdpmCodecError.
    """
    window = model.window
    if images.ndim != 4 or not len(images) or min(images.shape[1:3]) < window:
        raise DdpmCodecError(f"images of shape {images.shape}: expected (n, h, w, 3) of at least {window}x{window}")
    if batch < 1:
        raise DdpmCodecError(f"batches of {batch} images: expected at least 1")
    n, T = len(images), len(schedule)
    variances = model_variances(schedule, curve)
    L_T, mse, mse_rounded = np.empty(n), np.empty((n, T)), np.empty((n, T))
    decoder = {name: np.empty(n) for name in variances}
    for start in range(0, n, batch):
        rows = slice(start, min(start + batch, n))
        x_0 = np.stack([to_plane(image) for image in images[rows]])
        noise = Noise(seed, first=start)
        L_T[rows] = _per_image(L_T_bits(x_0, schedule.log_snr(T)))
        for t in range(T, 0, -1):
            x_t = q_sample(x_0, schedule.log_snr(t), noise(t, x_0.shape))
            predicted = x0_hat(model, x_t, schedule.log_snr(t)).astype(np.float64)
            mse[rows, t - 1] = _per_image(((predicted - x_0) * 127.5) ** 2)
            mse_rounded[rows, t - 1] = _per_image((np.rint((predicted + 1) * 127.5) - (x_0 + 1) * 127.5) ** 2)
            on_call()
        for name, variance in variances.items():  # the mean of p(x_0 | x_1) is x̂_0(x_1)
            decoder[name][rows] = _per_image(decoder_bits(x_0, predicted, math.sqrt(variance[0])))
    terms = {
        name: np.concatenate([decoder[name][:, None], kl_bits(mse[:, 1:] / 127.5**2, variance, schedule)], axis=1)
        for name, variance in variances.items()
    }
    return Bound(schedule.log_snrs, variances, L_T, terms, mse, mse_rounded)


def L_T_bits(x_0: NDArray[np.floating], log_snr: float) -> Floats:
    """Return KL(q(x_T | x_0) || N(0, I)) of each value in bits, at x_T's log-SNR (Ho et al., L_T of eq. 5)."""
    alpha_bar, variance = alpha_bar_of(log_snr), alpha_bar_of(-log_snr)
    return (alpha_bar * x_0.astype(np.float64) ** 2 + variance - 1 - math.log(variance)) / (2 * math.log(2))


def decoder_bits(x_0: NDArray[np.floating], mean: NDArray[np.floating], sigma: float) -> Floats:
    """Return -log2 of the mass of N(mean, σ²) within half a level of each value, -1 and 1 open outwards (Ho et al., eq.
    13).

    x_0, mean: on [-1, 1], x_0 in whole levels. Exact in the tails, where the paper's code stops at 40 bits.
    """
    x, mu = torch.from_numpy(x_0.astype(np.float64)), torch.from_numpy(mean.astype(np.float64))
    level = torch.round((x + 1) * 127.5)
    below = torch.where(level == 0, -math.inf, (level * 2 - 1) / 255 - 1 - mu) / sigma
    above = torch.where(level == 255, math.inf, (level * 2 + 1) / 255 - 1 - mu) / sigma
    # Both ends into the lower tail, where differences of log Φ keep their digits.
    flip = below > 0
    low, high = torch.where(flip, -above, below), torch.where(flip, -below, above)
    log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return (-(log_high + torch.log1p(-torch.exp(log_low - log_high))) / math.log(2)).numpy()


def kl_bits(mse: Floats, variance: Floats, schedule: NoiseSchedule) -> Floats:
    """Return KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in bits/dim for t = 2 … T (eq. 8), from x̂_0's error, (n, T
    - 1).
    """
    steps = [(float(t), float(s)) for s, t in zip(schedule.log_snrs, schedule.log_snrs[1:], strict=False)]
    ratio = variance[1:] / np.array([beta_tilde(t, s) for t, s in steps])
    excess = mse * np.array([snr_gain(t, s) for t, s in steps])  # |μ_q - μ_p|² / (d β̃)
    return (np.log(ratio) + (1 + excess) / ratio - 1) / (2 * math.log(2))


def _per_image(values: Floats) -> Floats:
    return values.reshape(len(values), -1).mean(axis=1)
