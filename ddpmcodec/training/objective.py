"""Algorithm 1 of Ho et al. 2020: which noise levels are drawn, and the loss at them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ddpmcodec.diffusion.schedule import named
from ddpmcodec.training.recipe import Recipe


@dataclass(frozen=True)
class Levels:
    """Noise levels of a batch."""

    log_snr: Tensor  # (n,) float32
    bits: Tensor  # (n,) what a unit of ε-MSE there is worth in bits/dim: its mean times the loss estimates the rate


def draw_levels(recipe: Recipe, span: tuple[float, float], count: int, generator: torch.Generator) -> Levels:
    """Draw the levels of `count` crops between two log-SNRs, on the generator's device.

    vlb: λ uniform over the span, one draw in each of `count` equal strata. The rate of a chain of many steps is
    ½ ∫ E|ε − ε̂|²/d dλ nats a dimension (Kingma et al. 2021, eq. 17), so the plain loss is the bound.
    simple: t uniform over 1 … T, whatever the span (Ho et al. 2020, eq. 14).
    """
    device = generator.device
    if recipe.objective == "vlb":
        u = (torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)) / count
        low, high = span
        log_snr = low + (high - low) * u
        return Levels(log_snr, torch.full_like(log_snr, (high - low) / (2 * math.log(2))))
    chain = _chain(recipe.schedule, recipe.timesteps, device)
    t = torch.randint(len(chain.log_snr), (count,), generator=generator, device=device)
    return Levels(chain.log_snr[t], chain.bits[t])


@lru_cache(maxsize=4)  # a step that is recorded brings nothing to the device
def _chain(schedule: str, timesteps: int, device: torch.device) -> Levels:
    """Return every level of a discrete chain, noisiest last."""
    levels = torch.from_numpy(named(schedule, timesteps).log_snrs).to(device, torch.float32)
    steps = levels[:-1] - levels[1:]
    # Step t goes from λ_t to λ_{t-1}; the last one, to the picture itself, is not part of the chain's rate.
    return Levels(levels, torch.cat([steps.new_zeros(1), steps]) * (len(levels) / (2 * math.log(2))))


def denoising_errors(network: Callable[[Tensor, Tensor], Tensor], x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
    """Return |ε − ε̂(x_t, λ)|²/d of each image, (n,) float32; x_0: (n, c, h, w) on [-1, 1] (Ho et al. 2020, eq. 12,
    14).
    """
    alpha_bar = torch.sigmoid(log_snr)[:, None, None, None]
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
    predicted = network(x_t.contiguous(memory_format=torch.channels_last), log_snr)
    return (predicted.float() - eps).square().mean(dim=(1, 2, 3))
