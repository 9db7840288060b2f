"""Blocks of solid archives: the payload of pictures that take their steps together, in one stream.

    sealed chain | sizes of the tails | tails

What follows the chain is there in lossless archives alone: each picture's own tail, and before them the sizes of all
but the last, LEB128 numbers. A block of one picture is what its own file has as payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ddpmcodec.bitstream.file import KnownModel, read_all, reader_of, require_model
from ddpmcodec.bitstream.header import MAX_PIXELS_PER_BYTE, TAIL_CHECK_BYTES, Header
from ddpmcodec.bitstream.leb128 import leb128, read_leb128
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.errors import FormatError


@dataclass(frozen=True)
class Block:
    """Everything that the bytes of a block determine short of the pictures."""

    header: Header  # of one picture; grey is said elsewhere
    count: int  # of pictures
    plan: Plan
    packets: tuple[Packet, ...]  # the intact steps
    step_bits: tuple[float, ...]  # real bits of each, of all pictures together
    complete: bool  # the bytes are those that an encoder writes
    payload_bytes: int
    tails: tuple[bytes, ...] = ()  # what makes each picture exact, in a complete lossless block

    @property
    def steps(self) -> int:
        return len(self.packets)

    @property
    def pictures(self) -> int:
        """Return how many a decoder yields of each picture: one a step, and the exact one."""
        return self.steps + bool(self.tails)


def least_payload(header: Header, count: int) -> int:
    """Return the bytes that a block of `count` pictures has at least; shorter ones are padded with zeros."""
    return -(-header.pixels * count // MAX_PIXELS_PER_BYTE)


def block_payload(header: Header, writer: StreamWriter, tails: Sequence[bytes] = ()) -> bytes:
    """Return the payload of a writer whose stream has ended; tails: of a lossless one, one a picture."""
    sizes = b"".join(leb128(len(tail)) for tail in tails[:-1])
    whole = b"".join([writer.sealed(), sizes, *tails])
    return whole.ljust(least_payload(header, writer.pictures), b"\x00")


def read_block(header: Header, payload: bytes, count: int, model: KnownModel) -> Block:
    """Return what the payload of a block of `count` pictures holds, or of what is there of it; runs no network.

    Raises FormatError for another model's, or fewer bytes than its pictures have at least.
    """
    require_model(header, model)
    if len(payload) < least_payload(header, count):
        raise FormatError(
            f"a block of {count} pictures has {len(payload)} bytes, expected at least {least_payload(header, count)}; "
            "the archive is damaged"
        )
    reader = reader_of(header, model, count)
    packets, tails = read_all(reader, payload), None
    if reader.ended:
        tails = _tails(header, reader.sealed(), payload, count)
    found = header, count, reader.plan, packets, tuple(reader.step_bits)
    return Block(*found, tails is not None, len(payload), tails or ())


def _tails(header: Header, chain: bytes, payload: bytes, count: int) -> tuple[bytes, ...] | None:
    """The tails that follow the chain, none but in lossless archives; None where no encoder writes such bytes."""
    if not header.lossless:
        return () if chain.ljust(least_payload(header, count), b"\x00") == payload else None
    if not payload.startswith(chain):
        return None
    at, sizes, tails = len(chain), list[int](), list[bytes]()
    for _ in range(count - 1):
        try:
            size, end = read_leb128(payload, at)
        except FormatError:
            return None
        if leb128(size) != payload[at:end]:
            return None
        sizes.append(size)
        at = end
    sizes.append(len(payload) - at - sum(sizes))
    for size in sizes:
        tails.append(payload[at : at + max(size, 0)])
        at += size
    return tuple(tails) if min(sizes) > TAIL_CHECK_BYTES else None
