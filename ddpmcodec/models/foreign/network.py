"""Network of diffusers as an ε-model, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ddpmcodec.models.condition import NO_GUIDANCE, Condition
from ddpmcodec.models.foreign.adapter import Told
from ddpmcodec.models.foreign.autoencoder import Latents
from ddpmcodec.models.space import Pixels, Space

if TYPE_CHECKING:
    from ddpmcodec.models.foreign.config import DiffusersConfig
    from ddpmcodec.models.foreign.texts import TextEncoders

_KEPT = 4  # conditions


class DiffusersEps(nn.Module):
    """ε̂ of a network that may predict something else, has its own clock, and may be told a condition."""

    def __init__(
        self,
        config: DiffusersConfig,
        network: nn.Module,
        autoencoder: nn.Module | None = None,
        texts: TextEncoders | None = None,
    ):
        super().__init__()
        self.config, self.network, self.autoencoder, self.texts = config, network, autoencoder, texts
        self._told: dict[Condition, ToldEps] = {}

    @property
    def space(self) -> Space:
        """Return what x_t is a noisy form of."""
        if self.autoencoder is None:
            dtype = self.config.dtype
            why = f"its network computes in {dtype}, whose results differ between machines; leave out --lossless"
            return Pixels(self.config.image_channels, lossless="" if dtype == "float32" else why)
        return Latents(self.autoencoder, self.config.factor)

    def told(self, condition: Condition) -> ToldEps:
        """Return ε̂ under a condition, which is encoded once. Raises ModelError for one that the network can't have."""
        if condition not in self._told:
            said, unsaid = self.config.adapter.tell(self.config.network, condition, self.texts, self.config.factor)
            while len(self._told) >= _KEPT:
                self._told.pop(next(iter(self._told)))
            guided = condition.guidance != NO_GUIDANCE
            self._told[condition] = ToldEps(self, said, unsaid if guided else None, condition.guidance / 100)
        return self._told[condition]

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """x_t: (n, c, window, window), variance-preserving; log_snr: (n,), finite. Returns ε̂ like x_t, told nothing."""
        return self.told(Condition())(x_t, log_snr)


@dataclass(frozen=True, eq=False)
class ToldEps:
    """ε̂ under a condition. guidance: with it, ε̂ goes beyond that of no condition (Ho & Salimans 2021, eq. 6)."""

    network: DiffusersEps
    said: Told
    unsaid: Told | None
    guidance: float

    def told(self, condition: Condition) -> ToldEps:
        """Return ε̂ under another condition."""
        return self.network.told(condition)

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """x_t, log_snr: as of `DiffusersEps`. Returns ε̂ like x_t."""
        config = self.network.config
        kind, t = config.prediction, config.times.of(log_snr)
        seen = kind.state(x_t, log_snr)
        output = self._predicted(seen, t, self.said)
        if self.unsaid is not None:  # every kind's ε is linear in the output, so guiding that is guiding ε
            free = self._predicted(seen, t, self.unsaid)
            output = free + self.guidance * (output - free)
        return kind.eps(output, x_t, log_snr)

    def _predicted(self, seen: Tensor, t: Tensor, told: Told) -> Tensor:
        dtype = next(self.network.network.parameters()).dtype
        there = {k: v.to(seen.device).expand(len(seen), *v.shape[1:]) for k, v in told.items()}
        there = {k: v.to(dtype) if v.is_floating_point() else v for k, v in there.items()}
        output = self.network.config.adapter.predict(self.network.network, seen.to(dtype), t, there)
        return output[:, : seen.shape[1]].float()  # learned variances follow (Nichol & Dhariwal 2021)
