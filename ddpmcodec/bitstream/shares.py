"""Shares of several pictures in a step: the model that codes each one's colour and gain.

A gain says by how much a picture's powers are above or below those of the others, in halves of a factor of two: k for
2^(k/2). From step to step it hardly changes, so it is coded around its last value. A colour says whether the prior has
the error's spectrum, or is white; that is all that a picture with a stream of its own has to say.
"""

from __future__ import annotations

from functools import lru_cache
from math import log2

from ddpmcodec.bitstream.bit_counts import peaked
from ddpmcodec.bitstream.packet import Share
from ddpmcodec.numerics.symbol_model import SymbolModel

MOST_GAIN = 32  # either way
GAINS = 2 * MOST_GAIN + 1
_FIRST_SPREAD, _LEAST_SPREAD = 300, 60  # of a gain, in 1/256 of a place
_TOTAL = 1 << 16

# Whether a step's prior is coloured follows its count. Pictures unlike those the spectrum was measured on stay white
# for long.
_WHITE_AFTER_COLOURED, _WHITE_AFTER_WHITE = SymbolModel(1, 2, (63, 1)), SymbolModel(1, 2, (1, 3))
_NO_CHOICE = SymbolModel(1, 1)


class ShareModel:
    """Adaptive model of one picture's shares, in steps of any bits."""

    def __init__(self, has_spectrum: bool, joint: bool):
        self._has_spectrum, self._joint = has_spectrum, joint
        self._white = False  # the last step was
        self._gain, self._spread = 0, _FIRST_SPREAD

    def white(self) -> SymbolModel:
        """Return the model of whether the next step's prior is white: 1 where it is. Without a spectrum there is no
        choice, and nothing is coded.
        """
        if not self._has_spectrum:
            return _NO_CHOICE
        return _WHITE_AFTER_WHITE if self._white else _WHITE_AFTER_COLOURED

    def gain(self) -> SymbolModel:
        """Return the model of its gain, plus MOST_GAIN; there is no choice where the picture is alone."""
        return _gains(self._gain, self._spread) if self._joint else _NO_CHOICE

    def symbols(self, share: Share) -> list[int]:
        """Return what says the share: of `white`, and of `gain`."""
        return [int(self._has_spectrum and not share.coloured), share.gain + MOST_GAIN if self._joint else 0]

    def share(self, white: int, gain: int) -> Share:
        """Return the share that these symbols say."""
        return Share(self._has_spectrum and not white, gain - MOST_GAIN if self._joint else 0)

    def update(self, share: Share) -> None:
        """Take note of the share that a step had."""
        self._white = not share.coloured
        change = abs(share.gain - self._gain) * 256
        self._spread = max(_LEAST_SPREAD, (3 * self._spread + change * 3 // 4) // 4)
        self._gain = share.gain


def gain_bits(model: ShareModel) -> list[float]:
    """Return what each gain takes to say, in bits."""
    frequencies = model.gain().frequencies
    assert frequencies is not None, "a picture alone has no gain"
    return [log2(_TOTAL / frequency) for frequency in frequencies]


@lru_cache(maxsize=4096)
def _gains(last: int, spread: int) -> SymbolModel:
    return SymbolModel(1, GAINS, peaked((last + MOST_GAIN) * 256, spread, GAINS, _TOTAL))
