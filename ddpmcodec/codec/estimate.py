"""How long a picture takes and how much memory it needs, before the long part begins."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from ddpmcodec.diffusion.plan import planned_bits
from ddpmcodec.diffusion.windows import canvas_size, window_count
from ddpmcodec.models.base import CodecModel

_MEASURED = 32  # windows, at most
_SECONDS_A_BIT = 11e-6  # of the trellis search (README: 9 to 13 µs on one core)
_BYTES_A_PIXEL, _BYTES_AT_LEAST = 160, 500 << 20  # of a chain's arrays; of the program, the model and a batch of windows


@dataclass(frozen=True)
class Estimate:
    """What a picture takes: seconds, and bytes of memory at most. Right to a factor of about two."""

    seconds: float
    memory: int


def estimate(
    model: CodecModel, height: int, width: int, *, plan_steps: int | None = None, steps: int | None = None, encoding: bool
) -> Estimate:
    """Return what one picture takes, by the time that its first windows take. steps: of the plan's, None for all."""
    plan, (height, width) = model.plan(plan_steps), canvas_size(height, width, model.window)
    levels = [plan.level(n) for n in range(1, min(steps or plan.steps, plan.steps) + 1)]
    windows = sum(window_count(height, width, model.window, model.trained_level(level)) for level in levels)
    size = min(_MEASURED, window_count(height, width, model.window, model.trained_level(levels[0])))
    x_t = torch.zeros((size, model.channels, model.window, model.window), dtype=torch.float32)
    for _ in range(2):  # the first call makes ready
        start = time.perf_counter()
        model.predict_eps(x_t, model.trained_level(levels[0]))
        a_window = (time.perf_counter() - start) / size
    bits = planned_bits(model.curve, plan) * model.channels * height * width / model.curve.dims if encoding else 0.0
    return Estimate(windows * a_window + bits * _SECONDS_A_BIT, _BYTES_AT_LEAST + _BYTES_A_PIXEL * height * width)
