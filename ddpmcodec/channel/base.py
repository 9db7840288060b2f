"""Channels: ways to make the receiver draw a sample near a shift that only the sender knows.

Units: everything is relative to the step's noise standard deviation sqrt(b), so the shift is (mu_q - mu_p) / sqrt(b),
the target distribution is N(shift, I), and the prior that both sides share is N(0, (1 + snr) I), or a `Prior` that
differs from coefficient to coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.prior import Prior
from ddpmcodec.numerics.philox import Key
from ddpmcodec.numerics.symbol_model import SymbolModel


class Channel(Protocol):
    """Channel that sends `bits` bits a step: a budget that both sides know. What it costs in the stream,
    `symbol_models` say.
    """

    def snr(self, bits: int, dims: int) -> float:
        """Return the prior's excess variance over the noise's that `bits` bits pay for; rising, from 0 at 0."""
        ...

    def max_bits(self, dims: int) -> int:
        """Return the largest budget of one step, in bits."""
        ...

    def symbol_models(self, bits: int, dims: int) -> list[SymbolModel]:
        """Return the models of the code's symbols, in order: all that is needed to parse a stream."""
        ...

    def encode(
        self, shifts: NDArray[np.float32], bits: Sequence[int], key: Key, priors: Sequence[Prior | None] | None = None
    ) -> list[NDArray[np.int32]]:
        """Return the codes of n shifts, symbols as `symbol_models` says.

        shifts: (n, dims), one image a row; bits: n budgets; priors: n, None where white.
        """
        ...

    def decode(
        self, code: NDArray[np.int32], bits: int, dims: int, key: Key, prior: Prior | None = None
    ) -> NDArray[np.float32]:
        """Return the sample (dims,), like a draw from N(shift, I). Exactly reproducible up to one final
        multiplication.
        """
        ...
