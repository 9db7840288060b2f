from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.bitstream.short_step import ShortStep
from ddpmcodec.channel.base import Channel
from ddpmcodec.channel.random_coding import RandomCodingChannel
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.diffusion.schedule import snr_of

PLAN = Plan(log_snr=(-5.0, -3.0, -2.0, 1.0), rate=(2560, 7680, 10240, 25600), dims=768)
CHANNELS = st.sampled_from([TrellisChannel(8), RandomCodingChannel(8)])


def step_of(channel: Channel, expected: int, n: int = 2, dims: int = 768) -> ShortStep:
    return ShortStep(PLAN, channel, dims, n, expected)


@given(CHANNELS, st.integers(0, 768), st.integers(0, 3), st.integers(1, 768), st.integers(1, 768))
def test_more_bits_go_further_but_never_beyond_the_next_level(
    channel: Channel, expected: int, n: int, one: int, other: int
):
    step, (fewer, more) = step_of(channel, expected, n), sorted((one, other))
    low, high = step.log_snr(fewer), step.log_snr(more)
    assert PLAN.level(n) < low <= high <= PLAN.level(n + 1)
    assert step.log_snr(max(expected, 1)) == PLAN.level(n + 1)


@given(CHANNELS, st.integers(2, 768), st.integers(0, 3), st.integers(1, 768))
def test_bits_buy_their_level(channel: Channel, expected: int, n: int, bits: int):
    # The error that the expected bits stand for, times the gain of SNR, is what the channel says that the bits buy.
    step = step_of(channel, expected, n)
    start, end = snr_of(PLAN.level(n)), snr_of(PLAN.level(n + 1))
    error = channel.snr(expected, 768) / (end - start)
    gain = snr_of(step.log_snr(bits)) - start
    assert error * gain == pytest.approx(min(channel.snr(bits, 768), channel.snr(expected, 768)), rel=1e-6)


@pytest.mark.parametrize("dims", [768, 3072, 3 << 18, 3 << 26])
@pytest.mark.parametrize("expected", [0, 1, 17, 300, 7000, 10**6, 10**8])
@pytest.mark.parametrize("channel", [TrellisChannel(12), RandomCodingChannel(14)], ids=["trellis", "orc"])
def test_every_count_up_to_the_most_has_a_name_of_its_own(channel: Channel, expected: int, dims: int):
    step = step_of(channel, expected, dims=dims)
    usual = step.counts(0)[1].size
    counts = {0, 1, usual - 1, usual, usual + 1, step.most_bits // step.unit}
    names = set()
    for count in (c for c in counts if 0 <= c <= step.most_bits // step.unit):
        symbol_models, symbols = step.symbols(count * step.unit)
        assert all(0 <= s < a.size <= 1 << 22 for a, s in zip(symbol_models, symbols, strict=True))
        assert symbol_models[0] == step.rare()
        first, model = step.counts(int(symbols[0]))
        assert (model, first + symbols[1]) == (symbol_models[1], count)
        names.add(tuple(symbols))
    assert len(names) == len([c for c in counts if 0 <= c <= step.most_bits // step.unit])


@pytest.mark.parametrize("expected", [17, 300, 7000, 10**6])
def test_counting_is_fine_enough_to_spend_a_budget(expected: int):
    step = step_of(TrellisChannel(12), expected, dims=3 << 20)
    assert step.unit <= max(1, expected // 500)
    # and what is usually left of one is cheap to name
    symbol_models, symbols = step.symbols(expected // step.unit * step.unit)
    assert symbols[0] == 0
    assert math.log2(symbol_models[1].size) <= min(15, math.log2(2 * expected + 17))


def test_names_are_integers_of_one_type():
    _, symbols = step_of(TrellisChannel(12), 100).symbols(5)
    assert symbols.dtype == np.int32
