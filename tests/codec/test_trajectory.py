"""Choice of a plan, and of the step after which the exact picture follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ddpmcodec import Sender, load_model
from ddpmcodec.codec.forecast import Forecast
from ddpmcodec.codec.options import Options
from ddpmcodec.codec.trajectory import nearest_step, steps_of_plan, tail_step
from ddpmcodec.diffusion.plan import LONG_STEPS, default_steps, long_steps
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models import CodecModel

TILE, PHOTOGRAPH = 32 * 32, 80 * 80


@pytest.fixture(scope="module")
def photo_model() -> CodecModel:
    return load_model("photo-small")


def test_exact_photographs_go_by_the_long_plan_unless_a_plan_is_asked_for(photo_model: CodecModel) -> None:
    curve = photo_model.curve
    assert default_steps(curve) < long_steps(curve) == LONG_STEPS
    assert steps_of_plan(photo_model, None, PHOTOGRAPH, exact=True) == long_steps(curve)
    assert (
        steps_of_plan(photo_model, None, PHOTOGRAPH)
        == steps_of_plan(photo_model, None, TILE, exact=True)
        == default_steps(curve)
    )
    assert steps_of_plan(photo_model, 8, PHOTOGRAPH, exact=True) == 8
    assert steps_of_plan(photo_model, "fast", PHOTOGRAPH, exact=True) == photo_model.plan("fast").steps
    with pytest.raises(DdpmCodecError, match="plan_steps"):
        steps_of_plan(photo_model, 2.5, PHOTOGRAPH)  # type: ignore[arg-type]


def test_a_model_that_stores_no_longer_plan_keeps_its_usual_one(photo_model: CodecModel) -> None:
    curve = replace(photo_model.curve, plans=())
    assert long_steps(curve) == default_steps(curve)


def test_a_sender_and_a_forecast_take_the_same_trajectory(photo_model: CodecModel) -> None:
    picture = np.zeros((80, 80, 3), np.uint8)
    for options in (Options(lossless=True), Options(lossless=True, plan_steps=8), Options(lossless=True, steps=3)):
        sender = options.sender(picture, model=photo_model)
        assert Forecast(photo_model, options, picture).last == sender.last
    assert Sender(picture, model=photo_model, lossless=True).header.plan_steps == long_steps(photo_model.curve)
    assert Sender(picture, model=photo_model, lossless=True, steps=3).header.plan_steps is None
    assert Sender(picture, model=photo_model).header.plan_steps is None


@pytest.mark.parametrize(("pixels", "wanted"), [(TILE, 1.6), (PHOTOGRAPH, 1.3)])
def test_the_tail_begins_at_the_usual_error(photo_model: CodecModel, pixels: int, wanted: float) -> None:
    plan = photo_model.plan(long_steps(photo_model.curve))
    rmse = 127.5 * np.sqrt(photo_model.curve.expected_mse(np.array(plan.log_snr)))
    assert tail_step(photo_model.curve, plan, pixels) == np.abs(np.log(rmse / wanted)).argmin() + 1
    assert tail_step(photo_model.curve, plan, TILE) < tail_step(photo_model.curve, plan, PHOTOGRAPH)


def test_the_nearest_step_is_the_nearest(photo_model: CodecModel) -> None:
    plan = photo_model.plan(12)
    for n in (1, 5, 12):
        assert nearest_step(plan, plan.level(n) + 1e-3) == nearest_step(plan, plan.level(n)) == n
