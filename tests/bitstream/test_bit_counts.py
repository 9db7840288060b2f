from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.bitstream.bit_counts import BitCountModel, _frequencies, grid, place
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import make_plan


@given(st.integers(0, 1 << 28))
def test_the_grid_rises_from_0_and_stays_below_its_bound(max_bits: int):
    values = grid(max_bits)
    assert values[0] == 0
    assert values[-1] <= max_bits
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("max_bits", [768, 3072, 12 << 20])
def test_the_grid_is_dense_enough_for_any_count(max_bits: int):
    values = grid(max_bits)
    assert values[:9] == tuple(range(9))
    assert max(b / a for a, b in zip(values[8:], values[9:], strict=False)) < 1.25
    assert max_bits / values[-1] < 1.2


@pytest.mark.parametrize("max_bits", [0, 1, 8, 768, 3072, 1 << 20])
def test_place_inverts_the_grid(max_bits: int):
    values = grid(max_bits)
    assert [place(bits, values) for bits in values] == [256 * i for i in range(len(values))]


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_place_is_monotone_and_bounded(one: int, other: int):
    values = grid(3072)
    low, high = (place(bits, values) for bits in sorted((one, other)))
    assert 0 <= low <= high <= 256 * (len(values) - 1)


@given(st.integers(-(1 << 24), 1 << 24), st.integers(90, 1 << 20), st.integers(1, 120))
def test_frequencies_are_a_distribution_wherever_the_centre_is(centre: int, spread: int, count: int):
    frequencies = np.array(_frequencies(centre, spread, count))
    assert len(frequencies) == count + 1
    assert frequencies.sum() == 1 << 16
    assert frequencies.min() >= 1


@given(st.integers(0, 59), st.integers(90, 2000))
def test_the_centre_is_the_likeliest_place(index: int, spread: int):
    frequencies = np.array(_frequencies(256 * index, spread, 60))[1:]
    assert frequencies.argmax() == index
    assert (np.diff(frequencies[: index + 1]) >= 0).all()
    assert (np.diff(frequencies[index:]) <= 0).all()


@given(st.lists(st.integers(0, 10**6), max_size=25), st.floats(0, 1e7))
def test_any_history_leaves_a_model_that_can_code_anything(curve: ErrorCurve, history: list[int], wanted: float):
    model = BitCountModel(make_plan(curve, 25), TrellisChannel(8), 3072)
    for index in history[:24]:
        model.update(index % len(model.values))
    symbol_model = model.symbol_model()
    assert symbol_model.size == len(model.values) + 1 == len(symbol_model.frequencies)
    assert min(symbol_model.frequencies) >= 1
    assert 0 <= model.choose(wanted) < len(model.values)


def test_equal_histories_give_equal_models(curve: ErrorCurve):
    one, other = (BitCountModel(make_plan(curve, 10), TrellisChannel(8), 3072) for _ in range(2))
    for index in (20, 3, 25, 8):
        assert one.symbol_model() == other.symbol_model()
        one.update(index)
        other.update(index)


def test_choose_stays_near_what_is_wanted(curve: ErrorCurve):
    model = BitCountModel(make_plan(curve, 10), TrellisChannel(8), 3072)
    for place_wanted, wanted in enumerate(model.values):
        assert abs(model.choose(wanted) - place_wanted) <= 2


def test_a_picture_that_costs_more_is_soon_expected_to(curve: ErrorCurve):
    model = BitCountModel(make_plan(curve, 10), TrellisChannel(8), 3072)
    costs = []
    for _ in range(10):
        frequencies = model.symbol_model().frequencies
        index = len(model.values) - 3  # far above the plan, every time
        costs.append(-np.log2(frequencies[index + 1] / sum(frequencies)))
        model.update(index)
    assert costs[-1] < costs[0] / 2


@given(st.lists(st.integers(0, 10**6), max_size=9))
def test_the_expected_bits_lie_where_the_likeliest_count_does(curve: ErrorCurve, history: list[int]):
    model = BitCountModel(make_plan(curve, 10), TrellisChannel(8), 3072)
    for index in history:
        model.update(index % len(model.values))
    likeliest, expected = int(np.argmax(model.symbol_model().frequencies[1:])), model.expected_bits()
    assert 0 <= expected <= model.values[-1]
    assert abs(np.interp(expected, model.values, range(len(model.values))) - likeliest) <= 1


def test_before_the_first_count_the_plan_is_expected(curve: ErrorCurve):
    plan = make_plan(curve, 10)
    assert BitCountModel(plan, TrellisChannel(8), 3072).expected_bits() == pytest.approx(
        plan.expected_bits(1, 3072), abs=1
    )
