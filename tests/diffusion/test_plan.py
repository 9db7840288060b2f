from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.channel.names import channel_of
from ddpmcodec.diffusion.error_curve import END_RMSE, ErrorCurve
from ddpmcodec.diffusion.plan import Plan, make_plan, most_steps, planned_bits
from ddpmcodec.errors import ModelError
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics.fixed_point import fixed_log2


def small_curve(seed: int = 0, dims: int = 3072, levels: int = 4) -> ErrorCurve:
    """A curve of 2 * levels - 1 levels whose error falls unevenly."""
    falls = np.random.default_rng(seed).uniform(0.05, 2.0, levels)
    return ErrorCurve.from_floats(np.linspace(-5, 3, levels), np.exp(-np.cumsum(falls)), dims)


def ideal_rate(plan: Plan) -> float:
    return sum(plan.rate) / 256


@given(st.integers(1, (1 << 63) - 1), st.integers(0, 40))
def test_fixed_log2_is_the_logarithm(x: int, fraction: int):
    value = int(fixed_log2(np.array([x], np.uint64), fraction)[0]) / 65536
    assert value == pytest.approx(math.log2(x) - fraction, abs=4 / 65536)


def test_fixed_log2_is_exact_at_powers_of_two():
    powers = np.array([1 << i for i in range(64)], np.uint64)
    np.testing.assert_array_equal(fixed_log2(powers, 0), np.arange(64) << 16)


@pytest.mark.parametrize("steps", [1, 2, 7, 25])
def test_a_plan_has_the_steps_asked_for_and_rises(curve: ErrorCurve, steps: int):
    plan = make_plan(curve, steps)
    assert plan.steps == len(plan.rate) == steps
    assert plan.level(0) == -math.inf
    levels = [plan.level(n) for n in range(steps + 1)]
    assert levels == sorted(set(levels))
    assert set(levels[1:]) <= {level / 65536 for level in curve.log_snr}


def test_every_plan_ends_at_the_same_quality(curve: ErrorCurve):
    assert len({make_plan(curve, k).level(k) for k in range(1, most_steps(curve) + 1)}) == 1


def test_a_plan_ends_where_the_error_is_the_paper_s():
    log_snr = np.linspace(-8, 12, 60)
    curve = ErrorCurve.from_floats(log_snr, np.exp(-log_snr - 3), dims=3072)
    end = make_plan(curve, 10).level(10)
    assert 127.5 * math.sqrt(math.exp(-end - 3)) == pytest.approx(END_RMSE, rel=0.01)


@pytest.mark.parametrize("steps", [0, -1, 26, 10**6])
def test_too_few_or_too_many_steps_are_refused(curve: ErrorCurve, steps: int):
    with pytest.raises(ModelError, match="1 to 25"):
        make_plan(curve, steps)


def planned_by_hand(curve: ErrorCurve, path: tuple[int, ...]) -> Plan:
    """The plan through the given levels, its rates by the textbook formula in floats."""
    snr, mse = np.array(curve.snr) / 2**40, np.array(curve.mse) / 2**40
    rates = [curve.dims / 2 * math.log2(1 + mse[0] * snr[path[0]])]
    rates += [curve.dims / 2 * math.log2(1 + mse[i] * (snr[j] - snr[i])) for i, j in zip(path, path[1:], strict=False)]
    return Plan(tuple(curve.log_snr[i] / 65536 for i in path), tuple(int(r * 256) for r in rates), curve.dims)


@pytest.mark.parametrize("dims", [30, 3072])  # with few dimensions what a step costs on top decides
@pytest.mark.parametrize("seed", range(6))
def test_no_other_trajectory_is_cheaper(seed: int, dims: int):
    curve = small_curve(seed, dims)
    last = most_steps(curve) - 1
    for steps in range(1, last + 2):
        found = make_plan(curve, steps)
        others = [planned_by_hand(curve, (*path, last)) for path in combinations(range(last), steps - 1)]
        assert planned_bits(curve, found) <= min(planned_bits(curve, other) for other in others) + 0.05 * steps
        assert found.log_snr in {other.log_snr for other in others}


