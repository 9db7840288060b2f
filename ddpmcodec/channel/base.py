"""What a channel is: a way to make the receiver draw a sample near a shift that only the sender knows.

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
    """Sends `bits` bits a step. `bits` is a budget both sides know; what it costs in the stream is `symbol_models`'
    affair.
    """

    def snr(self, bits: int, dims: int) -> float:
        """Excess prior variance over noise variance that `bits` bits pay for; increases with bits, 0 at 0."""
        ...

    def max_bits(self, dims: int) -> int:
        """Largest budget of one step."""
        ...

    def symbol_models(self, bits: int, dims: int) -> list[SymbolModel]:
        """Models of the code's symbols, in order: all that is needed to parse a stream."""
        ...

    def encode(
        self, shifts: NDArray[np.float32], bits: Sequence[int], key: Key, priors: Sequence[Prior | None] | None = None
    ) -> list[NDArray[np.int32]]:
        """shifts: (n, dims), one image a row; bits: n budgets; priors: n, None where white. Returns the n codes,
        symbols as `symbol_models` says."""
        ...

    def decode(
        self, code: NDArray[np.int32], bits: int, dims: int, key: Key, prior: Prior | None = None
    ) -> NDArray[np.float32]:
        """The sample (dims,): like a draw from N(shift, I). Exactly reproducible up to one final multiplication."""
        ...
