"""Networks of diffusers, each behind one small adapter: what differs between them stays here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ddpmcodec.diffusion.axes import MAX_CHANNELS
from ddpmcodec.errors import ModelError
from ddpmcodec.models.condition import NO_GUIDANCE, Condition
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH, MAX_WINDOW

MAX_CLASSES = 1 << 20
MAX_LAYERS = 512

if TYPE_CHECKING:
    from torch import Tensor, nn

Told = dict[str, "Tensor"]  # by name, one row each, for a batch to share


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

    def tell(self, network: dict[str, Any], condition: Condition) -> tuple[Told, Told | None]:
        """Return what the network is told, and what it is told where nothing is said; None: it can't do without.

        Raises ModelError for a condition that it can't have.
        """
        ...

    def predict(self, network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
        """Return what the network predicts of x (n, c, h, w) at its own times (n,); learned variances may follow."""
        ...


class UNet2D:
    """U-Net without condition, or of classes (Ho et al. 2020; Nichol & Dhariwal 2021)."""

    kind = "UNet2DModel"

    def check(self, network: dict[str, Any]) -> None:
        check_unet(network)
        require_channels(network)
        if network.get("class_embed_type") is not None:
            raise ModelError(
                f"a network with class_embed_type {network['class_embed_type']!r}: expected numbered classes, or none"
            )
        require_classes(self._classes(network))

    def window(self, network: dict[str, Any]) -> int:
        return square_side(network.get("sample_size"))

    def channels(self, network: dict[str, Any]) -> int:
        return int(network.get("in_channels", 3))

    def tell(self, network: dict[str, Any], condition: Condition) -> tuple[Told, Told | None]:
        if not self._classes(network):
            require_nothing(condition)
            return {}, {}
        if condition.label is None:
            raise ModelError(
                f"a network of {self._classes(network)} classes, which has to be told one: give it (--class N)"
            )
        if condition.guidance != NO_GUIDANCE:
            raise ModelError("a network that knows no picture without a class can't be guided: leave out --guidance")
        return {"class_labels": label_of(condition, self._classes(network))}, None

    def predict(self, network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
        return network(x, t, **told).sample  # type: ignore[no-any-return]

    def _classes(self, network: dict[str, Any]) -> int:
        return network.get("num_class_embeds") or 0


class DiT:
    """Transformer of classes on latents; the class after the last stands for none (Peebles & Xie 2023)."""

    kind = "DiTTransformer2DModel"

    def check(self, network: dict[str, Any]) -> None:
        require_channels(network, 4)
        require_classes(self._classes(network))
        heads, width = network.get("num_attention_heads", 16), network.get("attention_head_dim", 72)
        layers, patch = network.get("num_layers", 28), network.get("patch_size", 2)
        numbers = (heads, width, layers, patch)
        if any(type(n) is not int or n < 1 for n in numbers) or heads * width > MAX_WIDTH or layers > MAX_LAYERS:
            raise ModelError(f"a transformer of {numbers} heads, width, layers and patch: expected whole numbers")
        if self.window(network) % patch:
            raise ModelError(
                f"a transformer for {self.window(network)} latents in patches of {patch}: expected a multiple"
            )

    def window(self, network: dict[str, Any]) -> int:
        return square_side(network.get("sample_size", 32))

    def channels(self, network: dict[str, Any]) -> int:
        return int(network.get("in_channels", 4))

    def tell(self, network: dict[str, Any], condition: Condition) -> tuple[Told, Told | None]:
        classes = self._classes(network)
        free = label_of(Condition(label=classes), classes + 1)
        said = free if condition.label is None else label_of(condition, classes)
        if condition.prompt:
            raise ModelError("a network of classes reads no text: leave out --prompt")
        return {"class_labels": said}, {"class_labels": free}

    def predict(self, network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
        return network(x, timestep=t, **told).sample  # type: ignore[no-any-return]

    def _classes(self, network: dict[str, Any]) -> int:
        return network.get("num_embeds_ada_norm", 1000)  # type: ignore[no-any-return]


ADAPTERS: tuple[Adapter, ...] = (UNet2D(), DiT())


def adapter_of(kind: str) -> Adapter:
    """Return the adapter of a class of diffusers. Raises ModelError for one that there is none for."""
    for adapter in ADAPTERS:
        if adapter.kind == kind:
            return adapter
    raise ModelError(f"a {kind}: expected a {' or '.join(adapter.kind for adapter in ADAPTERS)}")


def label_of(condition: Condition, classes: int) -> Tensor:
    """Return the class of a condition, (1,). Raises ModelError for one that there isn't."""
    import torch

    if condition.label is None or not condition.label < classes:
        raise ModelError(f"class {condition.label}: this network has 0 to {classes - 1}")
    if condition.prompt:
        raise ModelError("a network of classes reads no text: leave out --prompt")
    return torch.tensor([condition.label])


def require_nothing(condition: Condition) -> None:
    """Raise ModelError where a network that is told nothing would be told something."""
    if condition != Condition():
        raise ModelError("this model takes no class, prompt or guidance: leave out --class, --prompt and --guidance")


def require_classes(classes: Any) -> None:
    """Raise ModelError for a number of classes that no honest file has."""
    if type(classes) is not int or not 0 <= classes <= MAX_CLASSES:
        raise ModelError(f"a network of {classes} classes: expected at most {MAX_CLASSES}")


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
