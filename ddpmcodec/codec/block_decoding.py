"""Blocks of solid archives to pictures: those that are wanted, without the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ddpmcodec.bitstream.solid import Block
from ddpmcodec.codec.decoding import Decoded, with_tail
from ddpmcodec.codec.receiver import Receiver
from ddpmcodec.models.base import CodecModel


def decode_block(
    block: Block,
    members: Sequence[int],
    grey: Sequence[bool],
    steps: int | None,
    codec: CodecModel,
    allow_partial: bool = False,
) -> Iterator[list[Decoded]]:
    """Yield some pictures of a parsed block, by their places in it, after each step, `steps` at most.

    The network runs for these alone. grey: which of the block's pictures are. Bits are those of the whole block but for
    tails. allow_partial: as in `decode_packets`.
    """
    whole = Receiver(block.header, model=codec, count=block.count, grey=grey, joint=True)
    receiver, total, items = whole.select(members), 0.0, list[Decoded]()
    for packet, bits in zip(block.packets[:steps], block.step_bits, strict=False):
        state, total = receiver.advance([packet]), total + bits
        items = [Decoded(state.n, total, state, place) for place in range(len(members))]
        yield items
    if block.tails and steps in (None, block.pictures):
        headers = [replace(block.header, grey=grey[member]) for member in members]
        each = zip(items, headers, [block.tails[member] for member in members], strict=True)
        yield [with_tail(item, header, codec, tail, allow_partial) for item, header, tail in each]
