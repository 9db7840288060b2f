"""The progress bar counts seconds, and the forecast knows where a stream will end."""

from __future__ import annotations

import numpy as np
import pytest

import ddpmcodec
from ddpmcodec.cli.progress import StepProgress
from ddpmcodec.codec.forecast import Forecast
from ddpmcodec.codec.options import Options
from ddpmcodec.models import CodecModel


def test_time_left_follows_what_steps_cost():
    steps = StepProgress([1.0, 1.0, 2.0, 4.0, 8.0], last=4)
    assert steps.left(0.0) is None
    steps.advance()
    steps.advance()
    assert steps.done == pytest.approx(2 / 8)
    assert steps.left(10.0) == pytest.approx(30.0)  # a machine five times as slow
    steps.advance(last=5)
    assert steps.done == pytest.approx(4 / 16)
    steps.advance(last=3)  # more were sent than forecast
    assert (steps.done, steps.left(7.0)) == (1.0, 0.0)


def test_a_last_step_that_is_tried_for_takes_longer():
    steps = StepProgress([1.0, 1.0, 2.0, 4.0], last=3, last_takes=4.0)
    steps.advance()
    assert steps.done == pytest.approx(1 / 10)
    steps.advance()
    steps.advance()
    assert steps.done == 1.0


def test_what_goes_with_bits_follows_the_bits_that_are_sent():
    steps = StepProgress([1.0, 1.0, 1.0], search=[0.0, 2.0, 4.0])
    steps.advance(searched=0.5)
    assert steps.done == pytest.approx(1 / (3 + 0.5 * 6))
    steps.advance(searched=2.0)  # this one took 1 + 2 x 2 seconds, and the last will take 1 + 2 x 4
    assert steps.done == pytest.approx(6 / 15)


def _picture(sharp: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sharp, (32, 32, 3))
    return np.clip(np.linspace(60, 190, 32)[:, None, None] + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "options",
    [{"steps": 3}, {"quality": 20}, {"full": True}, {"lossless": True}, {}, {"target_psnr": 26}, {"target_bytes": 130}],
    ids=str,
)
def test_the_forecast_comes_true(model: CodecModel, options: dict):
    for picture in (_picture(3.0), _picture(30.0)):
        forecast = Forecast(model, Options(plan_steps=8, **options), picture)
        forecasts, sent = [forecast.last], []

        def on_step(step, forecast=forecast, forecasts=forecasts, sent=sent):
            sent.append(step)
            forecasts.append(forecast.after(step))

        ddpmcodec.encode(picture, model=model, plan_steps=8, on_step=on_step, **options)
        if not {"target_psnr", "target_bytes"} & set(options):
            assert set(forecasts) == {len(sent)}
        assert forecasts[-1] >= len(sent)
        expected = model.plan(8).expected_bits(len(sent), 32 * 32 * 3)
        assert forecast.bits_ratio == pytest.approx((sent[-1].packets[0].bits / expected) ** 0.5)
        assert abs(forecasts[-2] - len(sent)) <= 2
