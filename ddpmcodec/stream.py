"""Symbols to bytes and back: one range-coder FIFO an image, big-endian, sealed in the fewest bytes.

Prefix property: the bytes of any prefix decode to every step that lies wholly in them, and to nothing else. A step is
*intact* when decoding with the missing bytes taken as all 0x00 and as all 0xFF gives the same symbols: range decoding is
monotone, so then every possible continuation gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from ddpmcodec import range_coder
from ddpmcodec.channel.base import Alphabet, Channel
from ddpmcodec.counts import END, CountModel
from ddpmcodec.plan import Plan
from ddpmcodec.short_step import ShortStep


@dataclass(frozen=True)
class Packet:
    """What one step sends for one image: a place on the grid of counts and the channel's symbols.

    A short step, which ends a stream, has no place on the grid, and a level of its own.
    """

    index: int
    bits: int
    code: NDArray[np.int32]
    log_snr: float | None = None  # that a short step goes to; None: the plan's next level
    coloured: bool = False  # the prior has the error's spectrum; False: white, as in models without one and steps of no bits


# Whether a step's prior is coloured follows its count. Pictures unlike those the spectrum was measured on stay white for long.
_WHITE_AFTER_COLOURED, _WHITE_AFTER_WHITE = Alphabet(1, 2, (63, 1)), Alphabet(1, 2, (1, 3))

_PIECE = 4096  # symbols decoded before the two readings are compared: a short file can't demand a long decode


class StreamWriter:
    """Takes packets, gives bytes. `end` closes a stream before its plan's last step; there it is implied and free.

    short: END is followed by a short step, or by 0, which is none; the header says so.
    """

    def __init__(self, plan: Plan, channel: Channel, dims: int, short: bool = False):
        self.plan, self.channel, self.dims, self.short = plan, channel, dims, short
        self.counts = CountModel(plan, dims, channel.max_bits(dims))
        self.encoder = constriction.stream.queue.RangeEncoder()
        self.ended = False  # the plan's last step, or END and the short step, have passed
        self.step_bits: list[float] = []  # information of each step: its count's and its symbols'
        self.count_bits: list[float] = []  # the part of it that the count takes, and what colours the prior
        self._white = False  # the last step of any bits was
        self.end_bits = 0.0  # information of END, and of 0 where there is no short step

    def step(self, packet: Packet) -> None:
        if packet.log_snr is None:
            self.count_bits.append(self._write(self.counts.alphabet(), packet.index + 1))
            self.counts.update(packet.index)
        else:
            self.end_bits = self._write(self.counts.alphabet(), END)
            self.count_bits.append(self.write(*self.short_step().symbols(packet.bits)))
        if colour := self.colour(packet.bits):
            self.count_bits[-1] += self._write(colour, int(not packet.coloured))
            self._white = not packet.coloured
        code = self.write(self.channel.alphabets(packet.bits, self.dims), packet.code)
        self.step_bits.append(self.count_bits[-1] + code)
        self.ended = packet.log_snr is not None or len(self.step_bits) == self.plan.steps

    def end(self) -> None:
        if not self.ended:
            self.end_bits = self._write(self.counts.alphabet(), END)
            if self.short:
                self.end_bits += self.write(*self.short_step().symbols(0))
            self.ended = True

    def short_step(self) -> ShortStep:
        """What may follow in place of the next step."""
        return ShortStep(self.plan, self.channel, self.dims, len(self.step_bits), self.counts.expected_bits())

    def colour(self, bits: int) -> Alphabet | None:
        """Model of whether the prior of the next step, of so many bits, is white; None where it can only be white."""
        if self.plan.spectrum is None or not bits:
            return None
        return _WHITE_AFTER_WHITE if self._white else _WHITE_AFTER_COLOURED

    def write(self, alphabets: Sequence[Alphabet], symbols: NDArray[np.int32]) -> float:
        """Appends any symbols; returns their information in bits."""
        range_coder.encode(self.encoder, alphabets, symbols)
        return range_coder.information(alphabets, symbols)

    def _write(self, alphabet: Alphabet, symbol: int) -> float:
        return self.write([alphabet], np.array([symbol], np.int32))

    def fork(self) -> StreamWriter:
        """A copy, to see what comes of going on."""
        other = copy(self)
        other.encoder, other.counts = self.encoder.clone(), copy(self.counts)
        other.step_bits, other.count_bits = list(self.step_bits), list(self.count_bits)
        return other

    def ended_here(self) -> StreamWriter:
        """A copy whose stream ends after the steps so far; this one can go on."""
        other = self.fork()
        other.end()
        return other

    def final(self) -> bytes:
        """The bytes that no later packet can change, for sending while encoding: all but the last two or so."""
        return range_coder.final(self.encoder)

    def sealed(self) -> bytes:
        """The payload if nothing more is written."""
        return range_coder.seal(self.encoder)


class StreamReader:
    """Takes bytes in pieces, gives packets: only of steps that the bytes so far determine.

    Every step read is written again: that yields the place to resume at, and the canonical bytes to compare with.
    """

    def __init__(self, plan: Plan, channel: Channel, dims: int, short: bool = False):
        self._written = StreamWriter(plan, channel, dims, short)
        self._data = bytearray()  # from word _first on
        self._first = 0
        self._pair: tuple[Any, Any] | None = None

    @property
    def ended(self) -> bool:
        return self._written.ended

    @property
    def step_bits(self) -> list[float]:
        """Real bits of each step read: bit count and channel symbols."""
        return self._written.step_bits

    def sealed(self) -> bytes:
        """The canonical payload of what was read: a complete stream's bytes equal it."""
        return self._written.sealed()

    def feed(self, data: bytes) -> None:
        self._data += data
        self._pair = None  # built anew from the last intact step

    def read(self) -> Packet | None:
        """The next intact step; None when there is none yet, or when `ended`."""
        if self.ended:
            return None
        if self._pair is None:
            self._pair = self._decoder(b"\x00"), self._decoder(b"\xff")
        index = self._agreed([self._written.counts.alphabet()])
        if index is None:
            return None
        if index[0] == END:
            return self._end()
        return self._step(int(index[0]) - 1, self._written.counts.values[int(index[0]) - 1])

    def _end(self) -> Packet | None:
        """What follows END: a short step where the stream may have one."""
        if self._written.short:
            short = self._written.short_step()
            rare = self._agreed([short.rare()])
            if rare is None:
                return None
            first, counts = short.counts(int(rare[0]))
            more = self._agreed([counts])
            if more is None:
                return None
            if bits := (first + int(more[0])) * short.unit:
                return self._step(END - 1, bits, short.log_snr(bits))
        self._written.end()
        return None

    def _step(self, index: int, bits: int, log_snr: float | None = None) -> Packet | None:
        coloured = False
        if colour := self._written.colour(bits):
            white = self._agreed([colour])
            if white is None:
                return None
            coloured = not white[0]
        code = self._agreed(self._written.channel.alphabets(bits, self._written.dims))
        if code is None:
            return None
        packet = Packet(index, bits, code, log_snr, coloured)
        self._written.step(packet)
        return packet

    def _agreed(self, alphabets: Sequence[Alphabet]) -> NDArray[np.int32] | None:
        """The next symbols if both readings give them; else None, and reading resumes at the last intact step."""
        assert self._pair is not None
        parts = [np.zeros(0, np.int32)]
        for alphabet in alphabets:
            for first in range(0, alphabet.count, _PIECE):
                count = min(_PIECE, alphabet.count - first)
                low, high = (range_coder.decode(decoder, alphabet, count) for decoder in self._pair)
                if low is None or high is None or not np.array_equal(low, high):
                    self._pair = None
                    return None
                parts.append(low)
        return np.concatenate(parts)

    def _decoder(self, fill: bytes) -> Any:
        position, state = self._written.encoder.pos()
        if position > self._first:  # what intact steps have used up is needed no more
            del self._data[: 4 * (position - self._first)]
            self._first = position
        padded = bytes(self._data) + fill * (16 - len(self._data) % 4)
        decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
        decoder.seek(position - self._first, state)
        return decoder
