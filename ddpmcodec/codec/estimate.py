"""Estimates of how long a picture takes and how much memory it needs, before the long part begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

from ddpmcodec.channel.names import default_memory
from ddpmcodec.codec.trajectory import named_channel
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.resolution import WHOLE
from ddpmcodec.diffusion.windows import window_count
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models.base import CodecModel
from ddpmcodec.numerics.arguments import whole
from ddpmcodec.numerics.threads import workers

BATCH = 64  # pictures of an archive that go through the network together
PIXELS_AT_A_TIME = 1 << 20  # of an archive's pictures, so that a batch of large ones doesn't fill the memory
_MEASURED = 32  # windows that are timed, at most
_SIDE = 256  # side of the picture that a network for any size is timed on
# What the native trellis search takes on one core, by L of 2^L states (docs/channel.md).
_SECONDS_A_BIT = {14: 1.7e-6, 16: 5e-6}
_SECONDS_A_VALUE = 1.5e-7  # what a step's noise, transforms and sums take for each sub-pixel
_BYTES_A_PIXEL = 160  # a chain's arrays
_BYTES_AT_LEAST = 500 << 20  # the program, the model and what it has in work


@dataclass(frozen=True)
class Estimate:
    """Estimate of what a picture takes: seconds, and bytes of memory at most. Right to a factor of about two."""

    seconds: float
    memory: int


def pictures_at_a_time(pixels: int, batch: int) -> int:
    """Return how many pictures of `pixels` pixels to take at a time, of `batch` at most. Raises DdpmCodecError where
    that is none.
    """
    batch = whole(batch, "batch")
    if batch < 1:
        raise DdpmCodecError(f"a batch of {batch} pictures: expected at least 1")
    return max(1, min(batch, PIXELS_AT_A_TIME // pixels))


def estimate(
    model: CodecModel,
    height: int,
    width: int,
    *,
    plan_steps: int | Literal["fast"] | None = None,
    steps: int | None = None,
    pictures: int = 1,
    encoding: bool,
) -> Estimate:
    """Return what pictures of one size take, by the time that the first windows take. steps: of the plan's, None for
    all.
    """
    seconds = step_seconds(model, height, width, plan_steps=plan_steps, encoding=encoding)[:steps]
    height, width = canvas_size(height, width, model.window, model.factor)
    together = pictures_at_a_time(height * width, pictures)  # in the chain; the others wait as bytes
    pixels = height * width * model.factor**2
    memory = _BYTES_AT_LEAST + _BYTES_A_PIXEL * pixels * together + 3 * pixels * (pictures - 1)
    return Estimate(sum(seconds) * pictures, memory)


def step_seconds(
    model: CodecModel, height: int, width: int, *, plan_steps: int | Literal["fast"] | None = None, encoding: bool
) -> list[float]:
    """Return the seconds that each step of a plan takes: the network's at its level, measured here on a small picture,
    and, where it is encoding, the search's for its expected bits. What a bit takes is that of the reference machine
    (docs/channel.md), so only their proportions are right everywhere.
    """
    plan, (height, width) = model.plan(plan_steps), canvas_size(height, width, model.window, model.factor)
    levels = [plan.level(n) for n in range(1, plan.steps + 1)]
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
    dims = model.channels * height * width
    bits = [plan.expected_bits(n, dims) if encoding else 0 for n in range(1, plan.steps + 1)]
    named = named_channel(model, "trellis", height * model.factor, width * model.factor)
    a_bit = _SECONDS_A_BIT[default_memory(dims) if named is None else named[1]] / workers()
    return [
        _squares(model, height, width, side, level) * a_square + sent * a_bit + dims * _SECONDS_A_VALUE
        for level, sent in zip(levels, bits, strict=True)
    ]


def _squares(model: CodecModel, height: int, width: int, side: int, level: float) -> float:
    """Return how many squares of a side, in area, the network sees at a level."""
    found = WHOLE if model.resolutions is None else model.resolutions.at(level, min(height, width), model.window)

    def at(factor: int) -> float:
        h, w = height // factor, width // factor
        return h * w / side**2 if model.any_size else window_count(h, w, side, model.trained_level(level))

    return at(found.factor) + (at(1) if found.merged else 0)
