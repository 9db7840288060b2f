"""Networks of diffusers, each behind one small adapter: what differs between them stays here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ddpmcodec.diffusion.axes import MAX_CHANNELS
from ddpmcodec.errors import ModelError
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH, MAX_WINDOW

if TYPE_CHECKING:
    from torch import Tensor, nn


class Adapter(Protocol):
    """Class of diffusers, by its configuration: a network's config.json without the entries about diffusers."""

    @property
    def kind(self) -> str:
        """Name of the class."""
        ...

    def check(self, network: dict[str, Any]) -> None:
        """Raise ModelError where a network of this configuration can't be a codec's."""
        ...

    def window(self, network: dict[str, Any]) -> int:
        """Return the side of the squares it takes."""
        ...

    def channels(self, network: dict[str, Any]) -> int:
        """Return how many channels x_t has."""
        ...

    def predict(self, network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        """Return what the network predicts of x (n, c, h, w) at its own times (n,); learned variances may follow."""
        ...


class UNet2D:
    """Unconditional U-Net (Ho et al. 2020; Nichol & Dhariwal 2021)."""

    kind = "UNet2DModel"

    def check(self, network: dict[str, Any]) -> None:
        check_unet(network)
        require_channels(network)
        condition = {k: network[k] for k in ("class_embed_type", "num_class_embeds") if network.get(k) is not None}
        if condition:
            raise ModelError(
                f"a class-conditional network ({condition}): expected an unconditional one; a codec knows no class"
            )

    def window(self, network: dict[str, Any]) -> int:
        return square_side(network.get("sample_size"))

    def channels(self, network: dict[str, Any]) -> int:
        return int(network.get("in_channels", 3))

    def predict(self, network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        return network(x, t).sample  # type: ignore[no-any-return]


ADAPTERS: tuple[Adapter, ...] = (UNet2D(),)


def adapter_of(kind: str) -> Adapter:
    """Return the adapter of a class of diffusers. Raises ModelError for one that there is none for."""
    for adapter in ADAPTERS:
        if adapter.kind == kind:
            return adapter
    raise ModelError(f"a {kind}: expected a {' or '.join(adapter.kind for adapter in ADAPTERS)}")


def check_unet(network: dict[str, Any]) -> None:
    """Raise ModelError where a U-Net's blocks are of sizes that no honest file has, or don't fit its window."""
    layers, widths = network.get("layers_per_block", 2), network.get("block_out_channels", (224,) * 4)
    if not isinstance(layers, int) or not 1 <= layers <= MAX_BLOCKS or not 1 <= len(widths) <= 11:
        raise ModelError(f"a network of {layers} layers a block: expected 1 to {MAX_BLOCKS}, and at most 11 blocks")
    if any(not isinstance(w, int) or not 1 <= w <= MAX_WIDTH for w in widths):
        raise ModelError(f"a network of block_out_channels {widths}: expected whole numbers from 1 to {MAX_WIDTH}")
    side, factor = square_side(network.get("sample_size")), 1 << (len(widths) - 1)
    if side % factor:
        raise ModelError(f"a network with sample_size {side}: expected a multiple of {factor} for this many levels")


def require_channels(network: dict[str, Any], default: int = 3) -> None:
    """Raise ModelError unless as many channels go in as come out, or twice as many, with learned variances."""
    channels, out = network.get("in_channels", default), network.get("out_channels", default)
    out = channels if out is None else out
    if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS or out not in (channels, 2 * channels):
        raise ModelError(
            f"a network from {channels} to {out} channels: expected 1 to {MAX_CHANNELS} to as many, or to twice as "
            "many with variances"
        )


def square_side(size: Any) -> int:
    """Return the side that a sample_size names. Raises ModelError for anything but squares of a reasonable size."""
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    if type(height) is not int or height != width or not 1 <= height <= MAX_WINDOW:
        raise ModelError(
            f"a network with sample_size {size}: expected the side of square pictures, 1 to {MAX_WINDOW}; set it in "
            "config.json"
        )
    return height
