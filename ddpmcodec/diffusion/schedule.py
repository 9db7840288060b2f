"""Noise levels: every schedule is a list of log-SNRs; alpha_bar = sigmoid(log_snr).

x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, so SNR = alpha_bar / (1 - alpha_bar) (Kingma et al. 2021, sec. 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError


def alpha_bar_of(log_snr: float) -> float:
    """Return alpha_bar = sigmoid(log_snr), in (0, 1); 0 for -inf, which is pure noise."""
    return 1.0 / (1.0 + math.exp(-log_snr)) if log_snr > -700 else 0.0


def snr_of(log_snr: float) -> float:
    """Return the signal-to-noise ratio alpha_bar / (1 - alpha_bar) = exp(log_snr)."""
    return math.exp(log_snr) if log_snr > -700 else 0.0


def log_snr_of(alpha_bar: float) -> float:
    """Return the inverse of `alpha_bar_of`, for 0 < alpha_bar < 1."""
    if not 0.0 < alpha_bar < 1.0:
        raise ValueError(f"alpha_bar {alpha_bar}: expected a number strictly between 0 and 1")
    return math.log(alpha_bar) - math.log1p(-alpha_bar)


@dataclass(frozen=True)
class NoiseSchedule:
    """Log-SNRs of timesteps 1 … T, strictly decreasing (t = T is the noisiest)."""

    log_snrs: NDArray[np.float64]  # (T,), entry t - 1 belongs to timestep t

    def __post_init__(self) -> None:
        values = np.asarray(self.log_snrs, np.float64)
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (np.diff(values) >= 0).any():
            raise ValueError("a noise schedule needs finite log-SNRs that strictly decrease with the timestep")
        object.__setattr__(self, "log_snrs", values)

    def __len__(self) -> int:
        return len(self.log_snrs)

    def log_snr(self, t: int) -> float:
        """Return the log-SNR of timestep t, 1 <= t <= T."""
        if not 1 <= t <= len(self):
            raise ValueError(f"timestep {t}: expected 1 to {len(self)}")
        return float(self.log_snrs[t - 1])

    def nearest_timestep(self, log_snr: float) -> int:
        """Return the timestep whose log-SNR is nearest; for networks that know only discrete timesteps."""
        return int(np.abs(self.log_snrs - log_snr).argmin()) + 1


def from_betas(betas: NDArray[np.float64]) -> NoiseSchedule:
    """Return the schedule of alpha_bar_t = prod(1 - beta_s) (Ho et al. 2020, eq. 4). betas: (T,), each in (0, 1)."""
    betas = np.asarray(betas, np.float64)
    if ((betas <= 0) | (betas >= 1)).any():
        raise ValueError("every beta must lie strictly between 0 and 1")
    log_alpha_bar = np.cumsum(np.log1p(-betas))
    return NoiseSchedule(log_alpha_bar - np.log(-np.expm1(log_alpha_bar)))


def linear(timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> NoiseSchedule:
    """Return the paper's schedule: beta from 1e-4 to 0.02 in equal steps (Ho et al. 2020, sec. 4)."""
    return from_betas(np.linspace(first, last, timesteps))


def cosine(timesteps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
    """Return the schedule of alpha_bar_t ~ cos^2 of the way through, beta clipped (Nichol & Dhariwal 2021, eq. 17)."""
    f = np.cos((np.arange(timesteps + 1) / timesteps + offset) / (1 + offset) * np.pi / 2) ** 2
    return from_betas(np.minimum(1 - f[1:] / f[:-1], max_beta))


def uniform(timesteps: int, first: float = 9.5, last: float = -8.0) -> NoiseSchedule:
    """Return log-SNRs in equal steps from `first` (cleanest) to `last` (noisiest)."""
    return NoiseSchedule(np.linspace(first, last, timesteps))


SCHEDULES = {"linear": 21, "cosine": 2}  # by name, with the fewest timesteps


def named(name: str, timesteps: int) -> NoiseSchedule:
    """Return the schedule a user names. Linear betas scale with 1000 / T, so that x_T is pure noise for every T.

    Raises DdpmCodecError for an unknown name or too few timesteps. Source: Nichol & Dhariwal 2021, sec. 3.2 and 4.
    """
    if name not in SCHEDULES:
        raise DdpmCodecError(f"schedule {name!r}: expected {' or '.join(SCHEDULES)}")
    if timesteps < SCHEDULES[name]:
        raise DdpmCodecError(f"{timesteps} timesteps: expected at least {SCHEDULES[name]} for the {name} schedule")
    return linear(timesteps, 0.1 / timesteps, 20 / timesteps) if name == "linear" else cosine(timesteps)
