"""`python -m ddpmcodec.eval.studies.ablation`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.eval.studies import ablation
from ddpmcodec.eval.studies.ablation import VARIANTS, bound, train_variant
from ddpmcodec.models import UNetConfig
from ddpmcodec.models.unet import UNet
from ddpmcodec.training import Goal, preset

SMALL = {"channels": (8, 16), "groups": 4, "heads": 2, "embedding": 16, "frequencies": 4}


def pictures(count: int) -> NDArray[np.uint8]:
    """(count, 32, 32, 3): plain colours with a slope."""
    random = np.random.default_rng(1)
    slope = np.linspace(-1, 1, 32)[:, None] * random.uniform(-50, 50, (count, 1, 1, 3))
    return (
        (random.uniform(80, 170, (count, 1, 1, 3)) + slope[:, :, None].reshape(count, 32, 1, 3)).repeat(32, 2).astype(np.uint8)
    )


@pytest.fixture
def small_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"as embedded": (SMALL, {"batch": 4, "lr": 5e-3, "warmup": 0}), "batch 8": (SMALL, {"batch": 8})}
    monkeypatch.setattr(ablation, "VARIANTS", found)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_a_change_of_the_preset(name: str):
    network, recipe = VARIANTS[name]
    usual, chosen = preset("cifar10-small"), preset("cifar10-small", network, recipe)
    assert (chosen == usual) == (name == "as embedded")
    assert len(network) + len(recipe) == (name != "as embedded")


def test_the_bound_of_a_network_that_says_nothing():
    """ε̂ = 0 has an ε-MSE of 1 at every level: the bound is the span of levels in nats, half of it, in bits."""
    config = UNetConfig(**SMALL)
    network = UNet(config)
    network.zero_branches()
    bits, error = bound(network, pictures(24))
    assert bits == pytest.approx((config.max_log_snr - config.min_log_snr) / (2 * math.log(2)), rel=0.02)
    assert 0 < error < 0.02 * bits
    assert bound(network, pictures(24)) == (bits, error)


def test_training_lowers_the_bound(small_variants: None):
    torch.set_num_threads(1)
    train, held_out = pictures(64), pictures(72)[64:]
    short, long = (train_variant("as embedded", train, held_out, Goal(steps=n), {"bf16": False}) for n in (1, 60))
    assert (long.steps, long.images) == (60, 240)
    assert long.bits_per_dim < 0.8 * short.bits_per_dim


def test_the_command(small_variants: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(ablation, "HELD_OUT", 4)
    mosaic = tmp_path / "mosaic.png"
    Image.fromarray(pictures(16).reshape(4, 4, 32, 32, 3).swapaxes(1, 2).reshape(128, 128, 3)).save(mosaic)
    out = tmp_path / "out.json"
    given = ["--data", str(mosaic), "--minutes", "0.001", "--no-bf16", "--lr", "1e-4", "-o", str(out)]
    ablation.main([*given, "--variants", "batch 8", "as embedded"])
    stored = json.loads(out.read_text())
    assert [o["variant"] for o in stored["outcomes"]] == ["batch 8", "as embedded"]
    assert (stored["recipe"]["lr"], stored["recipe"]["bf16"]) == (1e-4, False)
    assert all(o["images"] > 0 and math.isfinite(o["bits_per_dim"]) for o in stored["outcomes"])
    assert capsys.readouterr().out.count("bits/dim") == 2
    monkeypatch.setattr(ablation, "HELD_OUT", 16)
    with pytest.raises(SystemExit, match="2"):
        ablation.main(given)
