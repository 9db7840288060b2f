"""Configuration of networks for ranges of noise levels: checked before anything is built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from math import lcm
from typing import TYPE_CHECKING, Any, ClassVar

from ddpmcodec.errors import ModelError
from ddpmcodec.models.config_checks import require_levels
from ddpmcodec.models.conv_unet_config import ConvUNetConfig

if TYPE_CHECKING:
    from ddpmcodec.models.level_ranges import LevelRanges

_MAX_NETWORKS = 8


@dataclass(frozen=True)
class LevelRangesConfig:
    """Configuration of networks for any size, noisiest levels first. Raises ModelError when impossible."""

    architecture: ClassVar[str] = "conv-unet-ranges"

    networks: tuple[ConvUNetConfig, ...]
    bounds: tuple[float, ...]  # log-SNRs between them: a level at a bound is the cleaner network's

    def __post_init__(self) -> None:
        networks = self.networks
        if not 1 <= len(networks) <= _MAX_NETWORKS or len(self.bounds) != len(networks) - 1:
            raise ModelError(
                f"{len(networks)} networks and {len(self.bounds)} bounds between them: expected 1 to {_MAX_NETWORKS} "
                "networks, and one bound fewer"
            )
        if len({network.image_channels for network in networks}) > 1:
            raise ModelError("networks for pictures of different numbers of channels: expected one number")
        for low, high in pairwise((self.min_log_snr, *self.bounds, self.max_log_snr)):
            require_levels(low, high)

    @property
    def image_channels(self) -> int:
        return self.networks[0].image_channels

    @property
    def window(self) -> int:
        """Side of the crops that measurements take by default."""
        return lcm(*(network.window for network in self.networks))

    @property
    def factor(self) -> int:
        """Number of pixels along a side for each value of x_0."""
        return 1

    @property
    def any_size(self) -> bool:
        """Return whether pictures of any size will do: yes, of sides that `canvas` divides."""
        return True

    @property
    def canvas(self) -> int:
        """Least side of what the chain runs on."""
        return self.downsampling

    @property
    def downsampling(self) -> int:
        """Number that sides must be multiples of."""
        return lcm(*(network.downsampling for network in self.networks))

    @property
    def min_log_snr(self) -> float:
        return self.networks[0].min_log_snr

    @property
    def max_log_snr(self) -> float:
        return self.networks[-1].max_log_snr

    @property
    def elements(self) -> int:
        """Numbers in the state of the network that `build` makes."""
        return sum(network.elements for network in self.networks)

    def build(self) -> LevelRanges:
        """Return the network, with initial weights."""
        from ddpmcodec.models.level_ranges import LevelRanges

        return LevelRanges(self)

    def to_dict(self) -> dict[str, Any]:
        return {"networks": [asdict(network) for network in self.networks], "bounds": list(self.bounds)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LevelRangesConfig:
        """Return the configuration as a file stores it. Raises ModelError."""
        networks, bounds = values.get("networks"), values.get("bounds")
        if set(values) != {"networks", "bounds"} or not isinstance(networks, list) or not isinstance(bounds, list):
            raise ModelError("configuration of networks by level not understood: expected networks and bounds")
        if not all(type(bound) in (int, float) for bound in bounds):
            raise ModelError(f"bounds {str(bounds)[:80]}: expected log-SNRs")
        if len(networks) > _MAX_NETWORKS:
            raise ModelError(f"{len(networks)} networks: expected at most {_MAX_NETWORKS}")
        return cls(tuple(ConvUNetConfig.from_dict(network) for network in networks), tuple(map(float, bounds)))
