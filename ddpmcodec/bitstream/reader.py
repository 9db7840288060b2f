"""Bytes back to packets, as far as the bytes determine them.

Prefix property: the bytes of any prefix decode to every step that lies wholly in them, and to nothing else. A step is
*intact* when decoding with the missing bytes taken as all 0x00 and as all 0xFF gives the same symbols: range decoding
is monotone, so then every possible continuation gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream import range_coder
from ddpmcodec.bitstream.bit_counts import END
from ddpmcodec.bitstream.packet import Packet, Share
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.base import Channel
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.numerics.symbol_model import SymbolModel

_PIECE = 4096  # symbols decoded before the two readings are compared: a short file can't demand a long decode


class StreamReader:
    """Reader of a stream: takes bytes in pieces, and gives the packets of the steps that the bytes so far determine.

    Every step read is written again: that yields the place to resume at, and the canonical bytes to compare with.
    """

    def __init__(self, plan: Plan, channel: Channel, dims: int, short: bool = False, pictures: int = 1):
        self._written = StreamWriter(plan, channel, dims, short, pictures)
        self._data = bytearray()  # from word _first on
        self._first = 0
        self._pair: tuple[Any, Any] | None = None

    @property
    def plan(self) -> Plan:
        return self._written.plan

    @property
    def ended(self) -> bool:
        return self._written.ended

    @property
    def step_bits(self) -> list[float]:
        """Return the real bits of each step read: bit count and channel symbols."""
        return self._written.step_bits

    def sealed(self) -> bytes:
        """Return the canonical payload of what was read: a complete stream's bytes equal it."""
        return self._written.sealed()

    def feed(self, data: bytes) -> None:
        self._data += data
        self._pair = None  # built anew from the last intact step

    def read(self) -> Packet | None:
        """Return the next intact step; None when there is none yet, or when `ended`."""
        if self.ended:
            return None
        if self._pair is None:
            self._pair = self._decoder(b"\x00"), self._decoder(b"\xff")
        index = self._agreed([self._written.counts.symbol_model()])
        if index is None:
            return None
        if index[0] == END:
            return self._end()
        return self._step(int(index[0]) - 1, self._written.counts.values[int(index[0]) - 1])

    def _end(self) -> Packet | None:
        """Read what follows END: a short step where the stream may have one."""
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
        shares = list[Share]()
        for model in self._written.shares if bits else []:
            symbols = self._agreed([model.white(), model.gain()])
            if symbols is None:
                return None
            shares.append(model.share(*symbols.tolist()))
        code = self._agreed(self._written.channel.symbol_models(bits, self._written.dims))
        if code is None:
            return None
        if self._written.pictures > 1:
            packet = Packet(index, bits, code, log_snr, shares=tuple(shares))
        else:
            packet = Packet(index, bits, code, log_snr, any(share.coloured for share in shares))
        self._written.write(packet)
        return packet

    def _agreed(self, symbol_models: Sequence[SymbolModel]) -> NDArray[np.int32] | None:
        """Return the next symbols if both readings give them; else None, and reading resumes at the last intact
        step.
        """
        assert self._pair is not None
        parts = [np.zeros(0, np.int32)]
        for symbol_model in symbol_models:
            for first in range(0, symbol_model.count, _PIECE):
                count = min(_PIECE, symbol_model.count - first)
                low, high = (range_coder.decode(decoder, symbol_model, count) for decoder in self._pair)
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
