"""Trajectory of a picture: which of the model's plans it is sent by, in which code, and after how many steps its stream
ends.

The sender's choice alone: a header names plan and code, and END says where the stream ends.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ddpmcodec.channel.names import MOST_MEMORY, TRELLIS, default_memory, parse_channel
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.error_curve import FRACTION, ErrorCurve
from ddpmcodec.diffusion.plan import Plan, default_steps, fast_steps, longer_steps
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.choice import is_small
from ddpmcodec.numerics.fixed_point import fixed_log2

# Photographs up to here take their time: more steps, most of them near the end of the chain, where they save most, and
# a code of more states. Larger ones go by the model's usual plan, so that 12 megapixels take about five minutes.
UNHURRIED_PIXELS = 1 << 21
# The longest plan that a photograph goes by, and an exact one, for which more steps save next to nothing; unless the
# model's usual plan is longer.
PHOTO_STEPS, EXACT_STEPS = 28, 46

# Expected RMSE of x0_hat where diffusion ends and the tail begins: where the bytes of both together are least, measured
# on 64 training tiles of 32x32 and, for large pictures, on photographs held out from training
# (`ddpmcodec.eval.studies.tail_study`). Grainy photographs would have it at 2, clean ones at 1: half a per cent each.
TAIL_RMSE, LARGE_TAIL_RMSE = 1.6, 1.3


def steps_of_plan(model: CodecModel, asked: int | Literal["fast"] | None, pixels: int, *, exact: bool = False) -> int:
    """Return the steps of the plan that a picture is sent by. asked: what the user says, "fast" for two thirds of the
    steps at most; exact: the exact picture follows, from a step that nobody named. Raises DdpmCodecError for a length
    that the model has no plan of.

    A photograph goes by a longer plan than the model's usual one unless it is very large, an exact one by a longer one
    still: it spends its bits on the fine steps, where short plans waste most. What a step costs by itself, which makes
    more steps of a tile no better, is nothing in a large picture.
    """
    if asked not in (None, "fast"):
        return model.plan(asked).steps
    usual = default_steps(model.curve)
    if not is_small(pixels) and (exact or pixels <= UNHURRIED_PIXELS):
        usual = longer_steps(model.curve, EXACT_STEPS if exact else PHOTO_STEPS)
    return usual if asked is None else fast_steps(model.curve, usual)


def named_channel(model: CodecModel, asked: str, height: int, width: int) -> tuple[int, int] | None:
    """Return the header's field for the channel that a picture is sent through: what the user says, and where that is
    "trellis" alone the most states for a photograph that isn't very large. Raises DdpmCodecError.
    """
    named, pixels = parse_channel(asked), height * width
    dims = model.channels * math.prod(canvas_size(height, width, model.window, model.factor))
    photograph = not is_small(pixels) and pixels <= UNHURRIED_PIXELS
    if named is None and photograph and default_memory(dims) < MOST_MEMORY:
        return TRELLIS, MOST_MEMORY
    return named


def tail_step(curve: ErrorCurve, plan: Plan, pixels: int) -> int:
    """Return after how many of a plan's steps the tail begins where nobody names the step. Integers decide."""
    rmse = TAIL_RMSE if is_small(pixels) else LARGE_TAIL_RMSE
    mse = round((rmse / 127.5) ** 2 * 2.0**FRACTION)
    wanted = fixed_log2(np.array([mse], np.uint64), FRACTION)[0]
    places = [curve.log_snr.index(round(level * 65536)) for level in plan.log_snr]
    distance = np.abs(fixed_log2(np.array([curve.mse[i] for i in places], np.uint64), FRACTION) - wanted)
    return int(distance.argmin()) + 1


def nearest_step(plan: Plan, log_snr: float) -> int:
    """Return how many steps of a plan end nearest to a level."""
    return 1 + min(range(plan.steps), key=lambda n: abs(plan.log_snr[n] - log_snr))
