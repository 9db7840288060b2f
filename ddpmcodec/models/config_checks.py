"""Checks of any network's configuration, for it may come from a stranger's file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from ddpmcodec.errors import ModelError

T = TypeVar("T")

MAX_WIDTH = 1 << 16  # channels of the widest layer
MAX_BLOCKS = 64  # a level
MAX_WINDOW = 1024
MAX_LOG_SNR = 64.0  # beyond, either way, nothing of the picture or of the noise is left in float64


def from_stored(kind: Callable[..., T], values: Any, what: str) -> T:
    """Return a configuration made of what a file stores; JSON has lists for tuples. Raises ModelError."""
    if not isinstance(values, dict):
        raise ModelError(f"{what} configuration not understood: found {type(values).__name__}, expected an object")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise ModelError(f"{what} configuration not understood: {error}") from error


def require_types(config: Any, what: str) -> None:
    """Hold a dataclass to its annotations: JSON has numbers of any kind and size where a whole number of layers is
    meant.

    Raises ModelError.
    """
    for field in fields(config):
        value, wanted = getattr(config, field.name), str(field.type)
        parts = value if wanted.startswith("tuple") and isinstance(value, tuple) else (value,)
        if wanted == "float":
            fits = isinstance(value, float) or (type(value) is int and abs(value) < 1 << 53)
            fits = fits and math.isfinite(value)
        elif wanted == "bool":
            fits = type(value) is bool
        else:
            fits = isinstance(value, tuple) == wanted.startswith("tuple") and all(type(v) is int for v in parts)
        if not fits:
            raise ModelError(
                f"{what} configuration not understood: {field.name} is {str(value)[:40]!r}, expected {wanted}"
            )


def require_levels(low: float, high: float) -> None:
    """Raise ModelError unless log-SNRs rise from `low` to `high` within ±MAX_LOG_SNR."""
    if not -MAX_LOG_SNR <= low < high <= MAX_LOG_SNR:
        raise ModelError(f"log-SNRs from {low} to {high}: expected a rising pair within ±{MAX_LOG_SNR:g}")
