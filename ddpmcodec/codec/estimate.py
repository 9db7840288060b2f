"""Estimates of how long a picture takes and how much memory it needs, before the long part begins."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ddpmcodec.channel.base import Channel
from ddpmcodec.channel.names import MOST_MEMORY, channel_of
from ddpmcodec.channel.random_coding import RandomCodingChannel
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.codec.trajectory import named_channel, steps_of_plan
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.resolution import WHOLE
from ddpmcodec.diffusion.windows import window_count
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models.base import CodecModel
from ddpmcodec.numerics import native
from ddpmcodec.numerics.arguments import whole
from ddpmcodec.numerics.threads import workers

BATCH = 64  # pictures of an archive that go through the network together
PIXELS_AT_A_TIME = 1 << 20  # of an archive's pictures, so that a batch of large ones doesn't fill the memory
_MEASURED = 32  # windows that are timed, at most
_SIDE = 256  # side of the picture that a network for any size is timed on
# Microseconds a bit of the trellis search on one core, natively and by numpy: fixed, and for 2^16 states
# (docs/channel.md).
_NATIVE, _NUMPY = (0.6, 4.4), (6.0, 60.0)
_SECONDS_A_CHUNK, _SECONDS_A_NUMBER = 2e-5, 4e-9  # of ordered random coding, and of its candidates
_SECONDS_A_VALUE = 4e-8  # what a step's noise, transforms and sums take for each sub-pixel
_BYTES_A_PIXEL = 160  # a chain's arrays
_BYTES_AT_LEAST = 500 << 20  # the program, the model and what it has in work


@dataclass(frozen=True)
class Estimate:
    """Estimate of what a picture takes: seconds, and bytes of memory at most. Right to a factor of about two."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class StepSeconds:
    """Seconds of each of a plan's steps: the network's, and those of the search, for the bits that are expected."""

    network: list[float]
    search: list[float]


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
    channel: str = "trellis",
    steps: int | None = None,
    pictures: int = 1,
    encoding: bool,
) -> Estimate:
    """Return what pictures of one size take, by the time that the first windows take. steps: of the plan's, None for
    all.
    """
    options: dict[str, Any] = {"plan_steps": plan_steps, "channel": channel, "encoding": encoding}
    each = step_seconds(model, height, width, **options)
    seconds = sum(each.network[:steps]) + sum(each.search[:steps])
    height, width = canvas_size(height, width, model.window, model.factor)
    together = pictures_at_a_time(height * width, pictures)  # in the chain; the others wait as bytes
    pixels = height * width * model.factor**2
    memory = _BYTES_AT_LEAST + _BYTES_A_PIXEL * pixels * together + 3 * pixels * (pictures - 1)
    return Estimate(seconds * pictures, memory)


def step_seconds(
    model: CodecModel,
    height: int,
    width: int,
    *,
    plan_steps: int | Literal["fast"] | None = None,
    channel: str = "trellis",
    ahead: bool = False,
    encoding: bool,
) -> StepSeconds:
    """Return the seconds that each step of a plan takes: the network's at its level, measured here on a small picture,
    and, where it is encoding, the search's for its expected bits. What a bit takes is that of the reference machine
    (docs/channel.md), so only their proportions are right everywhere. ahead: each step ends with a look at the picture,
    as a distortion's rate control takes it, for which the network is asked where the next step begins.
    """
    named = named_channel(model, channel, height, width)
    length = steps_of_plan(model, plan_steps, height * width) if encoding else plan_steps
    plan, (height, width) = model.plan(length), canvas_size(height, width, model.window, model.factor)
    levels = [plan.level(n + ahead) for n in range(plan.steps)]  # at which the network is asked
    side = (
        min(_SIDE, max(model.window, min(height, width) // model.window * model.window))
        if model.any_size
        else model.window
    )
    count = 1 if model.any_size else min(_MEASURED, window_count(height, width, side, levels[-1]))
    x_t = torch.zeros((count, model.channels, side, side), dtype=torch.float32)
    for _ in range(2):  # the first call makes ready
        start = time.perf_counter()
        model.predict_eps(x_t, model.trained_level(levels[-1]))
        a_square = (time.perf_counter() - start) / count
    dims = model.channels * height * width
    code, all_steps = channel_of(named, dims), range(1, plan.steps + 1)
    search = [_search_seconds(code, plan.expected_bits(n, dims), dims) if encoding else 0.0 for n in all_steps]
    network = [_squares(model, height, width, side, level) * a_square + dims * _SECONDS_A_VALUE for level in levels]
    return StepSeconds(network, search)


def _search_seconds(channel: Channel, bits: int, dims: int) -> float:
    """Return what a channel takes to find its word of so many bits."""
    bits = min(bits, channel.max_bits(dims))
    if isinstance(channel, RandomCodingChannel):
        chunks = sum(model.count for model in channel.symbol_models(bits, dims))
        numbers = 8 * math.ceil(dims / max(chunks, 1) / 8) << channel.log2_candidates  # of a chunk's candidates
        return chunks * (_SECONDS_A_CHUNK + numbers * _SECONDS_A_NUMBER)
    assert isinstance(channel, TrellisChannel)
    fixed, most = _NATIVE if native.enabled() else _NUMPY
    a_bit = 1e-6 * (fixed + most * 2.0 ** (channel.memory - MOST_MEMORY))
    return bits * a_bit / (workers() if native.enabled() else 1)


def _squares(model: CodecModel, height: int, width: int, side: int, level: float) -> float:
    """Return how many squares of a side, in area, the network sees at a level."""
    found = WHOLE if model.resolutions is None else model.resolutions.at(level, min(height, width), model.window)

    def at(factor: int) -> float:
        h, w = height // factor, width // factor
        return h * w / side**2 if model.any_size else window_count(h, w, side, model.trained_level(level))

    return at(found.factor) + (at(1) if found.merged else 0)
