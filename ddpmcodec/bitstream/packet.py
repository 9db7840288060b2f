"""What crosses from sender to receiver in one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packet:
    """What one step sends for one image: a place on the grid of counts and the channel's symbols.

    A short step, which ends a stream, has no place on the grid, and a level of its own.
    """

    index: int
    bits: int
    code: NDArray[np.int32]
    log_snr: float | None = None  # that a short step goes to; None: the plan's next level
    coloured: bool = False  # the prior has the error's spectrum; False: white, as in models without one and steps of no bits
