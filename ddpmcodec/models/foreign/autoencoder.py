"""Autoencoders of diffusers: latents as what the chain runs on (Rombach et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddpmcodec.errors import ModelError
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH
from ddpmcodec.models.precision import full_precision

Array = NDArray[np.float32]
CLASSES = ("AutoencoderKL", "AutoencoderTiny")


def stored_autoencoder(values: dict[str, Any]) -> dict[str, Any]:
    """Return an autoencoder's config.json without the entries about diffusers, but for the class."""
    return {k: v for k, v in values.items() if not k.startswith("_") or k == "_class_name"}


def check_autoencoder(values: dict[str, Any], channels: int) -> None:
    """Raise ModelError unless it is an autoencoder of pictures in colours to latents of so many channels."""
    kind, latent = values.get("_class_name"), values.get("latent_channels", 4)
    if kind not in CLASSES:
        raise ModelError(f"an autoencoder of class {kind}: expected {' or '.join(CLASSES)}")
    if latent != channels:
        raise ModelError(f"an autoencoder of {latent} channels, and a network of {channels}: expected as many")
    if values.get("in_channels", 3) != 3 or values.get("out_channels", 3) != 3:
        raise ModelError("an autoencoder of pictures that aren't in three colours: expected one that is")
    widths, layers = _widths(values), values.get("layers_per_block", 1)
    if not 1 <= len(widths) <= 8 or any(type(w) is not int or not 1 <= w <= MAX_WIDTH for w in widths):
        raise ModelError(f"an autoencoder of widths {widths}: expected whole numbers, for 1 to 8 levels")
    if type(layers) is not int or not 1 <= layers <= MAX_BLOCKS:
        raise ModelError(f"an autoencoder of {layers} layers a block: expected 1 to {MAX_BLOCKS}")
    if not all(isinstance(v, int | float) and abs(v) < 1e6 for v in (_scale(values), _shift(values))) or not _scale(
        values
    ):
        raise ModelError(f"an autoencoder of scale {_scale(values)} and shift {_shift(values)}: expected numbers")


def autoencoder_factor(values: dict[str, Any]) -> int:
    """Return how many pixels along a side become one latent."""
    return 1 << (len(_widths(values)) - 1)


def autoencoder_class(diffusers: Any, values: dict[str, Any]) -> Any:
    """Return the class of diffusers that an autoencoder's configuration names."""
    return getattr(diffusers, str(values["_class_name"]))


def build_autoencoder(diffusers: Any, values: dict[str, Any]) -> nn.Module:
    """Return the autoencoder of a configuration, with initial weights."""
    own = {k: v for k, v in values.items() if k != "_class_name"}
    return autoencoder_class(diffusers, values).from_config(own)  # type: ignore[no-any-return]


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
        return _scale(self.autoencoder.config)

    @property
    def _shift(self) -> float:
        return _shift(self.autoencoder.config)


def _scale(values: Any) -> float:
    found = values.get("scaling_factor", 0.18215 if values.get("_class_name") != "AutoencoderTiny" else 1.0)
    return found  # type: ignore[no-any-return]


def _shift(values: Any) -> float:
    return values.get("shift_factor") or 0.0


def _widths(values: dict[str, Any]) -> Any:
    name = "block_out_channels" if values.get("_class_name") == "AutoencoderKL" else "encoder_block_out_channels"
    return values.get(name, (64,) if name == "block_out_channels" else (64, 64, 64, 64))
