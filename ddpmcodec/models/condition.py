"""Condition that a network is told beside x_t and the noise level: a class, or a text, and how strongly it follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ddpmcodec.errors import DdpmCodecError

NO_GUIDANCE = 100
MAX_GUIDANCE = 10_000


@dataclass(frozen=True)
class Condition:
    """Condition of a stream, the same for sender and receiver; as it is by default, nothing is said. Raises
    DdpmCodecError for what can't be one.
    """

    label: int | None = None  # of a class; None: no class, where the network knows that
    prompt: str = ""
    guidance: int = NO_GUIDANCE  # hundredths: weight of the condition's ε (Ho & Salimans 2021, eq. 6)

    def __post_init__(self) -> None:
        if self.label is not None and not 0 <= self.label < 1 << 32:
            raise DdpmCodecError(f"class {self.label}: expected a number from 0 to 2^32 - 1")
        if not 0 <= self.guidance <= MAX_GUIDANCE:
            raise DdpmCodecError(f"a guidance of {self.guidance / 100:g}: expected 0 to {MAX_GUIDANCE // 100}")


def condition_from(label: int | None, prompt: str | None, guidance: float | None) -> Condition:
    """Return the condition that a caller's options name. Raises DdpmCodecError."""
    if guidance is None:
        return Condition(label, prompt or "")
    hundredths = round(guidance * 100) if math.isfinite(guidance) else -1
    if not 0 <= hundredths <= MAX_GUIDANCE:
        raise DdpmCodecError(f"a guidance of {guidance:g}: expected 0 to {MAX_GUIDANCE // 100}")
    return Condition(label, prompt or "", hundredths)
