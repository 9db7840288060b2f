from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ddpmcodec.channel.trellis import MAX_BLOCK_BITS, TrellisChannel
from ddpmcodec.diffusion.gaussians import ideal_bits
from ddpmcodec.numerics.philox import Key, gaussian

pytestmark = pytest.mark.usefixtures("each_search")
KEY = Key(11, 7)

# SHA-256 of one decoded codeword, before its last multiplication: the stream format (see test_codebook).
GOLDEN = "4c807a1780c383cc21bcafeb475286065acf618cce097fbe978cadacf225eeae"


def random_shift(channel: TrellisChannel, bits: int, dims: int, seed: int = 0) -> NDArray[np.float32]:
    """A shift in a random direction, as long as `bits` bits pay for."""
    w = np.random.default_rng(seed).normal(size=dims)
    return (w * math.sqrt(dims * channel.snr(bits, dims)) / np.linalg.norm(w)).astype(np.float32)


def random_code(channel: TrellisChannel, bits: int, dims: int, seed: int = 0) -> NDArray[np.int32]:
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, a.size, a.count) for a in channel.symbol_models(bits, dims)]
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int32)


def test_a_decoded_codeword_is_the_format_s():
    channel, bits, dims = TrellisChannel(12), 100, 3072
    z = channel.decode(random_code(channel, bits, dims, seed=4), bits, dims, KEY)
    integers = np.rint(z.astype(np.float64) * math.sqrt(1024 / (1 + channel.snr(bits, dims))))
    assert hashlib.sha256(integers.astype("<i4").tobytes()).hexdigest() == GOLDEN


@pytest.mark.parametrize("memory", [8, 10, 12, 13])
@pytest.mark.parametrize("dims", [768, 3072, 7680])
@pytest.mark.parametrize("bits", [1, 2, 15, 16, 17, 200])
def test_a_sample_is_exactly_as_long_as_the_prior_says(memory: int, dims: int, bits: int):
    channel = TrellisChannel(memory)
    z = channel.decode(random_code(channel, bits, dims), bits, dims, KEY)
    assert z.dtype == np.float32
    assert np.sum(z.astype(np.float64) ** 2) == pytest.approx(dims * (1 + channel.snr(bits, dims)), rel=1e-6)


@pytest.mark.parametrize("dims", [3 * 33 * 70, 3 * 33 * 33, 3 * 257 * 31])
def test_a_sample_of_any_size_is_about_as_long(dims: int):
    channel = TrellisChannel(8)
    z = channel.decode(random_code(channel, 100, dims), 100, dims, KEY)
    assert np.mean(z.astype(np.float64) ** 2) == pytest.approx(1 + channel.snr(100, dims), rel=0.05)


@pytest.mark.parametrize("bits", [0, 1, 5, 16, 31, 300])
def test_codes_fit_their_alphabets_and_decode_the_same_again(bits: int):
    channel, dims = TrellisChannel(9), 3072
    (code,) = channel.encode(random_shift(channel, bits or 1, dims)[None], [bits], KEY)
    sizes = [a.size for a in channel.symbol_models(bits, dims) for _ in range(a.count)]
    assert code.dtype == np.int32
    assert len(code) == len(sizes)
    assert sum(math.log2(size) for size in sizes) == bits
    assert all(0 <= symbol < size for symbol, size in zip(code, sizes, strict=True))
    np.testing.assert_array_equal(channel.decode(code, bits, dims, KEY), channel.decode(code, bits, dims, KEY))


