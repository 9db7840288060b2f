"""Networks for ranges of noise levels, joined to one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ddpmcodec
from ddpmcodec.errors import ModelError, TrainingError
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.level_ranges_config import LevelRangesConfig
from ddpmcodec.models.network_config import parse_config
from ddpmcodec.models.weights import load_model, load_network, save_model
from ddpmcodec.training.start import initial_weights
from tests.cli.test_cli import assert_refused, run

COARSE = ConvUNetConfig(
    channels=(8, 8), down_blocks=(1, 1), up_blocks=(1, 0), embedding=8, frequencies=4, window=16, max_log_snr=5.0
)
FINE = ConvUNetConfig(
    channels=(8,), down_blocks=(1,), up_blocks=(0,), embedding=8, frequencies=4, window=16, min_log_snr=3.0
)
BOTH = LevelRangesConfig((COARSE, FINE), (4.0,))


def _network(config: LevelRangesConfig = BOTH) -> torch.nn.Module:
    torch.manual_seed(0)
    network = config.build()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_each_picture_goes_to_the_network_of_its_level():
    network, x = _network(), torch.randn(4, 3, 16, 16)
    levels = torch.tensor([-2.0, 3.99, 4.0, 9.0])
    with torch.no_grad():
        found = network(x, levels)
        expected = [network.networks[0](x[:2], levels[:2]), network.networks[1](x[2:], levels[2:])]
    torch.testing.assert_close(found, torch.cat(expected))


def test_its_configuration_survives_and_nonsense_is_refused():
    assert parse_config(LevelRangesConfig.architecture, BOTH.to_dict()) == BOTH
    assert BOTH.elements == sum(v.numel() for v in BOTH.build().state_dict().values())
    assert (BOTH.min_log_snr, BOTH.max_log_snr, BOTH.canvas) == (-8.0, 9.5, 4)
    stored = BOTH.to_dict()
    for wrong in (
        {},
        stored | {"bounds": []},
        stored | {"bounds": [20.0]},
        stored | {"bounds": ["4"]},
        stored | {"networks": [{}] * 9, "bounds": [1.0] * 8},
        stored | {"networks": 3},
        stored | {"other": 1},
    ):
        with pytest.raises(ModelError):
            parse_config(LevelRangesConfig.architecture, wrong)


def test_a_loaded_model_asks_the_same_networks(tmp_path: Path, model: ddpmcodec.CodecModel):
    network = _network()
    save_model(tmp_path / "both.safetensors", network, model.curve, "both")
    loaded = load_model(tmp_path / "both.safetensors")
    network.half().float()  # as the file has them
    x = torch.randn(2, 3, 16, 20)
    for level in (0.0, 6.0):
        with torch.no_grad():
            torch.testing.assert_close(loaded.predict_eps(x, level), network(x, torch.full((2,), level)))
    picture = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    data = ddpmcodec.encode(picture, model=loaded, plan_steps=3, lossless=True)
    assert np.array_equal(ddpmcodec.decode(data, model=loaded), picture)


def test_join_and_plan_make_a_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for config, name in ((COARSE, "coarse"), (FINE, "fine")):
        save_model(f"{name}.safetensors", config.build(), None, name)
    photos = Path("photos")
    photos.mkdir()
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(photos / f"{i}.png")
    two = ("coarse.safetensors", "fine.safetensors")
    joined = run("join", *two, "--at", 4, "-o", "both.safetensors")
    assert joined.exit_code == 0, joined.output
    planned = run("plan", "both.safetensors", "--data", photos, "--crop", 32, "--spacing", 1, "-o", "codec.safetensors")
    assert planned.exit_code == 0, planned.output
    assert isinstance(ddpmcodec.read_model_info("codec.safetensors").config, LevelRangesConfig)
    assert run("join", "codec.safetensors", "codec.safetensors", "--at", 4, "-o", "again.safetensors").exit_code == 0
    state, again = (load_network(name)[0].state_dict() for name in ("both.safetensors", "again.safetensors"))
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    assert_refused(run("join", *two, "--at", 4, "-o", "both.safetensors"), "exists")
    assert_refused(run("join", *two, "-o", "x.safetensors", "--at", 4, "--at", 5), "bounds")
    assert_refused(run("join", "cifar10-small", two[1], "--at", 4, "-o", "x.safetensors"), "another kind")


def test_training_starts_from_the_network_of_its_kind(tmp_path: Path):
    network, path = _network(), str(tmp_path / "both.safetensors")
    save_model(path, network, None, "both")
    for config, part in zip((COARSE, FINE), network.networks, strict=True):
        found = initial_weights(path, config)
        assert all(torch.equal(value.half(), found[name].half()) for name, value in part.state_dict().items())
    with pytest.raises(TrainingError, match="conv-unet-ranges"):
        initial_weights(path, ConvUNetConfig())
