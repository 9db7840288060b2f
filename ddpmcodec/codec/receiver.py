"""Algorithm 4 of Ho et al. 2020: the receiver, which has a picture whenever it stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.reader import StreamReader
from ddpmcodec.codec.reverse_chain import Array, ReverseChain


@dataclass(frozen=True)
class ReceivedStep:
    """The receiver's state after n steps, for a batch of pictures."""

    n: int  # a short step counts as one
    log_snr: float  # of x_t
    bits: NDArray[np.int64]  # (batch,) channel bits so far, bit counts and container not included
    x_t: Array  # (batch, c, h, w)
    x0_hat: Array  # (batch, c, h, w) on [-1, 1]: the picture as known now


class Receiver:
    """Takes packets, one a picture and step, and yields the state after each."""

    def __init__(self, chain: ReverseChain):
        self.chain = chain
        self.bits: NDArray[np.int64] = np.zeros(len(chain.x_t), np.int64)

    def receive(self, packets: Sequence[Packet]) -> ReceivedStep:
        self.chain.advance(packets)
        self.bits = self.bits + np.array([p.bits for p in packets], np.int64)
        return self.state()

    def state(self) -> ReceivedStep:
        """Where the receiver is: after n = 0 steps, at shared noise, too."""
        chain = self.chain
        return ReceivedStep(chain.n, chain.log_snr, self.bits, chain.x_t, chain.x0_hat())

    def only(self, places: Sequence[int]) -> Receiver:
        """A receiver of its own from here, for some of the pictures."""
        other = copy(self)
        other.chain, other.bits = self.chain.only(places), self.bits[list(places)]
        return other

    def read(self, stream: StreamReader, data: bytes = b"") -> Iterator[ReceivedStep]:
        """Feeds payload bytes of one picture, in pieces of any size; yields each step they complete."""
        stream.feed(data)
        while (packet := stream.read()) is not None:
            yield self.receive([packet])
