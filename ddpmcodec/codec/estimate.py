"""How long a picture takes and how much memory it needs, before the long part begins."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from ddpmcodec.diffusion.denoiser import canvas_size
from ddpmcodec.diffusion.plan import planned_bits
from ddpmcodec.diffusion.resolution import WHOLE
from ddpmcodec.diffusion.windows import window_count
from ddpmcodec.models.base import CodecModel

_MEASURED = 32  # windows, at most
_SIDE = 256  # of the picture that a network for any size is measured on
_SECONDS_A_BIT = 2e-6  # of the native trellis search, on one core
_BYTES_A_PIXEL, _BYTES_AT_LEAST = (
    160,
    500 << 20,
)  # of a chain's arrays; of the program, the model and what it has in work


@dataclass(frozen=True)
class Estimate:
    """What a picture takes: seconds, and bytes of memory at most. Right to a factor of about two."""

    seconds: float
    memory: int


def estimate(
    model: CodecModel,
    height: int,
    width: int,
    *,
    plan_steps: int | None = None,
    steps: int | None = None,
    encoding: bool,
) -> Estimate:
    """Return what one picture takes, by the time that its first windows take. steps: of the plan's, None for all."""
    plan, (height, width) = model.plan(plan_steps), canvas_size(height, width, model.window, model.factor)
    levels = [plan.level(n) for n in range(1, min(steps or plan.steps, plan.steps) + 1)]
    side = (
        min(_SIDE, max(model.window, min(height, width) // model.window * model.window))
        if model.any_size
        else model.window
    )
    count = 1 if model.any_size else min(_MEASURED, window_count(height, width, side, levels[0]))
    x_t = torch.zeros((count, model.channels, side, side), dtype=torch.float32)
    for _ in range(2):  # the first call makes ready
        start = time.perf_counter()
        model.predict_eps(x_t, model.trained_level(levels[-1]))
        a_square = (time.perf_counter() - start) / count
    squares = sum(_squares(model, height, width, side, level) for level in levels)
    bits = planned_bits(model.curve, plan) * model.channels * height * width / model.curve.dims if encoding else 0.0
    return Estimate(
        squares * a_square + bits * _SECONDS_A_BIT, _BYTES_AT_LEAST + _BYTES_A_PIXEL * height * width * model.factor**2
    )


def _squares(model: CodecModel, height: int, width: int, side: int, level: float) -> float:
    """Squares of a side, in area, that the network sees at a level."""
    found = WHOLE if model.resolutions is None else model.resolutions.at(level, min(height, width), model.window)

    def at(factor: int) -> float:
        h, w = height // factor, width // factor
        return h * w / side**2 if model.any_size else window_count(h, w, side, model.trained_level(level))

    return at(found.factor) + (at(1) if found.merged else 0)
