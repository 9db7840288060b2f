"""Networks for ranges of noise levels as one ε-model: what a noisy picture needs, a clean one doesn't.

At a fine level everything that helps is near and the picture is seen at its full size, so depth is worth less than
width at the finest resolution; at a coarse one it is the other way round (Balaji et al. 2022, section 3).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import lcm
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ddpmcodec.errors import ModelError
from ddpmcodec.models.base import EpsModel
from ddpmcodec.models.config_checks import require_levels
from ddpmcodec.models.conv_unet_config import ConvUNetConfig

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
    def any_size(self) -> bool:
        """Whether pictures of any size will do: yes, of sides that `canvas` divides."""
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


def by_level(networks: Sequence[EpsModel], bounds: Sequence[float]) -> EpsModel:
    """Return the network that asks the one of each picture's level. Levels of a batch may differ."""

    def eps(x_t: Tensor, log_snr: Tensor) -> Tensor:
        places = [bisect_right(bounds, level) for level in log_snr.tolist()]
        if len(set(places)) == 1:
            return networks[places[0]](x_t, log_snr)
        place = torch.tensor(places, device=x_t.device)
        found = torch.empty_like(x_t)
        for i in set(places):
            found[place == i] = networks[i](x_t[place == i], log_snr[place == i]).to(found.dtype)
        return found

    return eps


class LevelRanges(nn.Module):
    """ε̂ = ε_θ(x_λ, λ) by the network of the level's range."""

    def __init__(self, config: LevelRangesConfig):
        super().__init__()
        self.config = config
        self.networks = nn.ModuleList(network.build() for network in config.networks)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """x: (n, c, h, w) in the scale of x_t, sides multiples of `downsampling`; log_snr: (n,). Returns ε̂ like x."""
        return by_level(list(self.networks), self.config.bounds)(x, log_snr)
