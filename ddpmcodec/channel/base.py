"""What a channel is: a way to make the receiver draw a sample near a shift that only the sender knows.

Units: everything is relative to the step's noise standard deviation sqrt(b), so the shift is (mu_q - mu_p) / sqrt(b), the
target distribution is N(shift, I), and the prior that both sides share is N(0, (1 + snr) I), or a `Prior` that differs from
coefficient to coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.philox import Key
from ddpmcodec.channel.prior import Prior


@dataclass(frozen=True)
class Alphabet:
    """`count` symbols in a row of one model: uniform over `size` values, or the given integer frequencies."""

    count: int
    size: int
    frequencies: tuple[int, ...] | None = None  # sum to a power of two, at most 2^22, so they are exact as floats

    @cached_property
    def model(self) -> Any:
        """The constriction model; None where the only possible symbol is 0 and costs nothing."""
        if self.size == 1:
            return None
        return constriction.stream.model.Uniform(self.size) if self.frequencies is None else categorical(self.frequencies)


@lru_cache(maxsize=1024)
def categorical(frequencies: tuple[int, ...]) -> Any:
    """A constriction model from integer frequencies that sum to a power of two: no rounding depends on the machine."""
    weights = np.array(frequencies, np.float64)
    return constriction.stream.model.Categorical(weights / weights.sum(), perfect=False)


def uniform_words(bits: int) -> list[Alphabet]:
    """`bits` raw bits as 16-bit symbols and one shorter one."""
    parts = [Alphabet(bits // 16, 1 << 16), Alphabet(1, 1 << (bits % 16))]
    return [a for a in parts if a.count and a.size > 1]


class Channel(Protocol):
    """Sends `bits` bits a step. `bits` is a budget both sides know; what it costs in the stream is `alphabets`' affair."""

    def snr(self, bits: int, dims: int) -> float:
        """Excess prior variance over noise variance that `bits` bits pay for; increases with bits, 0 at 0."""
        ...

    def max_bits(self, dims: int) -> int:
        """Largest budget of one step."""
        ...

    def alphabets(self, bits: int, dims: int) -> list[Alphabet]:
        """Models of the code's symbols, in order: all that is needed to parse a stream."""
        ...

    def encode(
        self, shifts: NDArray[np.float32], bits: Sequence[int], key: Key, priors: Sequence[Prior | None] | None = None
    ) -> list[NDArray[np.int32]]:
        """shifts: (n, dims), one image a row; bits: n budgets; priors: n, None where white. Returns the n codes, symbols as
        `alphabets` says."""
        ...

    def decode(
        self, code: NDArray[np.int32], bits: int, dims: int, key: Key, prior: Prior | None = None
    ) -> NDArray[np.float32]:
        """The sample (dims,): like a draw from N(shift, I). Exactly reproducible up to one final multiplication."""
        ...
