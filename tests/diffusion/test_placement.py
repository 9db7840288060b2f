"""Plans placed by what steps cost."""

from __future__ import annotations

import numpy as np
import torch

from ddpmcodec.channel.names import channel_of
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
