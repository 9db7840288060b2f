"""Configurations of diffusers' autoencoders: checked before anything is built, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddpmcodec.errors import ModelError
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH

if TYPE_CHECKING:
    from torch import nn

CLASSES = ("AutoencoderKL", "AutoencoderTiny")


def stored_autoencoder(values: dict[str, Any]) -> dict[str, Any]:
    """Return an autoencoder's config.json without the entries about diffusers, but for the class."""
    return {k: v for k, v in values.items() if not k.startswith("_") or k == "_class_name"}


def check_autoencoder(values: dict[str, Any], channels: int) -> None:
    """Raise ModelError unless it is an autoencoder of pictures in colours to latents of `channels` channels."""
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
    scale, shift = latent_scale(values), latent_shift(values)
    if not all(isinstance(v, int | float) and abs(v) < 1e6 for v in (scale, shift)) or not scale:
        raise ModelError(f"an autoencoder of scale {scale} and shift {shift}: expected numbers")


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


def latent_scale(values: Any) -> float:
    """Return what latents are multiplied by."""
    found = values.get("scaling_factor", 0.18215 if values.get("_class_name") != "AutoencoderTiny" else 1.0)
    return found  # type: ignore[no-any-return]


def latent_shift(values: Any) -> float:
    """Return what is taken off latents before."""
    return values.get("shift_factor") or 0.0


def _widths(values: dict[str, Any]) -> Any:
    name = "block_out_channels" if values.get("_class_name") == "AutoencoderKL" else "encoder_block_out_channels"
    return values.get(name, (64,) if name == "block_out_channels" else (64, 64, 64, 64))