def weak_curve() -> ErrorCurve:
    """A curve whose error falls more slowly than noise does: one step of five bits a dimension is the cheapest way."""
    log_snr = np.linspace(-7, 7, 29)
    return ErrorCurve.from_floats(log_snr, (1 + np.exp(log_snr)) ** -0.9, dims=3072)


@pytest.mark.parametrize("steps", [7, 8, 13, 30, 57])
def test_no_step_asks_for_more_than_the_channel_carries(steps: int):
    curve = weak_curve()
    plan = make_plan(curve, steps)
    assert plan.steps == steps
    assert max(plan.rate) / 256 <= channel_of(None, curve.dims).max_bits(curve.dims)
    assert plan.level(steps) == make_plan(curve, 1).level(1)


@pytest.mark.parametrize("steps", range(2, 6))
def test_shorter_plans_stay_the_cheapest(steps: int):
    """Files go by them: those of good models ask for more than a bit a dimension, too."""
    curve = weak_curve()
    assert sum(make_plan(curve, steps).rate) == pytest.approx(make_plan(curve, 1).rate[0], rel=0.01)


def test_rates_are_the_closed_form():
    curve = small_curve()
    for steps in range(1, most_steps(curve) + 1):
        plan = make_plan(curve, steps)
        path = tuple(curve.log_snr.index(round(level * 65536)) for level in plan.log_snr)
        np.testing.assert_allclose(plan.rate, planned_by_hand(curve, path).rate, rtol=1e-3, atol=32)


def test_more_steps_never_raise_the_ideal_rate(model: CodecModel):
    white = replace(model.curve, spectrum=None, plans=())
    rates = [ideal_rate(make_plan(white, k)) for k in range(1, 61)]
    assert (np.diff(rates) <= 1).all()


def test_more_steps_hardly_ever_raise_the_rate_with_a_spectrum(model: CodecModel):
    """The steps are those best for white priors, so a step more may cost a little; in all, the spectrum still saves."""
    coloured = replace(model.curve, plans=())
    rates = np.array([ideal_rate(make_plan(coloured, k)) for k in range(1, 61)])
    assert (np.diff(rates) <= rates[:-1] / 1000).all()
    assert (rates < [ideal_rate(make_plan(replace(coloured, spectrum=None), k)) for k in range(1, 61)]).all()


def test_expected_bits_grow_with_the_picture(curve: ErrorCurve):
    plan = make_plan(curve, 10)
    for n in range(1, 11):
        bits = [plan.expected_bits(n, dims) for dims in (768, 3072, 12288)]
        assert bits == sorted(bits)
        assert bits[1] >= plan.rate[n - 1] // 256  # a real code never sends less than the ideal rate


def test_a_curve_survives_json(curve: ErrorCurve):
    again = ErrorCurve.from_dict(json.loads(json.dumps(curve.to_dict())))
    assert again == curve
    assert make_plan(again, 7) == make_plan(curve, 7)


def test_a_measured_error_that_rises_is_made_to_fall():
    mse = np.array([0.5, 0.1, 0.2, 0.01, 0.02])
    curve = ErrorCurve.from_floats(np.linspace(-4, 4, 5), mse, dims=3072)
    assert (np.diff(np.array(curve.mse)) <= 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"log_snr": None},
        {"mse": [1, 2]},
        {"snr": "abc"},
        {"dims": "many"},
        {"dims": 0},
        {"log_snr": [3, 2, 1]},
        {"snr": [5, 5, 6]},
        {"mse": [0, 1, 2]},
        {"mse": [1 << 61, 1, 1]},
        {"log_snr": [1], "snr": [1], "mse": [1]},
    ],
)
def test_a_malformed_curve_is_refused(change: dict):
    values = {"log_snr": [1, 2, 3], "snr": [1, 2, 3], "mse": [3, 2, 1], "dims": 3072}
    assert ErrorCurve.from_dict(values).dims == 3072
    with pytest.raises(ModelError, match="error curve"):
        ErrorCurve.from_dict(values | change)


@pytest.mark.parametrize("missing", ["log_snr", "snr", "mse", "dims"])
def test_a_curve_that_lacks_a_field_is_refused(curve: ErrorCurve, missing: str):
    with pytest.raises(ModelError, match=missing):
        ErrorCurve.from_dict({k: v for k, v in curve.to_dict().items() if k != missing})
