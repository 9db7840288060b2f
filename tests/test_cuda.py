"""What only a GPU can show: it codes as a CPU does, and a recorded training step is the step. `pytest -m cuda`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.eval.gpu.checks import coded, compare_searches
from ddpmcodec.eval.studies import determinism
from ddpmcodec.eval.studies.determinism_ways import careless as careless_caller
from ddpmcodec.models import CodecModel, UNetConfig, load_model
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.training import Goal, Processes, Recipe, Trainer, TrainingImages, View, load_checkpoint
from ddpmcodec.training.recipe import NetworkToTrain
from ddpmcodec.training.step import TrainingStep

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]

DEVICE = "cuda"
STEPS = 8  # three before the recording, five of it
CONV = ConvUNetConfig(
    channels=(16, 24), down_blocks=(1, 1), up_blocks=(1, 1), embedding=16, frequencies=8, window=32, knots=4
)
UNET = UNetConfig(channels=(16, 32), groups=4, heads=2, embedding=16, frequencies=4, window=16, knots=4)
VIEWS = (View(32, 1, 6, -5.0, 9.5), View(16, 2, 2, -6.0, 1.5))
WITH_VIEWS = Recipe(batch=8, views=VIEWS, warmup=2, ema=(0.5, 0.9), seed=1)
RECIPES: dict[str, tuple[NetworkToTrain, Recipe]] = {
    "views, Muon": (CONV, WITH_VIEWS),
    "dropout, AdamW": (replace(UNET, dropout=0.2), Recipe(batch=8, muon=False, warmup=2, seed=2)),
    "simple objective": (UNET, Recipe(batch=8, objective="simple", warmup=2, seed=3)),
}


@pytest.fixture(scope="module")
def gpu_model() -> CodecModel:
    return load_model(device=DEVICE)


@pytest.fixture
def careless() -> Iterator[CodecModel]:
    """A caller who allows TF32 and computes under autocast."""
    with careless_caller(DEVICE) as found:
        yield found


@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["lossy", "lossless"])
def test_a_file_of_the_cpu_decodes_on_the_gpu(
    options: dict[str, Any], model: CodecModel, careless: CodecModel, picture: NDArray[np.uint8]
):
    data = ddpmcodec.encode(picture, model=model, **options)
    found = determinism.compare(determinism.decode(data, model), determinism.decode(data, careless))
    assert found["same_parse"]
    assert found["picture_max_levels_any_step"] <= 1
    assert found["exact"] is (True if options else None)


def test_a_lossless_file_of_the_gpu_is_exact_on_the_cpu(
    model: CodecModel, careless: CodecModel, picture: NDArray[np.uint8]
):
    data = ddpmcodec.encode(picture, model=careless, lossless=True)
    assert np.array_equal(ddpmcodec.decode(data, model=model), picture)
    assert np.array_equal(ddpmcodec.decode(data, model=careless), picture)


def test_compare_searches():
    assert compare_searches(torch.device(DEVICE))["equal"]


def test_memory_of_coding_is_bounded(gpu_model: CodecModel, picture: NDArray[np.uint8]):
    """64 pictures in a few steps: the network's activations and 256 MiB of path metrics."""
    torch.cuda.reset_peak_memory_stats()
    coded(gpu_model, [picture] * 64, 3)
    assert torch.cuda.max_memory_allocated() < 1.5e9


def images(seed: int = 0) -> TrainingImages:
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 40, 3), np.uint8)
    return TrainingImages(noise, 32, seed, torch.device(DEVICE))


def alone() -> Processes:
    return Processes(0, 1, torch.device(DEVICE))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recorded_step_is_the_step(name: str):
    """Losses are equal to rounding step by step: seeds, crops and rates reach the graph."""
    network, recipe = RECIPES[name]
    found = []
    for record in (True, False):
        step = TrainingStep(network, recipe, images(), alone(), record=record)
        sums = []
        for i in range(STEPS):
            step.take(i, min(1.0, (i + 1) / 4))
            sums.append(step.sums.clone())
        found.append((torch.stack(sums).diff(dim=0), [w.clone() for w in step.net.state_dict().values()]))
    (recorded, weights), (eager, expected) = found
    assert torch.equal(recorded[:, 0], eager[:, 0])  # the same levels were drawn
    assert torch.allclose(recorded, eager, rtol=0.02, atol=1e-4)
    moved = max(float((a - b).abs().max()) for a, b in zip(weights, expected, strict=True))
    assert moved < 0.02  # Muon makes much of the least differences, so far as it turns weights at all


def test_no_two_replays_see_the_same_noise():
    step = TrainingStep(CONV, WITH_VIEWS, images(), alone())
    seen = []
    for i in range(STEPS):
        step.sums.zero_()
        step.take(i, 0.0)  # nothing is learned
        seen.append(float(step.sums[1].sum()))
    assert len({round(v, 6) for v in seen}) == STEPS


def trained(directory: Path, steps: int, state: Any = None) -> Trainer:
    recipe = replace(WITH_VIEWS, decay=False)
    trainer = Trainer(CONV, recipe, images(recipe.seed), alone())
    if state is not None:
        trainer.resume(state)
    directory.mkdir(exist_ok=True)
    trainer.run(Goal(steps=steps), directory)
    return trainer


def test_a_run_goes_on_where_it_was(tmp_path: Path):
    whole = trained(tmp_path / "whole", 10)
    trained(tmp_path / "half", 5)
    rest = trained(tmp_path / "half", 10, load_checkpoint(tmp_path / "half"))
    for a, b in zip(whole.net.parameters(), rest.net.parameters(), strict=True):
        assert torch.allclose(a, b, atol=0.02)


def test_a_run_of_a_cpu_goes_on(tmp_path: Path):
    recipe = replace(WITH_VIEWS, decay=False)
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 40, 3), np.uint8)
    there = Trainer(CONV, recipe, TrainingImages(noise, 32, recipe.seed), Processes(0, 1, torch.device("cpu")))
    there.run(Goal(steps=2), tmp_path)
    rest = trained(tmp_path, 8, load_checkpoint(tmp_path))
    assert rest.step == 8
    assert all(bool(torch.isfinite(p).all()) for p in rest.net.parameters())


def test_the_host_has_little_to_do(tmp_path: Path):
    trainer = trained(tmp_path, 40)
    assert trainer.host_times()["host_ms_a_step"] < 5  # the first steps', which set things up, included


def test_memory_of_a_recording_is_that_of_a_step():
    peaks = []
    for record in (False, True):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step = TrainingStep(CONV, WITH_VIEWS, images(), alone(), record=record)
        for i in range(STEPS):
            step.take(i, 1.0)
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 2 * peaks[0] + (128 << 20)  # and the recording's own workspace for products
