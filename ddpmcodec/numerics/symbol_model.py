"""Probability models of symbols in integer frequencies: what a range coder codes by, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import constriction
import numpy as np


@dataclass(frozen=True)
class SymbolModel:
    """Model of `count` symbols in a row: uniform over `size` values, or by the given integer frequencies."""

    count: int
    size: int
    frequencies: tuple[int, ...] | None = None  # sum to a power of two, at most 2^22, so they are exact as floats

    @cached_property
    def model(self) -> Any:
        """Return the constriction model; None where the only possible symbol is 0 and costs nothing."""
        if self.size == 1:
            return None
        return (
            constriction.stream.model.Uniform(self.size) if self.frequencies is None else categorical(self.frequencies)
        )


@lru_cache(maxsize=1024)
def categorical(frequencies: tuple[int, ...]) -> Any:
    """Return a constriction model from integer frequencies that sum to a power of two: no rounding depends on the
    machine.
    """
    weights = np.array(frequencies, np.float64)
    return constriction.stream.model.Categorical(weights / weights.sum(), perfect=False)


def uniform_words(bits: int) -> list[SymbolModel]:
    """Return the models of `bits` raw bits as 16-bit symbols and one shorter one."""
    parts = [SymbolModel(bits // 16, 1 << 16), SymbolModel(1, 1 << (bits % 16))]
    return [a for a in parts if a.count and a.size > 1]
