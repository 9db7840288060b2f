"""Channels by name: in a header's field, and as a user says them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddpmcodec.channel.base import Channel
from ddpmcodec.channel.random_coding import RandomCodingChannel
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.errors import DdpmCodecError, FormatError

if TYPE_CHECKING:
    import torch

TRELLIS, RANDOM_CODING = 0, 1  # kinds, in a header
LEAST_MEMORY, MOST_MEMORY = 8, 16  # of the trellis; and log2 of the candidates of ordered random coding
# Up to here a stream whose header names no channel has 2^16 states, beyond 2^14 (docs/channel.md, "How many states").
LARGER_TRELLIS_DIMS = 16384
_PARAMETERS = {str(parameter) for parameter in range(LEAST_MEMORY, MOST_MEMORY + 1)}


def default_memory(dims: int) -> int:
    """Return the trellis memory of a stream whose header names none."""
    return MOST_MEMORY if dims <= LARGER_TRELLIS_DIMS else 14


def channel_of(spec: tuple[int, int] | None, dims: int, device: torch.device | None = None) -> Channel:
    """Return the channel that a header's field names; None is the default. device: where the trellis search runs."""
    kind, parameter = spec if spec is not None else (TRELLIS, default_memory(dims))
    if kind == TRELLIS and LEAST_MEMORY <= parameter <= MOST_MEMORY:
        return TrellisChannel(parameter, device)
    if kind == RANDOM_CODING and LEAST_MEMORY <= parameter <= MOST_MEMORY:
        return RandomCodingChannel(parameter)
    raise FormatError(f"channel {kind} with parameter {parameter} is unknown; expected 0 or 1 with 8 to 16")


def parse_channel(name: str) -> tuple[int, int] | None:
    """Return the header's field for "trellis", "trellis:12" (memory), "orc" or "orc:14" (log2 candidates)."""
    kind, colon, parameter = name.partition(":")
    kinds = {"trellis": (TRELLIS, None), "orc": (RANDOM_CODING, 14)}
    if kind not in kinds or (colon and parameter not in _PARAMETERS):
        raise DdpmCodecError(f"channel {name!r}: expected trellis, trellis:8 … trellis:16, orc or orc:8 … orc:16")
    number, default = kinds[kind]
    value = int(parameter) if parameter else default
    return None if value is None else (number, value)
