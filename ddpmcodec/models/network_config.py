"""Architectures that a model file can hold, behind one Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ddpmcodec.errors import ModelError
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.level_ranges_config import LevelRangesConfig
from ddpmcodec.models.unet_config import UNetConfig

if TYPE_CHECKING:
    import torch


class NetworkConfig(Protocol):
    """Architecture of a network that a model file can hold: enough to build it and to know what to ask of it."""

    architecture: ClassVar[str]  # how the file names the kind

    @property
    def window(self) -> int: ...
    @property
    def any_size(self) -> bool:
        """Return whether pictures of any size will do whose sides are multiples of `canvas`."""
        ...

    @property
    def canvas(self) -> int:
        """Least side of what the chain runs on."""
        ...

    @property
    def factor(self) -> int:
        """Pixels along a side for each value of x_0: more than 1 of latents."""
        ...

    @property
    def image_channels(self) -> int: ...
    @property
    def min_log_snr(self) -> float: ...
    @property
    def max_log_snr(self) -> float: ...
    @property
    def elements(self) -> int:
        """Numbers in the network's state, found without building it. Raises ModelError when what it needs is not
        installed.
        """
        ...

    def to_dict(self) -> dict[str, Any]: ...
    def build(self) -> torch.nn.Module:
        """Return the network with initial weights. Raises ModelError when what it needs is not installed."""
        ...


_KINDS: tuple[Any, ...] = (UNetConfig, ConvUNetConfig, LevelRangesConfig, DiffusersConfig)


def parse_config(architecture: str, values: dict[str, Any]) -> NetworkConfig:
    """Return a configuration from what a model file stores. ModelError for an architecture this version doesn't
    know.
    """
    for kind in _KINDS:
        if architecture == kind.architecture:
            return kind.from_dict(values)
    known = ", ".join(kind.architecture for kind in _KINDS)
    raise ModelError(f"a network of architecture {architecture!r}: this version of ddpmcodec knows {known}")
