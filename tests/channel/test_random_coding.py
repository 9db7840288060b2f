from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ddpmcodec.channel.random_coding import RandomCodingChannel, zipf
from ddpmcodec.numerics.philox import Key, gaussian

KEY = Key(11, 7)


def random_shift(bits: int, dims: int, seed: int = 0) -> NDArray[np.float32]:
    w = np.random.default_rng(seed).normal(size=dims)
    snr = RandomCodingChannel().snr(bits, dims)
    return (w * math.sqrt(dims * snr) / np.linalg.norm(w)).astype(np.float32)


@pytest.mark.parametrize("log2_candidates", [8, 10, 14])
@pytest.mark.parametrize("divergence", [1, 2, 4, 8])
def test_zipf_frequencies_are_a_falling_distribution(divergence: int, log2_candidates: int):
    frequencies = np.array(zipf(divergence, log2_candidates))
    assert len(frequencies) == 1 << log2_candidates
    assert frequencies.sum() == 1 << 22
    assert frequencies.min() >= 1
    assert (np.diff(frequencies) <= 0).all()


def test_zipf_follows_theis_and_yosri_s_exponent():
    frequencies = np.array(zipf(4, 14), np.float64)
    n = np.arange(1, 200)  # beyond, rounding to integers shows
    expected = n ** -(1 + 1 / (4 + math.log2(math.e) / math.e + 1))
    np.testing.assert_allclose(frequencies[n - 1] / frequencies[1], expected / expected[1], rtol=0.05)


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 8])
def test_codes_fit_their_alphabets_and_decode_the_same_again(bits: int):
    channel, dims = RandomCodingChannel(8), 192
    (code,) = channel.encode(random_shift(bits, dims)[None], [bits], KEY)
    (symbol_model,) = channel.symbol_models(bits, dims)
    assert code.dtype == np.int32
    assert len(code) == symbol_model.count
    assert ((code >= 0) & (code < symbol_model.size)).all()
    z = channel.decode(code, bits, dims, KEY)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z, channel.decode(code, bits, dims, KEY))


def test_any_batch_finds_the_same_codes():
    channel, bits, dims = RandomCodingChannel(8), [0, 3, 5], 192
    shifts = np.stack([random_shift(4, dims, seed) for seed in range(3)])
    for i, code in enumerate(channel.encode(shifts, bits, KEY)):
        np.testing.assert_array_equal(code, channel.encode(shifts[i : i + 1], bits[i : i + 1], KEY)[0])


def test_candidates_scored_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch):
    channel, shift = RandomCodingChannel(10), random_shift(8, 192)[None]
    (whole,) = channel.encode(shift, [8], KEY)
    monkeypatch.setattr("ddpmcodec.channel.random_coding._SCORED_AT_A_TIME", 96 * 100)
    np.testing.assert_array_equal(channel.encode(shift, [8], KEY)[0], whole)


@pytest.mark.parametrize("log2_candidates", [10, 12])
def test_the_sample_reaches_its_shift(log2_candidates: int):
    channel, bits, dims, draws = RandomCodingChannel(log2_candidates), 4, 16, 600
    along, error = [], []
    for seed in range(draws):
        shift, key = random_shift(bits, dims, seed), Key(2, seed)
        (code,) = channel.encode(shift[None], [bits], key)
        z = channel.decode(code, bits, dims, key)
        along.append(z @ shift / (shift @ shift))
        error.append(np.mean((z - shift) ** 2))
    assert np.mean(along) == pytest.approx(1, abs=0.05)
    assert np.mean(error) == pytest.approx(1, abs=0.05)


def test_no_bits_give_pure_shared_noise():
    channel, dims = RandomCodingChannel(8), 3072
    (code,) = channel.encode(random_shift(5, dims)[None], [0], KEY)
    assert len(code) == 0
    assert channel.symbol_models(0, dims) == []
    assert channel.snr(0, dims) == 0
    np.testing.assert_array_equal(channel.decode(code, 0, dims, KEY), gaussian(KEY, dims))
