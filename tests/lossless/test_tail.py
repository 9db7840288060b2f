"""The lossless tail: equal integers from unequal floats, contexts that only look back, exact pictures or an error."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import FormatError
from ddpmcodec.io.images import to_plane
from ddpmcodec.lossless import TailLevel, decode_tail, encode_tail
from ddpmcodec.lossless.distribution import TOTAL, frequencies, make_tables, tables
from ddpmcodec.lossless.lattice import RADIUS, bands, groups, neighbours
from ddpmcodec.lossless.network import LEAST_SCALE, MIX_BOUND, MOST_SCALE, WEIGHTS, Mixtures, inputs, layers, mixtures
from ddpmcodec.lossless.rounding import BLOCK, CELL, ESCAPE, TOLERANCE, UNIT, blocks, choose, rounded, try_model
from ddpmcodec.numerics.philox import Key

LEVEL = TailLevel(log_snr=8 << 16, scale=2 * UNIT)
KEY = Key(3, 7)


def noisy(picture: NDArray[np.uint8], rms: float, seed: int = 0) -> NDArray[np.float32]:
    """A prediction (3, h, w) that misses the picture by `rms` levels."""
    rng = np.random.default_rng(seed)
    plane = to_plane(picture)
    return np.clip(plane + rng.standard_normal(plane.shape).astype(np.float32) * np.float32(rms / 127.5), -1, 1)


def random_picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth, with noise on top, and both ends of the range in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 128 + 140 * np.sin(x / 9 + y / 13 + np.arange(3)[:, None, None])
    return np.clip(base + 3 * rng.standard_normal(base.shape), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


# --- rounding


@given(st.integers(0, 2**32), st.integers(1, 2 * BLOCK), st.floats(0, 0.98))
def test_floats_within_the_tolerance_round_alike(seed: int, count: int, part: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 256, count) * UNIT
    moved = values + rng.choice([-1, 1], count) * part * TOLERANCE
    for block in blocks(count):
        chosen = choose(values[block], KEY)
        ours, theirs = rounded(values[block], KEY, chosen), rounded(moved[block], KEY, chosen)
        assert np.array_equal(ours, theirs)
        assert np.abs(ours - values[block]).max() <= CELL / 2


@pytest.mark.parametrize("value", [0.0, 255.0 * UNIT, 127.5 * UNIT, 100.25])
def test_a_flat_picture_can_be_rounded(value: float) -> None:
    chosen = choose(np.full(BLOCK, value), KEY)
    assert chosen < 1000


def test_without_the_choice_floats_would_round_apart() -> None:
    values = np.random.default_rng(0).uniform(0, 255, 64 * BLOCK) * UNIT
    ours, theirs = rounded(values, KEY, 0), rounded(values + 0.9 * TOLERANCE, KEY, 0)
    assert 0.001 < np.mean(ours != theirs) < 0.01


def test_naming_a_dither_costs_what_the_docstring_says() -> None:
    rng, tries = np.random.default_rng(1), []
    for i in range(60):
        tries.append(choose(rng.uniform(0, 255, BLOCK) * UNIT, Key(0, i)))
    frequencies_ = np.array(try_model(BLOCK).frequencies)
    bits = [(t // ESCAPE) * -math.log2(frequencies_[ESCAPE] / (1 << 20)) for t in tries]
    bits = [b - math.log2(frequencies_[t % ESCAPE] / (1 << 20)) for b, t in zip(bits, tries, strict=True)]
    assert 0.011 < np.mean(bits) / BLOCK < 0.017


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(FormatError, match="not finite"):
        choose(np.full(4, np.nan), KEY)


@pytest.mark.parametrize("size", [1, 3, 100, BLOCK])
def test_frequencies_of_tries_sum_to_a_power_of_two_and_fall(size: int) -> None:
    values = try_model(size).frequencies
    assert values is not None
    assert sum(values) == 1 << 20
    assert min(values) >= 1
    assert all(a >= b for a, b in zip(values[:ESCAPE], values[1:ESCAPE], strict=False))


# --- lattice


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (4, 3), (33, 18)])
def test_groups_visit_every_sub_pixel_once(height: int, width: int) -> None:
    visits = np.zeros((3, height, width), np.int64)
    for group in groups():
        assert group.of(visits).shape == group.shape(height, width)
        group.of(visits)[:] += 1
    assert (visits == 1).all()


def test_known_neighbours_belong_to_earlier_groups_and_gather_as_named() -> None:
    height, width = 7, 10
    when = np.full((3, height, width), -1, np.int64)
    for turn, group in enumerate(groups()):
        group.of(when)[:] = turn
    margin = ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS))
    padded = np.pad(when, margin, constant_values=-1)
    for turn, group in enumerate(groups()):
        rows, columns = group.shape(height, width)
        known = neighbours(padded, group, group.known, slice(0, rows), columns)
        assert known.shape == (rows * columns, len(group.known))
        assert (known < turn).all()
        for k, (c, dy, dx) in enumerate(group.known[:5]):
            y, x = group.row + dy + 2, group.column + dx + 2  # of the member in the second row and column
            if 0 <= y < height and 0 <= x < width:
                assert known[columns + 1, k] == when[c, y, x]


def test_bands_cover_a_groups_rows() -> None:
    group = groups()[0]
    covered = [row for band in bands(group, 999, 400) for row in range(band.start, band.stop)]
    assert covered == list(range(group.shape(999, 400)[0]))
    assert not list(bands(groups()[3], 1, 1))


# --- networks and distributions


def test_the_networks_sums_are_exact() -> None:
    rng = np.random.default_rng(0)
    for group, net in zip(groups(), layers(), strict=True):
        n = 50
        known = rng.integers(-255 * UNIT, 255 * UNIT, (n, len(group.known)))
        around, own = rng.integers(0, 255 * UNIT, (n, len(group.around))), rng.integers(0, 255 * UNIT, n)
        x = inputs(known, around, own, LEVEL.scale, LEVEL.log_snr)
        assert x.shape[1] == len(net.w[0])
        assert np.array_equal(x, np.rint(x))
        order = rng.permutation(x.shape[1])
        exact = x.astype(np.int64) @ net.w[0].astype(np.int64)
        assert np.array_equal(x[:, order] @ net.w[0][order], exact)
        found = mixtures(net, x, own, LEVEL.scale)
        assert found.scale.min() >= LEAST_SCALE
        assert found.scale.max() <= MOST_SCALE
        assert np.abs(found.odds).max() <= MIX_BOUND


def test_frequencies_are_those_of_the_mixture() -> None:
    mixture = Mixtures(np.array([[100 * UNIT, 103 * UNIT]]), np.array([[9 * 8, 10 * 8 + 4]]), np.array([8]))
    found = frequencies(mixture)[0]
    from statistics import NormalDist

    share = 1 / (1 + math.exp(-0.5))
    narrow, wide = NormalDist(100, 1.0), NormalDist(103, 2.0**1.5)
    expected = [
        share * (narrow.cdf(k + 0.5) - narrow.cdf(k - 0.5)) + (1 - share) * (wide.cdf(k + 0.5) - wide.cdf(k - 0.5))
        for k in range(256)
    ]
    assert np.abs(found / found.sum() - expected).max() < 0.005


@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 18), 1 << 18), st.integers(LEAST_SCALE, MOST_SCALE), st.integers(-MIX_BOUND, MIX_BOUND)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_frequencies_are_positive_whole_numbers_of_one_sum(rows: list[tuple[int, int, int]]) -> None:
    centre, scale, odds = (np.array(v) for v in zip(*rows, strict=True))
    found = frequencies(Mixtures(np.stack([centre, -centre], 1), np.stack([scale, scale[::-1]], 1), odds))
    assert found.min() >= 1
    assert np.array_equal(found, np.rint(found))
    assert len(set(found.sum(axis=1))) == 1
    assert found.sum(axis=1)[0] < 1 << (TOTAL + 1)


def test_shipped_tables_are_those_of_make_tables() -> None:
    for name, made in make_tables().items():
        assert np.abs(tables()[name] - made).max() <= 1  # a machine's own may differ in the last place


def test_the_shipped_weights_are_this_formats() -> None:
    """Streams hold nothing of them, so a change of these numbers is a change of the format's version."""
    with np.load(WEIGHTS, allow_pickle=False) as file:
        digest = hashlib.sha256()
        for name in sorted(file.files):
            digest.update(name.encode() + np.ascontiguousarray(file[name].astype("<i4")).tobytes())
    assert digest.hexdigest()[:16] == "99e75903963b8b7b"


