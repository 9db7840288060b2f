"""Algorithm 4 of Ho et al. 2020: the receiver, which has a picture wherever it stops.

`Receiver.receive` and `Sender.send` are one loop seen from two sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.file import reader_of, require_model
from ddpmcodec.bitstream.header import Header, parse_header
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.codec.reverse_chain import Array, ReverseChain
from ddpmcodec.io.images import to_bytes
from ddpmcodec.models.cache import ModelLike, receiving_model
from ddpmcodec.numerics.arguments import octets, read_only


@dataclass(frozen=True, eq=False)
class ReceivedStep:
    """State of a receiver after n steps, for a batch of pictures."""

    n: int  # a short step counts as one
    log_snr: float  # x_t's level
    bits: NDArray[np.int64]  # (batch,) channel bits so far, bit counts and container not included; a block's, in each
    x_t: Array  # (batch, c, h, w)
    x0_hat: Array  # (batch, c, h, w): the picture as known now; of a latent model, its latents
    chain: ReverseChain = field(repr=False)  # as it is here; the receiver's own goes on

    @cached_property
    def planes(self) -> Array:
        """Return the pictures (batch, 3, height, width) on [-1, 1] that are shown here; made when first asked for."""
        return read_only(self.chain.pictures())

    def picture(self, place: int = 0) -> NDArray[np.uint8]:
        """Return one of the pictures, (height, width, 3)."""
        return to_bytes(self.planes[place], self.chain.height, self.chain.width)

    def select(self, place: int) -> ReceivedStep:
        """Return the state of one picture, as a batch of its own."""
        part = slice(place, place + 1)
        chain = self.chain.select([place])
        return ReceivedStep(self.n, self.log_snr, self.bits[part], self.x_t[part], self.x0_hat[part], chain)


class Receiver:
    """Receiver of one picture's stream as its bytes arrive, or of the packets of `count` streams of one header, step by
    step, or of a block of `count` pictures (joint).

    start: a header, or the first bytes of a file: all of its header (`bitstream.header.missing_header_bytes` says what
    is missing), and as much more as there is. Memory for a picture of the declared size is taken at once. grey: which
    of the streams are of grey pictures, where the header doesn't say it of all. Raises FormatError for what is no
    header, or names another model.
    """

    def __init__(
        self,
        start: Header | bytes,
        *,
        model: ModelLike = None,
        count: int = 1,
        grey: Sequence[bool] = (),
        joint: bool = False,
    ):
        self.header, end = (start, 0) if isinstance(start, Header) else parse_header(octets(start), whole=False)
        codec = receiving_model(model, self.header.fingerprint)
        require_model(self.header, codec)
        headers = [replace(self.header, grey=kind) for kind in grey] or [self.header] * count
        self.chain = ReverseChain.of(headers, codec, joint=joint)
        self.stream = reader_of(self.header, codec, self.chain.block)
        self.bits: NDArray[np.int64] = read_only(np.zeros(count, np.int64))
        if not isinstance(start, Header):
            self.stream.feed(bytes(start[end:]))

    def receive(self, data: bytes = b"") -> Iterator[ReceivedStep]:
        """Receive step after step, as far as the bytes determine them (Algorithm 4). data: what follows the bytes so
        far.
        """
        self.stream.feed(data)
        while (packet := self.stream.read()) is not None:
            yield self.advance([packet])

    def advance(self, packets: Sequence[Packet]) -> ReceivedStep:
        """Go on to where the packets lead: one a picture, or one for a whole block."""
        self.chain.advance(packets)
        self.bits = read_only(self.bits + np.array([p.bits for p in packets], np.int64))
        return self.state()

    def state(self) -> ReceivedStep:
        """Return where the receiver is: after n = 0 steps, at shared noise, too."""
        chain = self.chain
        x0_hat = chain.x0_hat()
        return ReceivedStep(chain.n, chain.log_snr, self.bits, chain.x_t, x0_hat, chain.select())

    def select(self, places: Sequence[int]) -> Receiver:
        """Return a receiver that goes on from here by itself, for some of the pictures."""
        other = copy(self)
        other.chain, other.bits = self.chain.select(places), read_only(self.bits[list(places)])
        return other
