"""Settings and checkpoints that don't fit, and what a trainer says of its steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddpmcodec.errors import DdpmCodecError, TrainingError
from ddpmcodec.models.level_ranges_config import LevelRangesConfig
from ddpmcodec.training import Goal, TrainingImages, load_checkpoint, preset, training_images
from ddpmcodec.training.checkpoint import NAME
from ddpmcodec.training.muon import Muon
from ddpmcodec.training.optimisers import Optimisers
from ddpmcodec.training.recipe import Recipe
from tests.models.test_level_ranges import BOTH
from tests.training.test_recorded import CONV
from tests.training.test_training import TINY, run, trainer


def test_host_times_are_those_of_the_steps_taken(tmp_path: Path):
    t = trainer()
    assert t.host_times() == {"host_ms_a_step": 0.0, "waited_ms_a_step": 0.0}
    run(t, tmp_path, Goal(steps=3))
    found, step = t.host_times(), t._step
    assert found == {"host_ms_a_step": pytest.approx(1000 * step.host_seconds / 3), "waited_ms_a_step": 0.0}
    assert found["host_ms_a_step"] > 0


@pytest.mark.parametrize("change", ["weights", "averages", "optimiser"])
def test_parts_of_another_network_s_checkpoint_are_refused(tmp_path: Path, change: str):
    t, other = trainer(), trainer(network=replace(TINY, channels=(16, 8)))
    states = []
    for one in (t, other):
        run(one, tmp_path, Goal(steps=1))
        states.append(one.checkpoint(Goal(steps=1)))
    ours, theirs = states
    trainer().resume(ours)
    with pytest.raises(TrainingError, match="the checkpoint doesn't fit the network it names: ") as caught:
        trainer().resume(replace(ours, **{change: getattr(theirs, change)}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_checkpoint_of_a_network_that_nothing_trains_is_refused(tmp_path: Path):
    run(trainer(), tmp_path, Goal(steps=1))
    values = torch.load(tmp_path / NAME, weights_only=True)
    stored = {"architecture": LevelRangesConfig.architecture, "network": BOTH.to_dict()}
    torch.save(values | stored, tmp_path / NAME)
    with pytest.raises(
        TrainingError, match=f"a {LevelRangesConfig.architecture} network, which ddpmcodec train doesn't"
    ):
        load_checkpoint(tmp_path)


def test_a_setting_that_a_preset_s_network_doesn_t_have_is_named():
    with pytest.raises(TrainingError, match=r"preset photo-small: .*'groups'; its network has no such setting"):
        preset("photo-small", {"groups": 4})


def test_pictures_that_a_crop_can_be_taken_of_are_counted():
    images = [np.zeros((height, width, 3), np.uint8) for height, width in ((8, 8), (8, 40), (16, 20), (32, 32))]
    found = TrainingImages(images, 8, seed=1)
    assert [found.count(side) for side in (8, 9, 16, 17, 32, 33)] == [4, 2, 2, 1, 1, 0]


def test_a_file_that_can_t_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "data.zip").write_bytes(b"PK")

    def refuse(self: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DdpmCodecError, match=r"can't read .*data\.zip: Permission denied"):
        training_images([str(tmp_path / "data.zip")], 8)


def test_weights_without_gradients_stay():
    """Not even weight decay moves what no loss depends on, and no state is made for it."""
    weights = [torch.ones(4, 3, 3, 3, requires_grad=True) for _ in range(2)]
    groups: Any = [{"params": [weight]} for weight in weights]
    optimiser = Muon(groups, lr=0.1, weight_decay=0.5)
    weights[1].grad = torch.randn(4, 3, 3, 3)
    optimiser.step()
    assert torch.equal(weights[0], torch.ones(4, 3, 3, 3))
    assert not torch.equal(weights[1], torch.ones(4, 3, 3, 3))
    assert weights[0] not in optimiser.state


def test_rates_in_tensors_are_set_where_a_recorded_step_reads_them():
    optimisers = Optimisers(CONV.build(), Recipe(lr=1e-3, muon_lr=0.02), torch.device("cpu"))
    for part, peak in zip(optimisers.parts, (1e-3, 0.02), strict=True):  # as on a GPU
        rate = torch.tensor(peak)
        optimisers.rates[optimisers.parts.index(part)] = rate
        for group in part.param_groups:
            group["lr"] = rate
    optimisers.set_rate(0.25)
    for part, rate, peak in zip(optimisers.parts, optimisers.rates, (1e-3, 0.02), strict=True):
        assert all(group["lr"] is rate for group in part.param_groups)
        assert float(rate) == pytest.approx(peak / 4)
    assert optimisers.rate == pytest.approx(2.5e-4)
