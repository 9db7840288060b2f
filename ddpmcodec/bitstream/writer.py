"""Packets to bytes: one range-coder FIFO an image, big-endian, sealed in the fewest bytes.

The stream's one model of bit counts is the writer's, and a reader's is that of the writer with which it writes again
what it has read: so both sides, by construction, ask the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import constriction
import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream import range_coder
from ddpmcodec.bitstream.bit_counts import END, BitCountModel
from ddpmcodec.bitstream.packet import BitCount, Packet, Share
from ddpmcodec.bitstream.shares import ShareModel
from ddpmcodec.bitstream.short_step import ShortStep
from ddpmcodec.channel.base import Channel
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.numerics.symbol_model import SymbolModel


class StreamWriter:
    """Writer of a stream: takes packets, gives bytes. `end` closes a stream before its plan's last step; there it is
    implied and free.

    short: END is followed by a short step, or by 0, which is none; the header says so. pictures: that take their steps
    together in this stream, of `dims` dimensions each.
    """

    def __init__(self, plan: Plan, channel: Channel, dims: int, short: bool = False, pictures: int = 1):
        self.plan, self.channel, self.dims, self.short, self.pictures = plan, channel, dims * pictures, short, pictures
        self.counts = BitCountModel(plan, channel, self.dims, pictures)
        self.shares = [ShareModel(plan.spectrum is not None, pictures > 1) for _ in range(pictures)]
        self.encoder = constriction.stream.queue.RangeEncoder()
        self.ended = False  # the plan's last step, or END and the short step, have passed
        self.step_bits: list[float] = []  # information of each step: its count's and its symbols'
        self.count_bits: list[float] = []  # the part of it that the count takes, and the choice of the prior
        self.end_bits = 0.0  # information of END, and of 0 where there is no short step

    def choose(self, ideal: float) -> BitCount:
        """Return the count of bits for the plan's next step, which takes `ideal` bits, KL(q || p)."""
        index = self.counts.choose(self.counts.bits_for(ideal))
        return BitCount(index, self.counts.values[index])

    def choose_short(self, bits: int) -> BitCount:
        """Return the count of a short step in place of the next: `bits` is no 0, and a multiple of its unit."""
        return BitCount(END - 1, bits, self.short_step().log_snr(bits))

    def write(self, packet: Packet) -> None:
        """Append a step."""
        if packet.log_snr is None:
            self.count_bits.append(self._write_symbol(self.counts.symbol_model(), packet.index + 1))
            self.counts.update(packet.index)
        else:
            self.end_bits = self._write_symbol(self.counts.symbol_model(), END)
            self.count_bits.append(self._write_symbols(*self.short_step().symbols(packet.bits)))
        if packet.bits:
            for model, share in zip(self.shares, packet.shares or [Share(packet.coloured)], strict=True):
                symbols = np.array(model.symbols(share), np.int32)
                self.count_bits[-1] += self._write_symbols([model.white(), model.gain()], symbols)
                model.update(share)
        code = self._write_symbols(self.channel.symbol_models(packet.bits, self.dims), packet.code)
        self.step_bits.append(self.count_bits[-1] + code)
        self.ended = packet.log_snr is not None or len(self.step_bits) == self.plan.steps

    def end(self) -> None:
        """Close the stream after the steps so far."""
        if not self.ended:
            self.end_bits = self._write_symbol(self.counts.symbol_model(), END)
            if self.short:
                self.end_bits += self._write_symbols(*self.short_step().symbols(0))
            self.ended = True

    def short_step(self) -> ShortStep:
        """Return the short step that may follow in place of the next."""
        return ShortStep(self.plan, self.channel, self.dims, len(self.step_bits), self.counts.expected_bits())

    def _write_symbols(self, symbol_models: Sequence[SymbolModel], symbols: NDArray[np.int32]) -> float:
        """Append any symbols; return their information in bits."""
        range_coder.encode(self.encoder, symbol_models, symbols)
        return range_coder.information(symbol_models, symbols)

    def _write_symbol(self, symbol_model: SymbolModel, symbol: int) -> float:
        return self._write_symbols([symbol_model], np.array([symbol], np.int32))

    def fork(self) -> StreamWriter:
        """Return a copy, to see what comes of going on."""
        other = copy(self)
        other.encoder, other.counts = self.encoder.clone(), copy(self.counts)
        other.shares = [copy(model) for model in self.shares]
        other.step_bits, other.count_bits = list(self.step_bits), list(self.count_bits)
        return other

    def ended_here(self) -> StreamWriter:
        """Return a copy whose stream ends after the steps so far; this one can go on."""
        other = self.fork()
        other.end()
        return other

    def final(self) -> bytes:
        """Return the bytes that no later packet can change, to send while encoding: all but the last two or so."""
        return range_coder.final(self.encoder)

    def sealed(self) -> bytes:
        """Return the payload as it is if nothing more is written."""
        return range_coder.seal(self.encoder)
