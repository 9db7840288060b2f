"""Learning tails: slopes that are the costs', whole numbers held exactly, both sides alike, and fewer bits for it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.bitstream.fields import LEARNING, in_order
from ddpmcodec.bitstream.header import Header, read_header
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.eval.studies.fit_tail import UNITS_WIDE
from ddpmcodec.io.images import to_plane
from ddpmcodec.lossless import TailLevel, decode_tail, encode_tail
from ddpmcodec.lossless.distribution import SLOPE, bits_of, slopes
from ddpmcodec.lossless.lattice import groups
from ddpmcodec.lossless.learning import _WEIGHT_BOUND, FINE, PART, Learner, rates
from ddpmcodec.lossless.network import HIDDEN_BOUND, WEIGHT, inputs, layers, mixtures, mixtures_of
from ddpmcodec.lossless.rounding import UNIT
from ddpmcodec.lossless.tail import symbol_bits
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics.philox import Key

LEVEL = TailLevel(log_snr=8 << 16, scale=2 * UNIT)
KEY = Key(3, 7)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Waves and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = (
        128 + 100 * np.sin(x / 9 + y / 13 + np.arange(3)[:, None, None]) + 2 * rng.standard_normal((3, height, width))
    )
    return np.clip(np.rint(base), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def missed(shown: NDArray[np.uint8], rms: float, bias: float = 0.0) -> NDArray[np.float32]:
    """A prediction (3, h, w) that misses the picture by noise, and by `bias` levels where red is bright."""
    rng = np.random.default_rng(1)
    plane = to_plane(shown)
    off = rms * rng.standard_normal(plane.shape) + bias * (plane[:1] > 0)
    return np.clip(plane + off / 127.5, -1, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("height", "width", "grey"), [(1, 1, False), (5, 70, False), (70, 81, False), (66, 90, True), (140, 280, False)]
)
def test_pictures_come_back_exactly_from_floats_that_differ(height: int, width: int, grey: bool) -> None:
    shown = picture(height, width)
    if grey:
        shown = np.repeat(shown[..., :1], 3, axis=2)
    prediction = missed(shown, 1.5)
    if grey:
        prediction = np.repeat(prediction[:1], 3, axis=0)
    data = encode_tail(shown, prediction, LEVEL, KEY, grey, learns=True)
    off = np.random.default_rng(9).uniform(-1, 1, (1 if grey else 3, height, width)) * 1.0e-3 / 127.5
    again = decode_tail(data, prediction + off.astype(np.float32), LEVEL, KEY, grey, learns=True)
    assert np.array_equal(again, shown)
    if shown.size > 3:
        with pytest.raises(FormatError):
            decode_tail(data, prediction, LEVEL, KEY, grey)


def test_damage_is_an_error() -> None:
    shown = picture(40, 50)
    prediction = missed(shown, 1.5)
    data = encode_tail(shown, prediction, LEVEL, KEY, learns=True)
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with pytest.raises(FormatError):
            decode_tail(bytes(damaged), prediction, LEVEL, KEY, learns=True)


def test_slopes_are_those_of_the_cost() -> None:
    rng = np.random.default_rng(2)
    own = rng.integers(0, 256 * UNIT, 4000)
    values = np.clip((own + rng.normal(0, 2.5 * UNIT, 4000)) / UNIT, 0, 255).astype(np.int64)
    out = np.stack(
        [*rng.normal(0, 1500, (2, 4000)), *rng.normal(-2000, 2500, (2, 4000)), rng.normal(2000, 4000, 4000)], 1
    ).astype(np.int64)
    found = slopes(mixtures_of(out, own, LEVEL.scale), values, LEVEL.scale) / 2**SLOPE
    for k, apart in enumerate((256, 256, 512, 512, 1024)):  # half a step of the scales' classes, and more
        move = np.zeros_like(out)
        move[:, k] = apart
        up, down = (np.array([bits_of(mixtures_of(o, own, LEVEL.scale), values)]) for o in (out + move, out - move))
        numeric = float((up - down)[0]) * math.log(2) / (2 * apart / 2**WEIGHT)
        clipped = np.abs(found[:, k]) >= 15.9
        assert clipped.mean() < 0.01
        assert found[:, k].sum() == pytest.approx(numeric, rel=0.06, abs=15)


def test_a_learner_begins_with_the_networks_as_they_are() -> None:
    rng = np.random.default_rng(3)
    for group, net, rate in zip(groups(), layers(), rates(), strict=True):
        own = rng.integers(0, 256 * UNIT, 50)
        errors = rng.integers(-3 * UNIT, 3 * UNIT, (50, len(group.known)))
        around = own[:, None] + rng.integers(-20 * UNIT, 20 * UNIT, (50, len(group.around)))
        x = inputs(errors, around, own, LEVEL.scale, LEVEL.log_snr)
        ours, theirs = Learner(net, rate).mixtures(x, own, LEVEL.scale), mixtures(net, x, own, LEVEL.scale)
        assert np.abs(ours.centre - theirs.centre).max() <= LEVEL.scale // 32  # biases have fewer digits here
        assert np.abs(ours.scale - theirs.scale).max() <= 1


def test_all_numbers_stay_whole_and_exact() -> None:
    """At the worst: inputs at their bounds, values that no mixture expects, hundreds of steps."""
    rng = np.random.default_rng(4)
    group, net, rate = groups()[11], layers()[11], rates()[11]
    learner = Learner(net, rate)
    for turn in range(200):
        x = rng.choice([-512.0, 512.0], (PART, len(group.known) + len(group.around) + 2))
        own = rng.integers(0, 256 * UNIT, PART)
        mixture = learner.mixtures(x, own, 64 * UNIT)
        learner.learn(np.full(PART, 255 * (turn % 2)), 64 * UNIT)
        assert all((m.min() >= 0, m.max() < 2**20) for m in (mixture.scale, mixture.odds + 96))
    for fine in learner._fine:
        assert np.array_equal(fine, np.floor(fine))
        assert np.abs(fine).max() <= _WEIGHT_BOUND
    # The largest sums that there can be, of slopes going back and of parts, against what float64 holds exactly.
    weight = _WEIGHT_BOUND >> FINE
    last = 16 << SLOPE
    second = 5 * last * weight >> WEIGHT
    first = UNITS_WIDE * second * weight >> WEIGHT
    sums = (PART * HIDDEN_BOUND * last, PART * HIDDEN_BOUND * second, PART * 512 * first, UNITS_WIDE * second * weight)
    assert max(sums) < 2**53


def test_learning_takes_bits_off_what_the_networks_were_not_trained_on() -> None:
    shown = picture(96, 128)
    prediction = np.rint((missed(shown, 1.0, bias=3.0).astype(np.float64) + 1) * 127.5 * UNIT).astype(np.int64)
    still, learning = (symbol_bits(shown, prediction, LEVEL, learns) for learns in (False, True))
    assert learning < 0.95 * still


def test_large_exact_pictures_learn_and_small_ones_do_not(model: CodecModel) -> None:
    large, small = picture(65, 65), picture(64, 64)
    data = ddpmcodec.encode(large, model=model, plan_steps=8, lossless=True, steps=6)
    assert read_header(data).learns
    assert np.array_equal(ddpmcodec.decode(data, model=model), large)
    assert not read_header(ddpmcodec.encode(small, model=model, plan_steps=8, lossless=True, steps=6)).learns
    lossy = ddpmcodec.truncate(data, steps=2, model=model)
    assert not read_header(lossy).fields
    assert lossy == ddpmcodec.encode(large, model=model, plan_steps=8, steps=2)


@pytest.mark.parametrize(("lossless", "data"), [(False, b""), (True, b"1")])
def test_a_header_that_says_it_wrongly_is_refused(lossless: bool, data: bytes) -> None:
    right = Header("12345678", 80, 80, lossless=True)
    with pytest.raises(DdpmCodecError, match="learns"):
        replace(right, lossless=lossless, fields=in_order([(LEARNING, data)]))
