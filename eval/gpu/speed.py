"""Speed of a training step: batches, with and without a CUDA graph and torch.compile; and the card's own ceilings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddpmcodec.eval.gpu.checks import card, peak_memory
from ddpmcodec.eval.gpu.clock import Setting
from ddpmcodec.eval.gpu.training import settings
from ddpmcodec.training import Preset, Processes, TrainingImages, preset
from ddpmcodec.training.step import TrainingStep

_SECONDS = 2.5  # how long each way is measured, after the warm-up
_WARM_UP = 6  # steps: three, the recording, and two that replay it


@dataclass(frozen=True)
class Way:
    """Way of taking steps."""

    preset: str
    batch: int
    record: bool = True
    compiled: bool = False

    @property
    def name(self) -> str:
        how = ("a CUDA graph" if self.record else "kernel by kernel") + (", compiled" if self.compiled else "")
        return f"{self.preset}, batch {self.batch}, {how}"


WAYS = (
    Way("cifar10-small", 512),
    Way("cifar10-small", 512, record=False),
    Way("photo-small", 576),
    Way("cifar10-small", 256),
    Way("cifar10-small", 1024),
    Way("photo-small", 288),
    Way("cifar10-small", 512, compiled=True),  # compiling takes long, so it comes last
)
SMALL = (Way("cifar10-small", 2),)


def measure_speed(setting: Setting) -> None:
    """Report, way by way: images a second, the step's milliseconds and the host's part of them, peak memory."""
    found: dict[str, Any] = {"card": card(setting.device), "ceilings": ceilings(setting), "ways": {}}
    for way in SMALL if setting.small else WAYS:
        if setting.seconds_left < 5:
            break
        with peak_memory(setting.device) as memory:
            speed = step_speed(way, setting)
        found["ways"][way.name] = speed | memory
        setting.report(found)
        if not setting.small:
            torch.cuda.empty_cache()


def ceilings(setting: Setting) -> dict[str, float]:
    """Measure what a large product in bfloat16 (TFLOP/s) and a large copy (GB/s, read and written) reach; medians."""
    device, side = torch.device(setting.device), 256 if setting.small else 8192
    a = torch.randn(side, side, device=device).bfloat16()
    from_, to = (
        torch.empty((1 << 20) if setting.small else (1 << 30), dtype=torch.uint8, device=device) for _ in range(2)
    )
    product = _median_seconds(lambda: torch.mm(a, a), device)
    copy = _median_seconds(lambda: to.copy_(from_), device)
    return {"bf16_tflop_a_second": 2 * side**3 / product / 1e12, "copy_gb_a_second": 2 * len(to) / copy / 1e9}


def _median_seconds(work: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    seconds = []
    for _ in range(repeats + 3):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[3:]))


def step_speed(way: Way, setting: Setting) -> dict[str, float]:
    """Measure images a second of training steps on pictures of noise."""
    chosen = (
        settings(way.preset, True) if setting.small else preset(way.preset, None, {"batch": way.batch, "bf16": True})
    )
    device = torch.device(setting.device)
    step = noise_step(chosen, device, way.record, way.compiled)
    warm_up = 1 if setting.small else _WARM_UP
    for i in range(warm_up):
        step.take(i, 0.1)
    _wait(device)
    host, waited, start, taken = step.host_seconds, step.waited_seconds, time.perf_counter(), 0
    until = start + (0 if setting.small else _SECONDS)
    while not taken or time.perf_counter() < until:
        step.take(warm_up + taken, 0.1)
        taken += 1
    _wait(device)
    seconds, waited = time.perf_counter() - start, step.waited_seconds - waited
    return {
        "images_per_second": taken * chosen.recipe.batch / seconds,
        "ms_a_step": 1e3 * seconds / taken,
        "host_ms_a_step": 1e3 * (step.host_seconds - host - waited) / taken,
        "waited_ms_a_step": 1e3 * waited / taken,
    }


def noise_step(chosen: Preset, device: torch.device, record: bool = True, compiled: bool = False) -> TrainingStep:
    """Return a step on pictures of noise, large enough for every view."""
    side = max(v.side * v.factor for v in chosen.recipe.views_of(chosen.network))
    noise = np.random.default_rng(0).integers(0, 256, (64, side, side, 3), np.uint8)
    images = TrainingImages(noise, chosen.network.window, 0, device)
    return TrainingStep(chosen.network, chosen.recipe, images, Processes(0, 1, device), compiled, record)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
