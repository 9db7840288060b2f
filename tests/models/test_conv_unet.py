"""The fully convolutional U-Net: its configuration, its size, and that it is the same function everywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from ddpmcodec.errors import ModelError
from ddpmcodec.models.conv_unet import _waves
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.network_config import parse_config
from ddpmcodec.models.weights import load_network, save_model

TINY = ConvUNetConfig(
    channels=(8, 12),
    down_blocks=(1, 1),
    up_blocks=(1, 0),
    embedding=8,
    frequencies=4,
    window=16,
    periods=(1, 2),
    knots=4,
)


@pytest.mark.parametrize(
    "config",
    [TINY, ConvUNetConfig(), ConvUNetConfig(channels=(16,), down_blocks=(2,), up_blocks=(0,), fold=1, window=7)],
)
def test_the_configuration_knows_its_size(config: ConvUNetConfig):
    network = config.build()
    assert sum(v.numel() for v in network.state_dict().values()) == config.elements
    counted = 0

    def count(module: Any, inputs: Any, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output[0].numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    side = 2 * config.downsampling
    network(torch.zeros(1, 3, side, side), torch.zeros(1))
    assert counted / side**2 == pytest.approx(config.multiplications_a_pixel())


def test_the_photograph_preset_is_within_its_limits():
    assert ConvUNetConfig().multiplications_a_pixel() <= 150_000
    assert ConvUNetConfig().elements <= 6_000_000


def test_it_is_the_same_function_everywhere():
    """No statistics over space: far from a picture's edge, what the rest of it shows changes nothing."""
    torch.manual_seed(0)
    network = TINY.build().eval()
    x, level = torch.randn(1, 3, 96, 96), torch.tensor([1.0])
    y = x.clone()
    y[..., :24, :] = torch.randn(1, 3, 24, 96)
    with torch.no_grad():
        assert torch.allclose(network(x, level)[..., 60:, :], network(y, level)[..., 60:, :], atol=1e-6)
        assert not torch.allclose(network(x, level)[..., :40, :], network(y, level)[..., :40, :], atol=1e-3)


def test_it_starts_as_the_parametrisation_by_v():
    network = TINY.build()
    network.zero_branches()
    x, level = torch.randn(2, 3, 16, 16), torch.tensor([-8.0, 9.5])
    expected = torch.sigmoid(-level).sqrt()[:, None, None, None] * x
    assert torch.allclose(network(x, level), expected, atol=1e-5)


def test_waves_stand_still_on_whole_levels():
    """x_t of a picture without noise: all sines of period 1 are 0 and all cosines 1, whatever the level."""
    levels = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    log_snr = torch.tensor([9.0])
    x_t = (levels / 127.5 - 1) * torch.sigmoid(log_snr).sqrt()
    sine, cosine, sine2, cosine2 = _waves(x_t, log_snr, (1, 2)).split(3, dim=1)
    assert torch.allclose(sine, torch.zeros_like(sine), atol=2e-3)
    assert torch.allclose(cosine, torch.ones_like(cosine), atol=2e-3)
    assert torch.allclose(sine2, torch.zeros_like(sine), atol=2e-3)
    assert torch.allclose(cosine2, 1.0 - 2 * (levels % 2), atol=2e-3)


def test_a_file_holds_it(tmp_path: Any):
    network = TINY.build()
    save_model(tmp_path / "m.safetensors", network, None, "tiny")
    loaded, info = load_network(tmp_path / "m.safetensors")
    assert info.config == TINY == parse_config("conv-unet", TINY.to_dict())
    x, level = torch.randn(1, 3, 16, 16), torch.zeros(1)
    with torch.no_grad():
        np.testing.assert_allclose(loaded(x, level), network(x, level), atol=2e-2)


@pytest.mark.parametrize(
    "bad",
    [
        {"channels": ()},
        {"channels": (8,)},
        {"channels": (0, 8)},
        {"channels": (8, 1 << 17)},
        {"down_blocks": (1, -1)},
        {"down_blocks": (1,)},
        {"up_blocks": (1, 65)},
        {"fold": 0},
        {"window": 18},
        {"window": 2048},
        {"knots": 1},
        {"periods": (0,)},
        {"periods": tuple(range(1, 20))},
        {"min_log_snr": 10.0},
        {"max_log_snr": math.inf},
        {"embedding": 2.5},
        {"channels": "8"},
        {"colour": True},
    ],
)
def test_impossible_configurations_are_refused(bad: dict[str, Any]):
    with pytest.raises(ModelError):
        ConvUNetConfig.from_dict(TINY.to_dict() | bad)
