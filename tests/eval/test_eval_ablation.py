"""`python -m ddpmcodec.eval.studies.ablation`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ddpmcodec.eval.studies import ablation
from ddpmcodec.eval.studies.ablation import VARIANTS, bound, train_variant
from ddpmcodec.training import Goal, HeldOut, Sources, preset

SMALL = {"channels": (8, 16), "groups": 4, "heads": 2, "embedding": 16, "frequencies": 4}


def pictures(count: int) -> NDArray[np.uint8]:
    """(count, 32, 32, 3): plain colours with a slope."""
    random = np.random.default_rng(1)
    slope = np.linspace(-1, 1, 32)[:, None] * random.uniform(-50, 50, (count, 1, 1, 3))
    return (
        (random.uniform(80, 170, (count, 1, 1, 3)) + slope[:, :, None].reshape(count, 32, 1, 3))
        .repeat(32, 2)
        .astype(np.uint8)
    )


@pytest.fixture
def small_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"as embedded": (SMALL, {"batch": 4, "lr": 5e-3, "warmup": 0}), "batch 8": (SMALL, {"batch": 8})}
    monkeypatch.setattr(ablation, "VARIANTS", {"cifar10-small": found})


@pytest.mark.parametrize(("of", "name"), [(p, name) for p, variants in VARIANTS.items() for name in variants])
def test_a_variant_is_a_change_of_its_preset(of: str, name: str):
    network, recipe = VARIANTS[of][name]
    usual, chosen = preset(of), preset(of, network, recipe)
    assert (chosen == usual) == (name == "as embedded")


def test_the_bound_is_cumulative():
    """ε̂ = 0 has an ε-MSE of 1 at every level: the bound is the span of levels in nats, half of it, in bits."""
    held_out = HeldOut.of(pictures(8), 32, -4.0, 4.0)
    assert held_out is not None
    bits, parts = bound(lambda x_t, log_snr: torch.zeros_like(x_t), held_out)
    assert bits == pytest.approx(8 / (2 * math.log(2)), rel=0.02)
    assert parts["0"] == pytest.approx(bits / 2, rel=0.02)
    assert list(parts) == ["-4", "-2", "0", "2", "4"]


def test_training_lowers_the_bound(small_variants: None):
    torch.set_num_threads(1)
    images = Sources(pictures(64), pictures(72)[64:])
    goals = Goal(steps=1), Goal(steps=60)
    short, long = (train_variant("as embedded", "cifar10-small", images, goal, {"bf16": False}) for goal in goals)
    assert (long.steps, long.images) == (60, 240)
    assert long.bits_per_dim < 0.8 * short.bits_per_dim


def test_the_command(
    small_variants: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(ablation, "training_images", lambda *a, **k: Sources(pictures(16), pictures(20)[16:]))
    out = tmp_path / "out.json"
    given = ["--data", "any", "--minutes", "0.001", "--no-bf16", "--lr", "1e-4", "-o", str(out)]
    ablation.main([*given, "--variants", "batch 8", "as embedded"])
    stored = json.loads(out.read_text())
    assert [o["variant"] for o in stored["outcomes"]] == ["batch 8", "as embedded"]
    assert (stored["recipe"]["lr"], stored["recipe"]["bf16"]) == (1e-4, False)
    assert all(o["images"] > 0 and math.isfinite(o["bits_per_dim"]) for o in stored["outcomes"])
    assert capsys.readouterr().out.count("bits/dim") == 2
    with pytest.raises(SystemExit, match="2"):
        ablation.main([*given, "--variants", "batch 9"])
    monkeypatch.setattr(ablation, "training_images", lambda *a, **k: Sources(pictures(16), pictures(0)))
    with pytest.raises(SystemExit, match="2"):
        ablation.main(given)