# --- the tail


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 1), (32, 32), (33, 18)])
def test_pictures_come_back_exactly_from_floats_that_differ(height: int, width: int) -> None:
    picture = random_picture(height, width)
    prediction = noisy(picture, 2.0)
    data = encode_tail(picture, prediction, LEVEL, KEY)
    off = np.random.default_rng(9).uniform(-1, 1, prediction.shape) * 1.0e-3 / 127.5
    assert np.array_equal(decode_tail(data, prediction, LEVEL, KEY), picture)
    assert np.array_equal(decode_tail(data, prediction + off.astype(np.float32), LEVEL, KEY), picture)


@pytest.mark.parametrize(("log_snr", "scale"), [(-5, 60 * UNIT), (3, 9 * UNIT), (10, UNIT // 4)])
def test_any_level_and_any_error_round_trips(log_snr: int, scale: int) -> None:
    level = TailLevel(log_snr << 16, scale)
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (20, 21, 3)).astype(np.uint8)
    prediction = rng.uniform(-1, 1, (3, 20, 21)).astype(np.float32)
    assert np.array_equal(decode_tail(encode_tail(picture, prediction, level, KEY), prediction, level, KEY), picture)


def test_pictures_of_several_bands_and_parts_round_trip() -> None:
    picture = random_picture(150, 300)
    prediction = noisy(picture, 1.5)
    data = encode_tail(picture, prediction, LEVEL, KEY)
    assert np.array_equal(decode_tail(data, prediction, LEVEL, KEY), picture)


def test_independent_errors_cost_about_their_entropy() -> None:
    picture = np.full((64, 64, 3), 120, np.uint8)
    rng = np.random.default_rng(4)
    picture += np.rint(2 * rng.standard_normal(picture.shape)).astype(np.int8).astype(np.uint8)
    flat = np.full((3, 64, 64), 120 / 127.5 - 1, np.float32)
    bits = 8 * len(encode_tail(picture, flat, LEVEL, KEY)) / picture.size
    entropy = 0.5 * math.log2(2 * math.pi * math.e * 4)
    assert entropy < bits < entropy + 0.7  # the networks know errors that colours share, and these have none in common


def test_floats_beyond_the_tolerance_are_an_error_not_a_wrong_picture() -> None:
    picture = random_picture(32, 32)
    prediction = noisy(picture, 2.0)
    data = encode_tail(picture, prediction, LEVEL, KEY)
    for off in (0.05, 1.0):
        with pytest.raises(FormatError, match=r"CRC-32|damaged"):
            decode_tail(data, prediction + np.float32(off / 127.5), LEVEL, KEY)


def test_damage_is_an_error() -> None:
    picture = random_picture(16, 16)
    prediction = noisy(picture, 2.0)
    data = encode_tail(picture, prediction, LEVEL, KEY)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with pytest.raises(FormatError):
            decode_tail(bytes(damaged), prediction, LEVEL, KEY)
    for size in range(0, len(data), 7):
        with pytest.raises(FormatError):
            decode_tail(data[:size], prediction, LEVEL, KEY)


def test_the_levels_scale_is_the_curves_error(curve: ErrorCurve) -> None:
    level = TailLevel.of(curve, curve.log_snr[-1] / 65536)
    rms = 127.5 * math.sqrt(curve.mse[-1] / 2**40)
    assert level.log_snr == curve.log_snr[-1]
    assert level.scale / UNIT == pytest.approx(min(rms, 64), rel=0.01)
