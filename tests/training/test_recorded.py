"""What a step must be so that a GPU can record it, as far as a CPU can tell. (tests/test_cuda.py records.)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
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


class Gpu:
    """Stands for CUDA: notes what is asked of it, in order, and records what is called inside `graph`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.current = "default"
        self.recording = False
        self.made = -1
        for name in ("device", "Stream", "current_stream", "stream", "CUDAGraph", "graph", "Event"):
            patch.setattr(torch.cuda, name, getattr(self, name))

    def note(self, *words: object) -> None:
        self.events.append(" ".join(map(str, words)))

    def work(self) -> None:
        how = "recorded" if self.recording else f"run on {self.current}"
        self.note(how, "tried out" if torch.backends.cudnn.benchmark else "as it is")

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        assert device == torch.device("cuda", 1)
        yield

    def Stream(self) -> Any:
        return self.named("side")

    def current_stream(self) -> Any:
        return self.named(self.current)

    def named(self, name: str) -> Any:
        return SimpleNamespace(name=name, wait_stream=lambda other: self.note(name, "waits for", other.name))

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def CUDAGraph(self) -> Any:
        return SimpleNamespace(
            replay=lambda: self.note("replay"), register_generator_state=lambda generator: self.note("seed", generator)
        )

    @contextmanager
    def graph(self, graph: Any) -> Iterator[None]:
        self.recording = True
        yield
        self.recording = False

    def Event(self) -> Any:
        self.made += 1
        number = self.made
        return SimpleNamespace(
            synchronize=lambda: self.note("wait for copy", number), record=lambda: self.note("copied", number)
        )


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


WARM = ["side waits for default", "run on side tried out", "default waits for side"]


def test_on_a_gpu_work_is_run_aside_thrice_recorded_once_and_then_replayed(gpu: Gpu):
    before = torch.backends.cudnn.benchmark
    work = Recorded(gpu.work, torch.device("cuda", 1), "generator")  # type: ignore[arg-type]
    for expected in (WARM, WARM, WARM, ["seed generator", "recorded tried out", "replay"], ["replay"], ["replay"]):
        gpu.events.clear()
        work()
        assert gpu.events == expected
        assert torch.backends.cudnn.benchmark is before


def test_unrecorded_work_is_run_each_time_on_the_stream_that_is_there(gpu: Gpu):
    work = Recorded(gpu.work, torch.device("cuda", 1), torch.Generator(), record=False)
    for _ in range(6):
        work()
    assert gpu.events == ["run on default tried out"] * 6


def test_work_that_fails_leaves_the_caller_s_choice_of_kernels(gpu: Gpu, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise RuntimeError("no memory")

    for choice in (False, True):
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", choice)
        with pytest.raises(RuntimeError, match="no memory"):
            Recorded(fail, torch.device("cuda", 1), torch.Generator(), record=False)()
        assert torch.backends.cudnn.benchmark is choice


def test_a_handover_to_a_gpu_waits_for_the_copy_of_the_buffer_that_it_writes(gpu: Gpu, monkeypatch: pytest.MonkeyPatch):
    """There are four, so that the host may be four steps ahead."""
    made = torch.zeros
    pinned: list[Any] = []
    written: list[int] = []

    def zeros(shape: Any, dtype: torch.dtype, pin_memory: bool = False, device: Any = None) -> torch.Tensor:
        pinned.extend([shape] * pin_memory)
        return made(shape, dtype=dtype)

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda", 1), raising=False)
    handover = Handover((2, 3), torch.device("cuda", 1))
    assert pinned == [(2, 3)] * 4

    def write(rows: np.ndarray[Any, Any]) -> None:
        written.append(rows.ctypes.data)
        rows.fill(len(written))

    for i in range(9):
        gpu.events.clear()
        handover.replace(write)
        assert gpu.events == [f"wait for copy {i % 4}", f"copied {i % 4}"]
        assert bool((handover.values == i + 1).all())
    assert len(set(written)) == 4
    assert written[:4] == written[4:8]
    assert handover.values.data_ptr() not in written
    assert handover.waited_seconds > 0


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
