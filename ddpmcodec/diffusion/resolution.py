"""Resolutions at which the network looks at a picture: where noise hides everything fine, a smaller one shows it more,
for less.

Which size is best at which level is measured with the error curve and stored with it, in integers. What is done with
it is in `diffusion.resampling`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import ModelError

FACTORS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Resolution:
    """Resolution of 1/factor of the picture's size; merged: only for what such a picture shows, the rest from the
    picture as it is.
    """

    factor: int = 1
    merged: bool = False


WHOLE = Resolution()


@dataclass(frozen=True)
class Resolutions:
    """Resolutions from each of some log-SNRs on; the first one serves noisier levels, too."""

    log_snr: tuple[int, ...]  # rising, units of 2^-16
    factor: tuple[int, ...]
    merged: tuple[int, ...]  # 0 or 1

    def __post_init__(self) -> None:
        rising = all(b > a for a, b in zip(self.log_snr, self.log_snr[1:], strict=False))
        alike = len(self.log_snr) == len(self.factor) == len(self.merged) >= 1
        if not alike or not rising or set(self.factor) - set(FACTORS) or set(self.merged) - {0, 1}:
            raise ModelError(f"the model's resolutions need rising log-SNRs, and a factor of {FACTORS} for each")

    @classmethod
    def of(cls, log_snr: NDArray[np.float64], chosen: list[Resolution]) -> Resolutions:
        """Return the runs of equal resolutions at some rising levels."""
        starts = [i for i, r in enumerate(chosen) if not i or r != chosen[i - 1]]
        levels = tuple(int(v) for v in np.rint(log_snr[starts] * 65536))
        return cls(levels, tuple(chosen[i].factor for i in starts), tuple(int(chosen[i].merged) for i in starts))

    def at(self, log_snr: float, side: int, least: int) -> Resolution:
        """Return the resolution at a level for a picture whose shorter side is `side`, and a network that needs `least`
        pixels.
        """
        i = max(bisect_right(self.log_snr, log_snr * 65536) - 1, 0)
        factor = self.factor[i]
        while factor > 1 and side < factor * least:
            factor //= 2
        return Resolution(factor, bool(self.merged[i]) and factor > 1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
