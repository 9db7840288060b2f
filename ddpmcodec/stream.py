"""Symbols to bytes and back: one range-coder FIFO an image, big-endian, sealed in the fewest bytes.

Prefix property: the bytes of any prefix decode to every step that lies wholly in them, and to nothing else. A step is
*intact* when decoding with the missing bytes taken as all 0x00 and as all 0xFF gives the same symbols: range decoding is
monotone, so then every possible continuation gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def _information(alphabets: Sequence[Alphabet], symbols: NDArray[np.int32]) -> float:
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


def _decode(decoder: Any, alphabets: Sequence[Alphabet]) -> NDArray[np.int32]:
    parts = [np.zeros(0, np.int32)]
    for a in alphabets:
        parts.append(np.zeros(a.count, np.int32) if a.model is None else decoder.decode(a.model, a.count))
    return np.concatenate(parts).astype(np.int32)


class _Syntax:
    """What writer and reader share: the models of a stream's symbols, in order."""

    def __init__(self, plan: Plan, channel: Channel, dims: int):
        self.channel, self.dims, self.steps = channel, dims, plan.steps
        self.counts = CountModel(plan, dims, channel.max_bits(dims))
        self.encoder = constriction.stream.queue.RangeEncoder()
        self.sent = 0  # whole steps so far
        self.ended = False  # the plan's last step or END has passed
        self.step_bits: list[float] = []  # information of each step: its count's and its symbols'

    def put(self, packet: Packet) -> None:
        alphabets = [self.counts.alphabet(), *self.channel.alphabets(packet.bits, self.dims)]
        symbols = np.concatenate([np.array([packet.index + 1], np.int32), packet.code])
        _encode(self.encoder, alphabets, symbols)
        self.step_bits.append(_information(alphabets, symbols))
        self.counts.update(packet.index)
        self.sent += 1
        self.ended = self.sent == self.steps

    def put_end(self) -> None:
        if not self.ended:
            _encode(self.encoder, [self.counts.alphabet()], np.array([END], np.int32))
            self.ended = True


class StreamWriter(_Syntax):
    """Takes packets, gives bytes. `end` closes a stream before its plan's last step; there it is implied and free."""

    def step(self, packet: Packet) -> None:
        self.put(packet)

    def end(self) -> None:
        self.put_end()

    def final(self) -> bytes:
        """The bytes that no later packet can change, for sending while encoding: all but the last two or so."""
        low, high = _bracket(self.encoder)
        return _common(low, high)

    def sealed(self) -> bytes:
        """The payload if nothing more is written."""
        return seal(self.encoder)


class StreamReader(_Syntax):
    """Takes bytes in pieces, gives packets: only of steps that the bytes so far determine."""

    def __init__(self, plan: Plan, channel: Channel, dims: int):
        super().__init__(plan, channel, dims)
        self.data = b""
        self._pair: tuple[Any, Any] | None = None

    def feed(self, data: bytes) -> None:
        self.data += data
        self._pair = None  # built anew from the last intact step

    def read(self) -> Packet | None:
        """The next intact step; None when there is none yet, or when `ended`."""
        if self.ended:
            return None
        if self._pair is None:
            self._pair = self._decoder(b"\x00"), self._decoder(b"\xff")
        count = self.counts.alphabet()
        indices = {int(_decode(d, [count])[0]) for d in self._pair}
        if len(indices) > 1:
            self._pair = None
            return None
        symbol = indices.pop()
        if symbol == END:
            self.put_end()
            return None
        bits = self.counts.values[symbol - 1]
        alphabets = self.channel.alphabets(bits, self.dims)
        code, other = (_decode(d, alphabets) for d in self._pair)
        if not np.array_equal(code, other):
            self._pair = None
            return None
        packet = Packet(symbol - 1, bits, code)
        self.put(packet)  # written again: gives the place to resume at, and the canonical bytes to compare with
        return packet

    def sealed(self) -> bytes:
        """The canonical payload of what was read: a complete stream's bytes equal it."""
        return seal(self.encoder)

    def _decoder(self, fill: bytes) -> Any:
        padded = self.data + fill * (16 - len(self.data) % 4)
        decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
        if self.sent:
            decoder.seek(*self.encoder.pos())
        return decoder
