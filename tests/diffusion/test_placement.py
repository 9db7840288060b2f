"""Plans placed by what steps cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ddpmcodec.channel.names import channel_of
from ddpmcodec.diffusion.error_curve import END_MSE, ErrorCurve
from ddpmcodec.diffusion.placement import placed
from ddpmcodec.diffusion.plan import make_plan
from ddpmcodec.models import measure_curve


def test_no_step_asks_for_more_than_the_channel_carries():
    """A network that knows nothing of noise, as an untrained one of latents: five bits a dimension to λ = 7."""

    def network(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        return x_t * torch.sigmoid(-log_snr[0]).sqrt()

    noise = np.random.default_rng(0).normal(127.5, 127.5, (4, 8, 8, 4)).clip(0, 255).astype(np.uint8)
    curve = measure_curve(network, noise, spacing=0.5, max_log_snr=7.0)
    lengths = [len(plan) for plan in curve.plans]
    assert lengths[0] == 8
    for steps in lengths:
        rates = np.array(make_plan(curve, steps).rate) / 256
        assert rates.max() <= channel_of(None, curve.dims).max_bits(curve.dims), steps


def test_latents_are_placed_alike_at_any_scale():
    """Latents have no levels, so a scale that the error and the noise share changes nothing."""
    log_snr = np.linspace(-6, 6, 25)

    def plans(scale: float, bound: int | None) -> tuple[tuple[int, ...], ...]:
        mse = scale**2 / (1 + np.exp(log_snr + 1)) ** 1.2
        curve = ErrorCurve.from_floats(log_snr - 2 * np.log(scale), mse, dims=1024)
        assert min(curve.mse) > END_MSE
        return placed(replace(curve, bound=bound), (8, 12, 16, 20))

    assert plans(1, 1 << 16) == plans(8, 8 << 16) == plans(30, 30 << 16)
    assert plans(1, None) != plans(8, None)  # pictures' levels are what they are
