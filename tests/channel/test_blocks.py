"""How steps are cut into blocks, and which code a block has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.channel.blocks import MAX_BLOCK_BITS, SHORT_BITS, SHORT_MEMORY, blocks_of, memory_of
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.numerics.philox import Key

KEY = Key(3, 4)


@given(st.integers(0, 30_000), st.integers(0, 100_000), st.sampled_from([8, 12, 16]))
def test_every_bit_and_dimension_is_in_one_block(bits: int, more_dims: int, memory: int):
    dims = bits + more_dims
    blocks = blocks_of(bits, dims, memory, KEY)
    assert [i for b in blocks for i in range(bits)[b.bits]] == list(range(bits))
    assert not blocks or sorted(i for b in blocks for i in range(dims)[b.dims]) == list(range(dims))
    for block in blocks:
        assert len(range(bits)[block.bits]) == block.count <= min(MAX_BLOCK_BITS, block.size)
        assert len(range(dims)[block.dims]) == block.size
    assert len({block.key for block in blocks}) == len(blocks)


@pytest.mark.parametrize("memory", [8, 12, 13, 16])
@pytest.mark.parametrize("bits", [1, SHORT_BITS, SHORT_BITS + 1])
def test_short_steps_have_the_code_of_fewer_states(memory: int, bits: int):
    dims, shift = 768, np.random.default_rng(0).normal(scale=0.3, size=(1, 768)).astype(np.float32)
    channel, fewer = TrellisChannel(memory), TrellisChannel(min(memory, SHORT_MEMORY))
    (code,), (other,) = channel.encode(shift, [bits], KEY), fewer.encode(shift, [bits], KEY)
    same = memory_of(bits, memory) == fewer.memory
    assert same == (bits <= SHORT_BITS or memory <= SHORT_MEMORY)
    samples = [c.decode(code, bits, dims, KEY) for c in (channel, fewer)]
    assert np.array_equal(*samples) == same
    assert (channel.snr(bits, dims) == fewer.snr(bits, dims)) == same
    assert not same or np.array_equal(code, other)
