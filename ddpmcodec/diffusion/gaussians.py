"""Gaussians of the diffusion chain, for any pair of noise levels: equations only, float64 coefficients, no network.

Levels are log-SNRs (see `schedule`); t is the noisier one, s the less noisy one. -inf is pure noise. Arrays may be
numpy or torch; coefficients are Python floats. Equation numbers: Ho, Jain, Abbeel 2020, "Denoising diffusion
probabilistic models", written there for neighbouring timesteps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpmcodec.diffusion.schedule import alpha_bar_of, snr_of


@dataclass(frozen=True)
class Posterior:
    """Posterior q(x_s | x_t, x_0) = N(x0_coef * x_0 + xt_coef * x_t, variance * I)."""

    x0_coef: float
    xt_coef: float
    variance: float  # b, also the least variance of p(x_s | x_t)

    def mean(self, x_0: Any, x_t: Any) -> Any:
        """Return mu_q for the true x_0, mu_p for the network's x0_hat (eq. 7, 10): one formula, so they can't drift
        apart.
        """
        mean = x_0 * self.x0_coef
        mean += x_t * self.xt_coef  # in place, for large pictures
        return mean


def posterior(log_snr_t: float, log_snr_s: float) -> Posterior:
    """Return the coefficients of q(x_s | x_t, x_0) (eq. 6, 7); log_snr_s > log_snr_t, else ValueError."""
    if not log_snr_s > log_snr_t:
        raise ValueError(
            f"log-SNR {log_snr_s} is not less noisy than {log_snr_t}; a reverse step needs s cleaner than t"
        )
    a_t, a_s = alpha_bar_of(log_snr_t), alpha_bar_of(log_snr_s)
    noise_t, noise_s = alpha_bar_of(-log_snr_t) if log_snr_t > -700 else 1.0, alpha_bar_of(-log_snr_s)
    r = a_t / a_s
    # 1 - r without cancellation: with SNR = a / (1 - a), 1 - SNR_t / SNR_s = (1 - r) / noise_t.
    one_minus_ratio = -math.expm1(log_snr_t - log_snr_s) if log_snr_t > -700 else 1.0
    one_minus_r = one_minus_ratio * noise_t
    return Posterior(
        x0_coef=math.sqrt(a_s) * one_minus_r / noise_t,
        xt_coef=math.sqrt(r) * noise_s / noise_t,
        variance=noise_s * one_minus_r / noise_t,
    )


def q_sample(x_0: Any, log_snr: float, eps: Any) -> Any:
    """Return x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps (eq. 4)."""
    return x_0 * math.sqrt(alpha_bar_of(log_snr)) + eps * math.sqrt(alpha_bar_of(-log_snr))


def predict_x0(x_t: Any, eps: Any, log_snr: float, bound: float = 1.0) -> Any:
    """Return x0_hat from the predicted eps (eq. 15), clipped to ±bound: 1 is the picture's range."""
    x_0 = x_t * (1 / math.sqrt(alpha_bar_of(log_snr)))
    x_0 -= eps * math.exp(-log_snr / 2)  # in place: of a large picture, new memory is what takes time
    return np.clip(x_0, -bound, bound, out=x_0) if isinstance(x_0, np.ndarray) else x_0.clip(-bound, bound)


def snr_gain(log_snr_t: float, log_snr_s: float) -> float:
    """Return SNR_s - SNR_t. Times |x_0 - x0_hat|^2 / d it is v / b, the step's excess variance over the posterior's."""
    return snr_of(log_snr_s) - snr_of(log_snr_t)


def ideal_bits(variance_ratio: float, dims: int) -> float:
    """Return d/2 log2(1 + v/b): KL(q || p) in bits with p = N(mu_p, (b + v) I), v = |mu_q - mu_p|^2 / d.

    For small v/b this is DDPM's L_{t-1} (eq. 8); letting the variance of p follow v is the "analytic" variance of
    Bao et al. 2022, with one number an image and step.
    """
    return dims / 2 * math.log2(1.0 + variance_ratio)
