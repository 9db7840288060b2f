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

from ddpmcodec.channel.base import Alphabet, Channel
from ddpmcodec.counts import END, CountModel
from ddpmcodec.plan import Plan

_GUARD = np.zeros(6, np.int32)  # 96 bits of each value bracket whatever the encoder may still write
_WORD = Alphabet(6, 1 << 16)


@dataclass(frozen=True)
class Packet:
    """What one step sends for one image: a place on the grid of counts and the channel's symbols."""

    index: int
    bits: int
    code: NDArray[np.int32]


def _to_bytes(encoder: Any) -> bytes:
    return bytes(encoder.get_compressed().astype(">u4").tobytes())


def _bracket(encoder: Any) -> tuple[bytes, bytes]:
    """The least and the greatest byte string that a continuation of this encoder can become (to 96 bits)."""
    low, high = encoder.clone(), encoder.clone()
    low.encode(_GUARD, _WORD.model)
    high.encode(_GUARD + 65535, _WORD.model)
    a, b = _to_bytes(low), _to_bytes(high)
    n = max(len(a), len(b))
    return a.ljust(n, b"\x00"), b.ljust(n, b"\x00")


def _common(low: bytes, high: bytes) -> bytes:
    """The longest prefix of both (of equal length)."""
    differ = np.flatnonzero(np.frombuffer(low, np.uint8) != np.frombuffer(high, np.uint8))
    return low[: int(differ[0])] if len(differ) else low


def seal(encoder: Any) -> bytes:
    """The shortest bytes that decode to what was encoded, whatever follows them."""
    low, high = _bracket(encoder)
    common = len(_common(low, high))
    prefix, low, high = low[:common], low[common:], high[common:]
    floor, ceiling = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    for size in range(len(low) + 1):
        unit = 256 ** (len(low) - size)
        value = -(-floor // unit)
        if (value + 1) * unit - 1 <= ceiling:
            return bytes(prefix + value.to_bytes(size, "big"))
    return prefix + low


def information(alphabets: Sequence[Alphabet], symbols: NDArray[np.int32]) -> float:
    """-log2 of the probability that the models give the symbols."""
    bits, start = 0.0, 0
    for a in alphabets:
        part = symbols[start : start + a.count]
        start += a.count
        if a.frequencies is None:
            bits += a.count * float(np.log2(a.size))
        else:
            weights = np.array(a.frequencies)
            bits += float(np.log2(weights.sum() / weights[part]).sum())
    return bits


def _encode(encoder: Any, alphabets: Sequence[Alphabet], symbols: NDArray[np.int32]) -> None:
    start = 0
    for alphabet in alphabets:
        part = np.ascontiguousarray(symbols[start : start + alphabet.count])
        start += alphabet.count
        if alphabet.model is not None:
            encoder.encode(part, alphabet.model)


_PIECE = 4096  # symbols decoded before the two readings are compared: a short file can't demand a long decode


class StreamWriter:
    """Takes packets, gives bytes. `end` closes a stream before its plan's last step; there it is implied and free."""

    def __init__(self, plan: Plan, channel: Channel, dims: int):
        self.channel, self.dims, self.steps = channel, dims, plan.steps
        self.counts = CountModel(plan, dims, channel.max_bits(dims))
        self.encoder = constriction.stream.queue.RangeEncoder()
        self.ended = False  # the plan's last step or END has passed
        self.step_bits: list[float] = []  # information of each step: its count's and its symbols'
        self.count_bits: list[float] = []  # the part of it that the count takes
        self.end_bits = 0.0  # information of END

    def step(self, packet: Packet) -> None:
        counts, place = [self.counts.alphabet()], np.array([packet.index + 1], np.int32)
        alphabets = self.channel.alphabets(packet.bits, self.dims)
        _encode(self.encoder, counts, place)
        _encode(self.encoder, alphabets, packet.code)
        self.count_bits.append(information(counts, place))
        self.step_bits.append(self.count_bits[-1] + information(alphabets, packet.code))
        self.counts.update(packet.index)
        self.ended = len(self.step_bits) == self.steps

    def end(self) -> None:
        if not self.ended:
            counts, symbol = [self.counts.alphabet()], np.array([END], np.int32)
            _encode(self.encoder, counts, symbol)
            self.end_bits = information(counts, symbol)
            self.ended = True

    def ended_here(self) -> StreamWriter:
        """A copy whose stream ends after the steps so far; this one can go on."""
        other = copy(self)
        other.encoder = self.encoder.clone()
        other.step_bits, other.count_bits = list(self.step_bits), list(self.count_bits)
        other.end()
        return other

    def final(self) -> bytes:
        """The bytes that no later packet can change, for sending while encoding: all but the last two or so."""
        low, high = _bracket(self.encoder)
        return _common(low, high)

    def sealed(self) -> bytes:
        """The payload if nothing more is written."""
        return seal(self.encoder)


class StreamReader:
    """Takes bytes in pieces, gives packets: only of steps that the bytes so far determine.

    Every step read is written again: that yields the place to resume at, and the canonical bytes to compare with.
    """

    def __init__(self, plan: Plan, channel: Channel, dims: int):
        self._written = StreamWriter(plan, channel, dims)
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
            self._written.end()
            return None
        bits = self._written.counts.values[int(index[0]) - 1]
        code = self._agreed(self._written.channel.alphabets(bits, self._written.dims))
        if code is None:
            return None
        packet = Packet(int(index[0]) - 1, bits, code)
        self._written.step(packet)
        return packet

    def _agreed(self, alphabets: Sequence[Alphabet]) -> NDArray[np.int32] | None:
        """The next symbols if both readings give them; else None, and reading resumes at the last intact step."""
        assert self._pair is not None
        parts = [np.zeros(0, np.int32)]
        for alphabet in alphabets:
            for first in range(0, alphabet.count, _PIECE):
                count = min(_PIECE, alphabet.count - first)
                low, high = (_decode(decoder, alphabet, count) for decoder in self._pair)
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


def _decode(decoder: Any, alphabet: Alphabet, count: int) -> NDArray[np.int32] | None:
    """None where the bytes are none that an encoder writes, which constriction reports for some all-0xFF endings."""
    if alphabet.model is None:
        return np.zeros(count, np.int32)
    try:
        return np.asarray(decoder.decode(alphabet.model, count), np.int32)
    except AssertionError:
        return None
