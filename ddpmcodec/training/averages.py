"""Exponential averages of a network's weights, several lengths at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Averages:
    """Averages with decays β: each forgets what is ln 2 / (1 − β) updates old by half.

    They start from nothing and are divided by 1 − βⁿ after n updates, as Adam's moments are (Kingma & Ba 2015), so
    weights from before the first update don't count, and the update is the same work every time.
    """

    def __init__(self, network: nn.Module, decays: Sequence[float]):
        self._weights = list(network.state_dict().values())
        self._names = list(network.state_dict())
        self._sums = {decay: [torch.zeros_like(w) for w in self._weights] for decay in decays}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into every average."""
        for decay, sums in self._sums.items():
            torch._foreach_lerp_(sums, self._weights, 1 - decay)

    def after(self, updates: int) -> dict[float, dict[str, Tensor]]:
        """Return copies of the averages after `updates` updates, by decay; the weights themselves before the first."""
        found = {}
        for decay, sums in self._sums.items():
            values = [s / (1 - decay**updates) for s in sums] if updates else [w.clone() for w in self._weights]
            found[decay] = dict(zip(self._names, values, strict=True))
        return found

    def state(self) -> dict[float, dict[str, Tensor]]:
        """Return copies of the sums themselves, by decay, for a checkpoint."""
        return {
            d: {k: s.cpu().clone() for k, s in zip(self._names, sums, strict=True)} for d, sums in self._sums.items()
        }

    @torch.no_grad()
    def load_state(self, state: dict[float, dict[str, Tensor]]) -> None:
        """Restore what `state` gave. Raises KeyError or RuntimeError when it is another network's."""
        for decay, sums in self._sums.items():
            for name, total in zip(self._names, sums, strict=True):
                total.copy_(state[decay][name])
