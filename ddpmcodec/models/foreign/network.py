"""Network of diffusers as an ε-model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ddpmcodec.models.foreign.autoencoder import Latents
from ddpmcodec.models.space import Pixels, Space

if TYPE_CHECKING:
    from ddpmcodec.models.foreign.config import DiffusersConfig


class DiffusersEps(nn.Module):
    """ε̂ of a network that may predict something else, and has its own clock."""

    def __init__(self, config: DiffusersConfig, network: nn.Module, autoencoder: nn.Module | None = None):
        super().__init__()
        self.config, self.network, self.autoencoder = config, network, autoencoder

    @property
    def space(self) -> Space:
        """What x_t is a noisy form of."""
        if self.autoencoder is None:
            return Pixels(self.config.image_channels)
        return Latents(self.autoencoder, self.config.factor)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """x_t: (n, c, window, window), variance-preserving; log_snr: (n,), finite. Returns ε̂ like x_t."""
        kind = self.config.prediction
        output = self.config.adapter.predict(self.network, kind.state(x_t, log_snr), self.config.times.of(log_snr))
        # Learned variances follow (Nichol & Dhariwal 2021).
        return kind.eps(output[:, : x_t.shape[1]], x_t, log_snr)
