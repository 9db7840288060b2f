"""Choice of a plan, of the channel, and of the step after which the exact picture follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ddpmcodec import Sender, encode, load_model
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.channel.names import RANDOM_CODING, TRELLIS
from ddpmcodec.codec.forecast import Forecast
from ddpmcodec.codec.options import Options
from ddpmcodec.codec.trajectory import (
    EXACT_STEPS,
    PHOTO_STEPS,
    named_channel,
    nearest_step,
    steps_of_plan,
    tail_step,
)
from ddpmcodec.diffusion.plan import default_steps, longer_steps
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models import CodecModel

TILE, PHOTOGRAPH = 32 * 32, 80 * 80


@pytest.fixture(scope="module")
def photo_model() -> CodecModel:
    return load_model("photo-small")


def test_photographs_go_by_longer_plans_unless_a_plan_is_asked_for(photo_model: CodecModel) -> None:
    usual = default_steps(photo_model.curve)
    assert usual < PHOTO_STEPS < EXACT_STEPS
    assert steps_of_plan(photo_model, None, PHOTOGRAPH) == steps_of_plan(photo_model, None, 1 << 21) == PHOTO_STEPS
    assert steps_of_plan(photo_model, None, PHOTOGRAPH, exact=True) == EXACT_STEPS
    assert steps_of_plan(photo_model, None, (1 << 21) + 1) == usual
    assert steps_of_plan(photo_model, None, (1 << 21) + 1, exact=True) == EXACT_STEPS
    assert steps_of_plan(photo_model, None, TILE) == steps_of_plan(photo_model, None, TILE, exact=True) == usual
    for exact in (False, True):
        assert steps_of_plan(photo_model, 8, PHOTOGRAPH, exact=exact) == 8
    with pytest.raises(DdpmCodecError, match="plan_steps"):
        steps_of_plan(photo_model, 2.5, PHOTOGRAPH)  # type: ignore[arg-type]


def test_fast_takes_two_thirds_of_the_steps_at_most(photo_model: CodecModel) -> None:
    stored = {len(plan) for plan in photo_model.curve.plans}
    for pixels in (TILE, PHOTOGRAPH, 1 << 22):
        for exact in (False, True):
            usual = steps_of_plan(photo_model, None, pixels, exact=exact)
            fast = steps_of_plan(photo_model, "fast", pixels, exact=exact)
            assert fast == max(n for n in stored if 3 * n <= 2 * usual)
    assert steps_of_plan(photo_model, "fast", PHOTOGRAPH) == 16
    assert steps_of_plan(photo_model, "fast", TILE) == photo_model.plan("fast").steps == 12


def test_a_model_that_stores_no_longer_plan_keeps_its_usual_one(photo_model: CodecModel) -> None:
    curve = replace(photo_model.curve, plans=())
    assert longer_steps(curve, EXACT_STEPS) == default_steps(curve)


@pytest.mark.parametrize(
    ("asked", "height", "width", "named"),
    [
        ("trellis", 64, 64, None),  # 2^16 states already
        ("trellis", 65, 64, None),  # 12,480 values
        ("trellis", 20, 200, None),  # 19,200 on a canvas of 32 x 200, and a small picture
        ("trellis", 128, 64, (TRELLIS, 16)),
        ("trellis", 2048, 1024, (TRELLIS, 16)),
        ("trellis", 2049, 1024, None),
        ("trellis:12", 128, 64, (TRELLIS, 12)),
        ("trellis:14", 128, 64, (TRELLIS, 14)),
        ("orc", 128, 64, (RANDOM_CODING, 14)),
    ],
)
def test_photographs_are_sent_with_the_most_states(
    photo_model: CodecModel, asked: str, height: int, width: int, named: tuple[int, int] | None
) -> None:
    assert named_channel(photo_model, asked, height, width) == named


def test_a_sender_and_a_forecast_take_the_same_trajectory(photo_model: CodecModel) -> None:
    picture = np.zeros((80, 80, 3), np.uint8)
    for options in (Options(lossless=True), Options(lossless=True, plan_steps=8), Options(lossless=True, steps=3)):
        sender = options.sender(picture, model=photo_model)
        assert Forecast(photo_model, options, picture).last == sender.last
    assert Sender(picture, model=photo_model, lossless=True).header.plan_steps == EXACT_STEPS
    assert Sender(picture, model=photo_model, lossless=True, steps=3).header.plan_steps == PHOTO_STEPS
    header = Sender(picture, model=photo_model).header
    assert (header.plan_steps, header.channel) == (PHOTO_STEPS, (TRELLIS, 16))
    assert header == read_header(encode(picture, model=photo_model, quality=1))


@pytest.mark.parametrize(("pixels", "wanted"), [(TILE, 1.6), (PHOTOGRAPH, 1.3)])
def test_the_tail_begins_at_the_usual_error(photo_model: CodecModel, pixels: int, wanted: float) -> None:
    plan = photo_model.plan(EXACT_STEPS)
    rmse = 127.5 * np.sqrt(photo_model.curve.expected_mse(np.array(plan.log_snr)))
    assert tail_step(photo_model.curve, plan, pixels) == np.abs(np.log(rmse / wanted)).argmin() + 1
    assert tail_step(photo_model.curve, plan, TILE) < tail_step(photo_model.curve, plan, PHOTOGRAPH)


def test_the_nearest_step_is_the_nearest(photo_model: CodecModel) -> None:
    plan = photo_model.plan(12)
    for n in (1, 5, 12):
        assert nearest_step(plan, plan.level(n) + 1e-3) == nearest_step(plan, plan.level(n)) == n
