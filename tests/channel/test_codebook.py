from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ddpmcodec.channel.codebook import (
    MAX_HADAMARD,
    MAX_TAPS,
    codebook,
    geometry,
    hadamard_transform,
    parity,
    rotate,
    rotate_back,
    shift_register,
    taper,
    taps,
)
from ddpmcodec.numerics.philox import TRELLIS, Key

RNG = np.random.default_rng(1)

# SHA-256 over the arrays of one code of each memory. They are the stream format: when one changes, old files no longer
# decode, so the format's version must change too. To make them anew, copy what `pytest tests/test_codebook.py` reports.
GOLDEN = {
    8: "4fd85f35c4026ca6ee18eb065376a691ea87140e5be0e572f4db7ac9f186de7b",
    12: "91b38823b7595c880fab495356c5b8e7cb71c4ce0279c101280172d382d0dd18",
    16: "2372531601bd514949947d1b28813fbf9fd2f8ed18f97f496550d1a50203f38f",
}


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(a.astype("<i4").tobytes() for a in arrays)).hexdigest()


@pytest.mark.parametrize("memory", GOLDEN)
def test_the_codebook_is_the_format_s(memory: int):
    shape = geometry(100, 3000, memory)
    book = codebook(Key(1, 2, TRELLIS, 3), shape.padded, memory)
    assert digest(shape.step_of_dim, book.taps, book.sign_in, book.sign_out) == GOLDEN[memory]


def test_no_two_steps_seeds_or_blocks_share_a_codebook():
    keys = [Key(seed, step, TRELLIS, part) for seed in (0, 1, 1 << 40) for step in range(1, 20) for part in range(3)]
    books = [codebook(key, 768, 12) for key in keys]
    for field in ("taps", "sign_in", "sign_out"):
        assert len({getattr(book, field).tobytes() for book in books}) == len(keys)


@pytest.mark.parametrize("memory", range(8, 17))
def test_taps_fit_the_memory_and_are_all_used(memory: int):
    older, newer = taps(memory)
    assert older + newer == min(memory - 1, MAX_TAPS)
    used = codebook(Key(0, 1), 4096, memory).taps
    assert used.min() >= 0
    assert np.bitwise_or.reduce(used) == (1 << (older + newer)) - 1


@given(st.integers(1, 400), st.integers(1, 20_000), st.integers(8, 16))
def test_taper_gives_every_step_a_dimension_and_every_dimension_a_step(bits: int, dims: int, memory: int):
    assume(dims >= bits)
    edges = taper(bits, dims, memory)
    assert (len(edges), edges[0], edges[-1]) == (bits + 1, 0, dims)
    assert (np.diff(edges) >= 1).all()


def test_taper_gives_little_to_the_first_steps_and_more_to_the_last():
    sizes = np.diff(taper(200, 200_000, 12))
    assert (np.diff(sizes[:12]) >= 0).all()
    assert sizes[0] < sizes[100] < sizes[-1]


@given(st.integers(1, 30_000))
def test_geometry_pads_to_whole_hadamard_blocks(dims: int):
    shape = geometry(1, dims, 8)
    assert dims <= shape.padded < dims + 256
    assert shape.padded % shape.hadamard == 0
    assert shape.hadamard & (shape.hadamard - 1) == 0
    assert 256 <= shape.hadamard <= MAX_HADAMARD


@pytest.mark.parametrize("order", range(7))
def test_hadamard_transform_is_sylvester_s_matrix(order: int):
    h = np.ones((1, 1), np.int64)
    for _ in range(order):
        h = np.kron([[1, 1], [1, -1]], h)
    x = RNG.integers(-1000, 1000, (3, 1 << order))
    np.testing.assert_array_equal(hadamard_transform(x), x @ h)


@pytest.mark.parametrize("dims", [256, 768, 3072, 6930])
def test_rotation_is_orthogonal_up_to_its_scale(dims: int):
    shape = geometry(10, dims, 8)
    book = codebook(Key(0, 1, TRELLIS), shape.padded, 8)
    x, c = RNG.integers(-200, 200, (2, shape.padded)).astype(np.int32)
    np.testing.assert_array_equal(rotate_back(rotate(x, book, shape), book, shape), shape.hadamard * x)
    assert rotate(x, book, shape).astype(np.int64) @ c == x.astype(np.int64) @ rotate_back(c, book, shape)


def test_parity_counts_bits():
    x = np.arange(1 << 15, dtype=np.int16)
    np.testing.assert_array_equal(parity(x), [int(i).bit_count() & 1 for i in range(1 << 15)])


@pytest.mark.parametrize("memory", range(8, 17))
def test_shift_register_is_a_shift_register(memory: int):
    bits = RNG.integers(0, 2, 60).astype(np.uint8)
    older, newer = taps(memory)
    active, flip = shift_register(bits, memory)
    state = 0  # newest bit lowest
    for i, bit in enumerate(bits):
        oldest, rest = state >> (memory - 1), state & ((1 << (memory - 1)) - 1)
        assert flip[i] == oldest ^ bit
        assert active[i] == (rest >> (memory - 1 - older)) << newer | rest & ((1 << newer) - 1)
        state = rest << 1 | int(bit)
