"""Autoencoders of diffusers: latents as what the chain runs on (Rombach et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddpmcodec.models.foreign.autoencoder_config import latent_scale, latent_shift
from ddpmcodec.models.precision import full_precision

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Latents:
    """(z - shift) · scale of an autoencoder's latents z: the mean of a variational one's, never a draw."""

    autoencoder: nn.Module
    factor: int
    has_colours: bool = False
    lossless: str = (
        "its error is known of latents, and not in levels of the picture, and an autoencoder's picture differs between "
        "machines by more than the tail bears; leave out --lossless"
    )

    def of_pictures(self, planes: Array) -> Array:
        """Pictures whose sides the factor doesn't divide are extended by their last rows and columns."""
        height, width = planes.shape[2:]
        more = [(0, 0), (0, 0), (0, -height % self.factor), (0, -width % self.factor)]
        return self._run(self._encoded, np.pad(planes, more, mode="edge"))

    def to_pictures(self, x_0: Array, height: int, width: int) -> Array:
        """Decode only what belongs to the picture; what lies beyond in the canvas doesn't reach into it."""
        own = x_0[:, :, : -(-height // self.factor), : -(-width // self.factor)]
        return self._run(self._decoded, own)[:, :, :height, :width].clip(-1, 1)

    def _encoded(self, x: Tensor) -> Tensor:
        found = self.autoencoder.encode(x)  # type: ignore[operator]
        z = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        return (z - self._shift) * self._scale  # type: ignore[no-any-return]

    def _decoded(self, x_0: Tensor) -> Tensor:
        return self.autoencoder.decode(x_0 / self._scale + self._shift).sample  # type: ignore[no-any-return, operator]

    def _run(self, function: Any, values: Array) -> Array:
        """One picture after another: a batch's other pictures leave no trace in its rounding."""
        example = next(self.autoencoder.parameters())
        with torch.inference_mode(), full_precision(example.device):
            each = [function(torch.from_numpy(np.array(v[None])).to(example.device, example.dtype)) for v in values]
            return torch.cat(each).float().cpu().numpy()  # type: ignore[no-any-return]

    @property
    def _scale(self) -> float:
        return latent_scale(self.autoencoder.config)

    @property
    def _shift(self) -> float:
        return latent_shift(self.autoencoder.config)
