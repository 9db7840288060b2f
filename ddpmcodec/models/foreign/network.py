"""A network of diffusers as an ε-model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from ddpmcodec.models.foreign.config import DiffusersConfig


class DiffusersEps(nn.Module):
    """ε̂ of a network that may predict something else, and has its own clock."""

    def __init__(self, config: DiffusersConfig, network: nn.Module):
        super().__init__()
        self.config, self.network = config, network

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """x_t: (n, c, window, window), variance-preserving; log_snr: (n,), finite. Returns ε̂ like x_t."""
        kind = self.config.prediction
        output = self.config.adapter.predict(self.network, kind.state(x_t, log_snr), self.config.times.of(log_snr))
        # Learned variances follow (Nichol & Dhariwal 2021).
        return kind.eps(output[:, : x_t.shape[1]], x_t, log_snr)
