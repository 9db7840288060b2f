from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ddpmcodec.numerics.philox import ARRIVALS, CANDIDATES, NOISE, SAMPLING, TRELLIS, Key, gaussian, philox4x32


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(counter: str, key: str, words: str):
    low, high = (int(word, 16) for word in key.split())
    found = philox4x32(tuple(np.array([int(word, 16)], np.uint64) for word in counter.split()), low | high << 32)
    assert " ".join(f"{word:08x}" for word in found[0]) == words


def test_no_two_keys_share_their_words():
    seeds, steps, purposes = (
        (0, 1, 1 << 32, (1 << 64) - 1),
        (0, 1, 50),
        (NOISE, TRELLIS, CANDIDATES, ARRIVALS, SAMPLING),
    )
    keys = [Key(*parts) for parts in product(seeds, steps, purposes, (0, 1, 7))]
    words = np.stack([key.words(64) for key in keys])
    assert len({row.tobytes() for row in words}) == len(keys)
    # Nor are they each other's shifts: 27 thousand random 32-bit words collide 0.02 times or so.
    assert len(np.unique(words[:36])) == words[:36].size


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 1000])
@pytest.mark.parametrize("skip", [0, 4, 400])
def test_skipping_words_gives_a_slice_of_the_longer_sequence(count: int, skip: int):
    key = Key(123, 4, TRELLIS, 2)
    np.testing.assert_array_equal(key.words(count, skip), key.words(2000)[skip : skip + count])


def test_a_key_gives_the_same_words_again():
    np.testing.assert_array_equal(Key(9, 8).words(100), Key(9, 8).words(100))


def test_words_are_uniform():
    words = Key(1, 2).words(1 << 16)
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.01


def test_gaussian_moments():
    z = gaussian(Key(3, 0), 1 << 20).astype(np.float64)
    assert z.mean() == pytest.approx(0, abs=0.005)
    assert z.var() == pytest.approx(1, abs=0.01)
    assert np.mean(z**3) == pytest.approx(0, abs=0.02)
    assert np.mean(z**4) == pytest.approx(3, abs=0.05)
    assert np.mean(z[1:] * z[:-1]) == pytest.approx(0, abs=0.005)


def test_gaussian_numbers_are_integers_in_disguise():
    z = gaussian(Key(3, 1), 10_001)
    assert z.dtype == np.float32
    assert len(z) == 10_001
    np.testing.assert_array_equal(z * 4096, np.rint(z * 4096))
    assert np.abs(z).max() < 4.4


def test_gaussian_skips_by_words():
    key = Key(5, 6)
    np.testing.assert_array_equal(gaussian(key, 50, skip_words=8), gaussian(key, 66)[16:])
