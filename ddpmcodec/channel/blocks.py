"""Blocks: how a step's bits and dimensions are cut into codes of their own, and which code a block has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from ddpmcodec.channel.codebook import Codebook, Geometry, codebook, geometry
from ddpmcodec.numerics.philox import TRELLIS, Key

MAX_BLOCK_BITS = 4096  # longer steps are cut into blocks over interleaved dimensions; bounds tables and path metrics
SHORT_BITS, SHORT_MEMORY = 40, 12  # blocks of up to 40 bits have no larger memory than 12: see `memory_of`


@dataclass(frozen=True)
class Block:
    count: int  # bits
    size: int  # dimensions
    memory: int  # log2 of its code's states
    bits: slice
    dims: slice
    key: Key
    grouped: bool  # dimensions come in groups of falling power, in every block

    def code(self) -> tuple[Geometry, Codebook]:
        """Return the block's shape and random part."""
        shape = geometry(self.count, self.size, self.memory, self.grouped)
        return shape, codebook(self.key, shape.padded, self.memory)


def memory_of(bits: float, memory: int) -> int:
    """Return the memory of a block of `bits` bits in a code of 2^memory states.

    A parity has ten bits between the newest and the oldest. Where the memory has more, it leaves out some in the
    middle, and a block that is about as long as the memory has few others. Measured on Gaussian shifts, 2^12 states are
    better up to 32 bits, 2^16 from 48 on.
    """
    return min(memory, SHORT_MEMORY) if bits <= SHORT_BITS else memory


def blocks_of(bits: int, dims: int, memory: int, key: Key, grouped: bool = False) -> list[Block]:
    """Return the blocks of a step of `bits` bits over `dims` dimensions. grouped: see `codebook.geometry`."""
    n = -(-bits // MAX_BLOCK_BITS)
    # Bits are dealt to blocks as dimensions are, so no block has more bits than dimensions.
    edges = [0, *accumulate(len(range(j, bits, n)) for j in range(n))]
    return [
        Block(
            edges[j + 1] - edges[j],
            len(range(j, dims, n)),
            memory_of(edges[j + 1] - edges[j], memory),
            slice(edges[j], edges[j + 1]),
            slice(j, dims, n),
            Key(key.seed, key.step, TRELLIS, j),
            grouped,
        )
        for j in range(n)
    ]
