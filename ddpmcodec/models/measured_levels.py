"""Arguments of `measure_curve`, checked before the long part, and the log-SNRs that it measures at."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.resampling import level_of_smaller
from ddpmcodec.errors import ModelError
from ddpmcodec.numerics.arguments import number, several, whole

BEYOND = 0.5  # how far past the cleanest trained level a chain may go; the network is then asked at that level
_MOST_LEVELS = 1 << 14


def check_images(images: Any) -> None:
    """Raise ModelError for what is no array of training images."""
    if not (isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4 and images.size):
        found = f"{getattr(images, 'dtype', type(images).__name__)} of shape {getattr(images, 'shape', 'unknown')}"
        raise ModelError(f"images of type {found}: expected a uint8 array (n, h, w, channels), values 0 to 255")


def whole_numbers(values: Any, what: str, known: Collection[int] | None = None) -> tuple[int, ...]:
    """Return whole numbers from 1 on, or of those that are known; at least one of these. Raises DdpmCodecError."""
    found = tuple(whole(value, what) for value in several(values, what))
    if min(found, default=1) < 1 or (known is not None and not (found and set(found) <= set(known))):
        expected = "numbers from 1 on" if known is None else f"some of {sorted(known)}"
        raise ModelError(f"{what} {list(found)}: expected {expected}")
    return found


def even_levels(lowest: float, highest: float, spacing: float, factors: Sequence[int]) -> NDArray[np.float64]:
    """Return log-SNRs `spacing` apart, from one at which a picture at the smallest of its sizes is as noisy as it is at
    `lowest`, to a little above `highest`. Raises DdpmCodecError for what is no range, and for too few or too many.
    """
    lowest, highest, spacing = number(lowest, "min_log_snr"), number(highest, "max_log_snr"), number(spacing, "spacing")
    if not (spacing > 0 and lowest < highest and math.isfinite(highest - lowest)):
        raise ModelError(
            f"log-SNRs from {lowest} to {highest}, {spacing} apart: expected a range, and a spacing above 0"
        )
    lowest -= level_of_smaller(0.0, max(factors))
    apart = (highest + BEYOND - lowest) / spacing
    if not 1 <= apart < _MOST_LEVELS:
        raise ModelError(f"log-SNRs {spacing} apart: expected 2 to {_MOST_LEVELS} of them from {lowest:g} to {highest}")
    steps = round(apart)
    return np.linspace(lowest, lowest + steps * spacing, steps + 1)


def own_levels_of(log_snrs: Any) -> NDArray[np.float64]:
    """Return a caller's log-SNRs. Raises ModelError where they don't rise."""
    try:
        levels = np.asarray(log_snrs, np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"log_snrs {log_snrs!r}: expected rising numbers") from error
    if levels.ndim != 1 or not np.isfinite(levels).all():
        raise ModelError(f"log_snrs of shape {levels.shape}: expected rising numbers, and none that is not finite")
    ErrorCurve.from_floats(levels, np.ones(len(levels)), dims=1, refine=1)
    return levels
