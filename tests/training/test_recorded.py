"""What a step must be so that a GPU can record it, as far as a CPU can tell. (tests/test_cuda.py records.)"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ddpmcodec.models import UNetConfig
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.training import Processes, Recipe, TrainingImages, View
from ddpmcodec.training.handover import Handover
from ddpmcodec.training.optimisers import Optimisers
from ddpmcodec.training.recipe import NetworkToTrain
from ddpmcodec.training.recorded import Recorded
from ddpmcodec.training.step import TrainingStep

CPU = torch.device("cpu")
CONV = ConvUNetConfig(
    channels=(8, 12), down_blocks=(1, 1), up_blocks=(1, 0), embedding=8, frequencies=4, window=16, knots=4
)
UNET = UNetConfig(channels=(8, 16), groups=4, heads=2, embedding=16, frequencies=4, window=16, knots=4, dropout=0.1)
VIEWS = (View(16, 1, 3, -5.0, 9.5), View(8, 2, 1, -6.0, 1.5))
CASES: dict[str, tuple[NetworkToTrain, Recipe]] = {
    "views": (CONV, Recipe(batch=4, views=VIEWS, tilt=0.2, bf16=True)),
    "attention": (UNET, Recipe(batch=4)),
    "simple objective": (UNET, Recipe(batch=4, objective="simple")),
}
# Operations that give the host a value of the device, make shapes depend on one, or bring one from the host.
FORBIDDEN = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "equal.default", "lift_fresh", "is_nonzero")


class Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(str(function).removeprefix("aten."))
        return function(*args, **(kwargs or {}))


def step_of(network: NetworkToTrain, recipe: Recipe) -> TrainingStep:
    noise = np.random.default_rng(0).integers(0, 256, (6, 20, 24, 3), np.uint8)
    return TrainingStep(network, recipe, TrainingImages(noise, 16, recipe.seed), Processes(0, 1, CPU))


@pytest.mark.parametrize("name", CASES)
def test_a_step_neither_reads_back_nor_brings_anything(name: str, monkeypatch: pytest.MonkeyPatch):
    step = step_of(*CASES[name])
    step.take(0, 1.0)  # what is made once
    step.prepare(1, 1.0)
    # AdamW's rates and counts are the host's on a CPU.
    monkeypatch.setattr(step.optimisers._parts[0], "step", lambda: None)
    with Watch() as watch:
        step._update()
    assert len(watch.seen) > 30
    assert not [op for op in watch.seen if op.startswith(FORBIDDEN)]


def test_the_watch_sees_what_it_should():
    with Watch() as watch:
        float(torch.ones(3).sum()) + float(torch.tensor(1.0))
    assert {op.split(".")[0] for op in watch.seen} >= {"_local_scalar_dense", "lift_fresh"}


def test_on_a_cpu_work_is_simply_called():
    calls: list[int] = []
    work = Recorded(lambda: calls.append(len(calls)), CPU, torch.Generator())
    for _ in range(5):
        work()
    assert calls == [0, 1, 2, 3, 4]


def test_a_handover_replaces_values():
    handover = Handover((3, 2), CPU)
    for i in range(6):
        handover.replace(lambda rows, i=i: rows.fill(i))
        assert bool((handover.values == i).all())
    assert handover.waited_seconds == 0


def test_views_get_their_own_picks():
    step = step_of(*CASES["views"])
    step.prepare(3, 1.0)
    for stream, (view, picks) in enumerate(zip(step.views, step._picks, strict=True)):
        expected = step.images.picks(3, view.count, view.side * view.factor, stream)
        assert np.array_equal(picks.numpy(), expected)


def test_a_state_brings_no_settings_of_another_machine():
    """A GPU's optimiser is fused and capturable, with rates that are tensors; a state of one must do on a CPU."""
    recipe = Recipe(lr=1e-3, muon_lr=0.02)
    ours, theirs = (Optimisers(CONV.build(), recipe, CPU) for _ in range(2))
    for part in theirs._parts:
        for group in part.param_groups:
            group |= {"lr": torch.tensor(0.5), "capturable": True, "fused": True, "weight_decay": 0.7}
    before = [{k: v for k, v in g.items() if k != "params"} for part in ours._parts for g in part.param_groups]
    ours.load_state_dict(theirs.state_dict())
    after = [{k: v for k, v in g.items() if k != "params"} for part in ours._parts for g in part.param_groups]
    assert [{k: v for k, v in g.items() if k in b} for g, b in zip(after, before, strict=True)] == before


def test_host_times_are_counted():
    step = step_of(CONV, replace(CASES["views"][1], bf16=False))
    step.take(0, 1.0)
    assert 0 < step.host_seconds < 5
    assert step.waited_seconds == 0
