"""Networks for ranges of noise levels as one ε-model: what a noisy picture needs, a clean one doesn't.

At a fine level everything that helps is near and the picture is seen at its full size, so depth is worth less than
width at the finest resolution; at a coarse one it is the other way round (Balaji et al. 2022, section 3).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddpmcodec.models.base import EpsModel
from ddpmcodec.models.level_ranges_config import LevelRangesConfig


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