@pytest.mark.parametrize("bits", [1, 16, 40])
def test_every_bit_of_a_code_matters(bits: int):
    channel, dims = TrellisChannel(8), 768
    code = random_code(channel, bits, dims)
    z = channel.decode(code, bits, dims, KEY)
    for bit in range(bits):
        other = code.copy()
        other[bit // 16] ^= 1 << (bit % 16 if bit // 16 < bits // 16 else bit % 16 % (bits % 16))
        assert not np.array_equal(z, channel.decode(other, bits, dims, KEY))


def test_no_two_steps_or_seeds_draw_the_same_sample():
    channel, code = TrellisChannel(8), random_code(TrellisChannel(8), 64, 768)
    samples = [channel.decode(code, 64, 768, Key(seed, step)) for seed in range(3) for step in range(1, 9)]
    assert np.abs(np.corrcoef(samples) - np.eye(len(samples))).max() < 0.2


@pytest.mark.parametrize("memory", [8, 12, 14])
def test_torch_and_numpy_and_any_batch_find_the_same_bits(memory: int):
    bits, dims = [0, 1, 2, 5, 300, 17], 3072
    channel = TrellisChannel(memory)
    shifts = np.stack([random_shift(channel, max(b, 1), dims, seed) for seed, b in enumerate(bits)])
    together = channel.encode(shifts, bits, KEY)
    on_torch = TrellisChannel(memory, torch.device("cpu")).encode(shifts, bits, KEY)
    for i, b in enumerate(bits):
        (alone,) = channel.encode(shifts[i : i + 1], [b], KEY)
        np.testing.assert_array_equal(together[i], alone)
        np.testing.assert_array_equal(together[i], on_torch[i])


def test_codes_searched_in_several_goes_are_the_same(monkeypatch: pytest.MonkeyPatch):
    channel, bits, dims = TrellisChannel(8, torch.device("cpu")), [30, 0, 50, 20], 768
    shifts = np.stack([random_shift(channel, 30, dims, seed) for seed in range(4)])
    whole = channel.encode(shifts, bits, KEY)
    monkeypatch.setattr("ddpmcodec.channel.trellis.SEARCHED_TOGETHER", 60)
    for one, other in zip(whole, channel.encode(shifts, bits, KEY), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_word_is_found(seed: int):
    # By trying all of them; metrics are rounded, so a word may win that is worse by a hair.
    channel, bits, dims = TrellisChannel(8), 8, 768
    shift = random_shift(channel, bits, dims, seed)
    (code,) = channel.encode(shift[None], [bits], KEY)
    every = np.array([channel.decode(np.array([c], np.int32), bits, dims, KEY) @ shift for c in range(1 << bits)])
    assert every[code[0]] >= every.max() - 1e-3 * np.abs(every).max()


@pytest.mark.parametrize("dims", [3 * 64 * 96, 3 * 70 * 90])
def test_long_steps_are_cut_into_blocks(dims: int):
    channel, bits = TrellisChannel(8), MAX_BLOCK_BITS + 1001
    shift = random_shift(channel, bits, dims)
    (code,) = channel.encode(shift[None], [bits], KEY)
    (again,) = TrellisChannel(8, torch.device("cpu")).encode(shift[None], [bits], KEY)
    np.testing.assert_array_equal(code, again)
    z = channel.decode(code, bits, dims, KEY)
    assert np.mean((z - shift).astype(np.float64) ** 2) == pytest.approx(1, abs=0.03)
    halves = slice(0, None, 2), slice(1, None, 2)
    for half in halves:
        assert z[half] @ shift[half] / (shift[half] @ shift[half]) == pytest.approx(1, abs=0.05)
    code[-1] ^= 1  # a bit of the second block moves its own dimensions only
    other = channel.decode(code, bits, dims, KEY)
    assert np.array_equal(z[halves[0]], other[halves[0]])
    assert not np.array_equal(z[halves[1]], other[halves[1]])


def test_no_bits_give_pure_shared_noise():
    channel, dims = TrellisChannel(12), 3072
    (code,) = channel.encode(random_shift(channel, 10, dims)[None], [0], KEY)
    assert len(code) == 0
    np.testing.assert_array_equal(channel.decode(code, 0, dims, KEY), gaussian(KEY, dims))


@pytest.mark.parametrize("shift", [np.zeros(768), np.full(768, 1e-30), np.eye(768)[3] * 40, np.full(768, 1e4)])
def test_an_odd_shift_is_coded_too(shift: NDArray[np.float64]):
    channel = TrellisChannel(8)
    (code,) = channel.encode(shift.astype(np.float32)[None], [50], KEY)
    z = channel.decode(code, 50, 768, KEY)
    assert np.isfinite(z).all()
    assert z @ shift >= 0


@given(st.integers(8, 16), st.integers(768, 100_000), st.floats(0, 1), st.floats(0, 1))
def test_more_bits_buy_more_but_never_more_than_their_due(memory: int, dims: int, one: float, other: float):
    channel = TrellisChannel(memory)
    fewer, more = sorted(int(x * channel.max_bits(dims)) for x in (one, other))
    assert channel.snr(0, dims) == 0
    assert fewer == more or channel.snr(fewer, dims) < channel.snr(more, dims)
    assert ideal_bits(channel.snr(more, dims), dims) <= more


@pytest.mark.parametrize(("memory", "bits"), [(10, 64), (10, 128), (12, 96)])
def test_the_channel_s_noise_is_white_and_gaussian(memory: int, bits: int):
    channel, dims, draws = TrellisChannel(memory), 3072, 300
    error, variance, fourth, neighbours, along = [], [], [], [], []
    for seed in range(draws):
        key, shift = Key(1, seed), random_shift(channel, bits, dims, seed).astype(np.float64)
        (code,) = channel.encode(shift.astype(np.float32)[None], [bits], key)
        noise = channel.decode(code, bits, dims, key) - shift
        u = shift / np.linalg.norm(shift)
        across = noise - (noise @ u) * u
        error.append(np.mean(noise**2))
        variance.append(across @ across / (dims - 1))
        fourth.append(np.mean(across**4))
        neighbours.append(np.mean(across[1:] * across[:-1]))
        along.append(noise @ u / np.linalg.norm(shift))
    assert np.mean(error) == pytest.approx(1, abs=0.01)
    assert np.mean(variance) == pytest.approx(1, abs=0.01)
    assert np.mean(fourth) / np.mean(variance) ** 2 == pytest.approx(3, abs=0.05)
    assert np.mean(neighbours) == pytest.approx(0, abs=0.01)
    assert np.mean(along) == pytest.approx(0, abs=0.01)  # no bias towards or away from the shift


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9, 1.0])
def test_the_noise_is_as_strong_as_it_should_be_where_bits_are_many(share: float):
    """Near one bit a dimension the +-1 symbol_model loses much, and the scale has to know."""
    dims, channel = 768, TrellisChannel(10)
    bits, errors = int(dims * share), []
    for seed in range(8):
        key, shift = Key(2, seed), random_shift(channel, bits, dims, seed)
        (code,) = channel.encode(shift.astype(np.float32)[None], [bits], key)
        errors.append(np.mean((channel.decode(code, bits, dims, key) - shift) ** 2))
    assert np.mean(errors) == pytest.approx(1, abs=0.04)
