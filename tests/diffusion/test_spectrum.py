"""The spectrum's whole numbers: tiles, bands, groups and their powers, and how it is stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import make_plan
from ddpmcodec.diffusion.spectrum import (
    CLASSES,
    MOST_GROUPS,
    POWER_FRACTION,
    SPACING,
    Spectrum,
    bands,
    by_power,
    class_counts,
    group_count,
    group_edges,
    group_power,
    tiles,
)
from ddpmcodec.errors import ModelError
from tests.conftest import class_variances, spectral_curve

SIDES = st.integers(3, 150)
ROWS = st.lists(st.integers(-255, 255), min_size=CLASSES, max_size=CLASSES).map(tuple)


@given(st.integers(1, 10_000))
def test_tiles_cover_a_side_in_nearly_equal_shares(length: int):
    runs = tiles(length)
    assert sum(count * size for count, size in runs) == length
    sizes = [size for _, size in runs]
    assert max(sizes) - min(sizes) <= 1
    assert min(length, 22) <= min(sizes) <= max(sizes) <= 48


def test_bands_are_radii():
    found = bands(32, 32)
    assert (found[0, 0], found[0, 5], found[3, 4], found[31, 0], found[31, 31]) == (0, 5, 5, 31, 31)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(bands(64, 96), np.tile(found, (2, 3)))  # tiles of their own
    assert class_counts(32, 32).sum() == 3072


@given(ROWS, SIDES, SIDES)
def test_groups_have_the_mean_power_of_their_coefficients(row: tuple[int, ...], height: int, width: int):
    power = np.array(group_power(row, height, width)) / (1 << POWER_FRACTION)
    each = np.repeat(2.0 ** (np.array(row)[by_power(row)] / 16), class_counts(height, width)[by_power(row)])
    edges = group_edges(3 * height * width)
    expected = np.array([each[a:b].mean() for a, b in zip(edges, edges[1:], strict=False)]) / each.mean()
    np.testing.assert_allclose(power, expected, rtol=1e-4, atol=2 / (1 << POWER_FRACTION))
    assert (np.diff(power) <= 0).all()


def test_a_measured_spectrum_is_rounded_by_a_sixteenth_of_an_octave():
    counts, energy = class_counts(32, 32), np.array([class_variances(), 3 * class_variances()])
    spectrum = Spectrum.from_floats([0, SPACING], energy * counts, counts)
    assert spectrum.log_snr == (0, SPACING)
    for row in spectrum.power:
        error = np.array(row) / 16 - np.log2(class_variances())
        assert np.ptp(error) <= 1 / 16 + 1e-9


def test_close_levels_share_a_row_and_missing_bands_take_a_neighbour_s():
    counts = class_counts(8, 8)
    assert (counts == 0).any()
    energy = np.ones((5, CLASSES)) * np.arange(1, 6)[:, None] * counts
    spectrum = Spectrum.from_floats([0, SPACING // 2, SPACING, SPACING + 1, 3 * SPACING], energy, counts)
    assert spectrum.log_snr == (0, SPACING, 3 * SPACING)
    assert set(spectrum.power) == {(0,) * CLASSES}


def test_no_error_at_all_has_no_spectrum():
    with pytest.raises(ModelError, match="no error"):
        Spectrum.from_floats([0], np.zeros((1, CLASSES)), class_counts(32, 32))


def test_rows_between_two_are_in_proportion():
    spectrum = Spectrum((-65536, 0, 65536), tuple((i,) * CLASSES for i in (-10, 0, 100)))
    found = [spectrum.row(level)[0] for level in (float("-inf"), -5.0, -1.0, -0.55, 0.0, 0.5, 0.999, 1.0, 9.0)]
    assert found == [-10, -10, -10, -6, 0, 50, 99, 100, 100]


def test_a_spectrum_of_one_row_has_it_everywhere():
    assert {Spectrum((0,), ((7,) * CLASSES,)).row(level)[0] for level in (float("-inf"), -1.0, 0.0, 1.0)} == {7}


@pytest.mark.parametrize(
    ("log_snr", "power"),
    [((), ()), ((0, 0), ((0,) * 96,) * 2), ((0,), ((0,) * 95,)), ((0,), ((256,) * 96,)), ((0, 1), ((0,) * 96,))],
)
def test_bad_spectra_are_refused(log_snr: tuple[int, ...], power: tuple[tuple[int, ...], ...]):
    with pytest.raises(ModelError, match="spectrum"):
        Spectrum(log_snr, power)


def test_curves_come_back_from_what_is_stored(curve: ErrorCurve):
    coloured = spectral_curve()
    assert ErrorCurve.from_dict(coloured.to_dict()) == coloured
    assert "spectrum" not in curve.to_dict()
    with pytest.raises(ModelError, match="not understood"):
        ErrorCurve.from_dict(coloured.to_dict() | {"spectrum": {"log_snr": [0], "power": [[0.5] * 96]}})
    with pytest.raises(ModelError, match="square"):
        replace(coloured, dims=3 * 32 * 31)


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_plans_expect_fewer_bits_on_the_same_levels(steps: int):
    coloured = spectral_curve()
    plan, white = make_plan(coloured, steps), make_plan(replace(coloured, spectrum=None), steps)
    assert plan.log_snr == white.log_snr
    assert all(0 < a <= b for a, b in zip(plan.rate, white.rate, strict=True))
    assert sum(plan.rate) < 0.98 * sum(white.rate)
    for n, rate in enumerate(plan.rate, 1):  # by the formula, in floats
        level = -6.0 if n == 1 else plan.level(n - 1)
        snr = float(np.exp(plan.level(n)) - (0 if n == 1 else np.exp(level)))
        ratio = float(coloured.expected_mse(np.array(level))) * snr
        power = np.array(group_power(coloured.spectrum.row(level), 32, 32)) / (1 << POWER_FRACTION)  # type: ignore[union-attr]
        assert rate / 256 == pytest.approx(3072 / 2 * np.log2(1 + ratio * power).mean(), rel=1e-3, abs=0.02)


def test_a_canvas_smaller_than_the_groups_is_refused():
    with pytest.raises(ModelError, match="at least 24"):
        group_power((0,) * CLASSES, 2, 3)


def test_small_pictures_have_few_groups_and_large_ones_no_more_than_are_of_use():
    assert [group_count(3 * side**2) for side in (3, 32, 64, 256, 4096)] == [24, 24, 96, 768, 768]


def test_group_powers_fill_the_plan_s_range():
    row = tuple([255] + [-255] * 95)
    assert group_power(row, 512, 512)[0] <= MOST_GROUPS << POWER_FRACTION
