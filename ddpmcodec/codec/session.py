"""Pictures on their way to files: the sender, and the streams of what it has sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.file import finish
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.codec.sender import Need, Sender, SentStep
from ddpmcodec.codec.setup import chain_of
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import to_plane
from ddpmcodec.lossless import TailLevel, encode_tail, usual_steps
from ddpmcodec.models.base import CodecModel


@dataclass
class Coding:
    """A batch of pictures of one size, each with a stream of its own."""

    header: Header
    sender: Sender
    writers: list[StreamWriter]
    pictures: Sequence[NDArray[np.uint8]]  # (h, w, 3) each

    def take(self, need: Need, packets: tuple[Packet, ...]) -> SentStep:
        """Sends a step that the sender needed and searched."""
        for writer, packet in zip(self.writers, packets, strict=True):
            writer.step(packet)
        return self.sender.take(need, packets)

    def whole_steps(self, steps: int | None = None) -> Iterator[SentStep]:
        """Sends the plan's steps, or the first so many. Raises DdpmCodecError at once where it has fewer.

        A lossless stream goes on with the tail where that is expected to make it shortest.
        """
        most = self.sender.chain.plan.steps
        if self.header.lossless and steps is None:
            steps = usual_steps(self.sender.chain.model.curve, self.sender.chain.plan)
        if steps is not None and not 1 <= steps <= most:
            raise DdpmCodecError(f"{steps} steps were asked for; this plan has 1 to {most}")

        def sending() -> Iterator[SentStep]:
            while self.sender.chain.n < (steps or most):
                need = self.sender.need()
                yield self.take(need, self.sender.search(need))

        return sending()

    def fork(self) -> Coding:
        """A coding of its own from here, to see what comes of going on."""
        return replace(self, sender=self.sender.fork(), writers=[writer.fork() for writer in self.writers])

    def adopt(self, other: Coding) -> None:
        """Goes on where a fork has come to."""
        self.sender, self.writers = other.sender, other.writers

    def files(self) -> list[bytes]:
        """Complete files, were the streams to end here."""
        tails = self._tails() if self.header.lossless else repeat(b"")
        return [finish(self.header, writer.ended_here(), tail) for writer, tail in zip(self.writers, tails, strict=False)]

    def _tails(self) -> Iterator[bytes]:
        chain, header = self.sender.chain, self.header
        level = TailLevel.of(chain.model.curve, chain.log_snr)
        for picture, x0_hat in zip(self.pictures, chain.x0_hat(), strict=True):
            yield encode_tail(picture, x0_hat[:, : header.height, : header.width], level, chain.key())


def begin(header: Header, model: CodecModel, pictures: Sequence[NDArray[np.uint8]]) -> Coding:
    """pictures: (h, w, 3) each, of the header's size."""
    chain = chain_of(header, model, len(pictures), search_device=True)
    x_0, known = np.zeros(chain.x_t.shape, np.float32), np.zeros(chain.x_t.shape[2:], bool)
    known[: header.height, : header.width] = True
    for plane, picture in zip(x_0, pictures, strict=True):
        plane[:, : header.height, : header.width] = to_plane(picture)
    writers = [StreamWriter(chain.plan, chain.channel, chain.dims, header.short) for _ in pictures]
    return Coding(header, Sender(chain, x_0, known), writers, pictures)
