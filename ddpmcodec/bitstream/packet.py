"""Packets: what crosses from sender to receiver in one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.numerics.arguments import read_only

GAIN_STEP = 2**0.5


@dataclass(frozen=True)
class Share:
    """Part of a picture in a step that several pictures take together: under which prior, and with how much power."""

    coloured: bool
    gain: int = 0  # its powers are multiplied by GAIN_STEP ** gain


@dataclass(frozen=True)
class BitCount:
    """Number of bits that a step is to send, chosen by the stream's model of bit counts."""

    index: int  # place on the grid of counts; END's for a short step
    bits: int
    log_snr: float | None = None  # that a short step goes to; None: the plan's next level
    shares: tuple[Share, ...] = ()  # of the pictures of a joint step


@dataclass(frozen=True, eq=False)
class Packet:
    """Packet of one step, for one picture or for several together: a place on the grid of counts and the channel's
    symbols.

    A short step, which ends a stream, has no place on the grid, and a level of its own.
    """

    index: int
    bits: int
    code: NDArray[np.int32]
    log_snr: float | None = None  # that a short step goes to; None: the plan's next level
    coloured: bool = (
        False  # the prior has the error's spectrum; False: white, as in models without one and steps of no bits
    )
    shares: tuple[Share, ...] = ()  # of a joint step of any bits: each picture's; `coloured` means nothing there

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", read_only(self.code))  # callers see it before the stream is done with it

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, Packet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    @property
    def _values(self) -> tuple[object, ...]:
        return self.index, self.bits, self.code.tobytes(), self.log_snr, self.coloured, self.shares
