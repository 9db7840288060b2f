"""What a picture is expected to take: by the plan and the channel that it will be sent by."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from ddpmcodec import load_model
from ddpmcodec.codec.estimate import estimate, step_seconds
from ddpmcodec.codec.trajectory import PHOTO_STEPS
from ddpmcodec.diffusion.plan import default_steps
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics import native


@pytest.fixture(scope="module")
def photo_model() -> CodecModel:
    return load_model("photo-small")


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the network's time out of an estimate, whose clock then stands still."""
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)


def test_an_estimate_is_of_the_plan_that_a_picture_goes_by(photo_model: CodecModel, timeless: None) -> None:
    usual = default_steps(photo_model.curve)

    def steps(height: int, width: int, **options: Any) -> int:
        each = step_seconds(photo_model, height, width, **options)
        assert len(each.network) == len(each.search)
        return len(each.network)

    assert steps(80, 80, encoding=True) == PHOTO_STEPS > usual
    assert steps(80, 80, plan_steps=12, encoding=True) == 12
    assert steps(2048, 1025, encoding=True) == usual
    assert steps(80, 80, encoding=False) == usual  # what a header without a number means


def test_an_estimate_is_of_the_channel_that_a_picture_goes_through(photo_model: CodecModel, timeless: None) -> None:
    def search(channel: str, side: int = 80) -> float:
        """Return the seconds that all steps' searches take."""
        of_all = step_seconds(photo_model, side, side, channel=channel, plan_steps=12, encoding=True).search
        assert len(of_all) == 12
        assert min(of_all) > 0
        return sum(of_all)

    states = [search(f"trellis:{memory}") for memory in (8, 12, 14, 15, 16)]
    assert (np.diff(states) > 0).all()
    assert states[-1] / states[-3] == pytest.approx((5.0 / 1.7) if native.enabled() else 66 / 21)
    assert search("trellis") == states[-1]
    assert search("trellis", 2000) == pytest.approx(search("trellis:14", 2000))
    assert search("orc:12") > 4 * search("orc:8") > 0


def test_the_network_is_asked_where_a_step_begins_or_ahead_where_it_ends(
    photo_model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.arange(1000.0))  # every call takes a second
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    seconds = {ahead: step_seconds(photo_model, 256, 256, ahead=ahead, encoding=False) for ahead in (False, True)}
    assert not any(seconds[True].search)
    here, ahead = seconds[False].network, seconds[True].network
    assert here[0] < 0.1 < 0.9 < here[-1]  # a small picture of pure noise; all of it at the end
    assert here[1:] == ahead[:-1]


def test_two_cores_search_in_half_the_time(
    photo_model: CodecModel, timeless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddpmcodec.codec import estimate as module

    def seconds(cores: int, searched_natively: bool) -> float:
        monkeypatch.setattr(module, "workers", lambda: cores)
        monkeypatch.setattr(native, "enabled", lambda: searched_natively)
        whole = [estimate(photo_model, 96, 80, plan_steps=12, encoding=e).seconds for e in (True, False)]
        return whole[0] - whole[1]

    assert seconds(1, True) == pytest.approx(2 * seconds(2, True))
    assert seconds(1, False) == pytest.approx(seconds(2, False)) == pytest.approx(66 / 5 * seconds(1, True))
