"""Checks of networks of diffusers, for their configurations may come from a stranger's file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddpmcodec.diffusion.axes import MAX_CHANNELS
from ddpmcodec.errors import ModelError
from ddpmcodec.models.condition import Condition
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH, MAX_WINDOW

if TYPE_CHECKING:
    from torch import Tensor

MAX_CLASSES = 1 << 20
MAX_LAYERS = 512


def check_transformer(network: dict[str, Any], **defaults: int) -> None:
    """Raise ModelError where a transformer's numbers are such as no honest file has. defaults: by name."""
    numbers = {name: network.get(name, default) for name, default in defaults.items()}
    layers = max((n for name, n in numbers.items() if "layers" in name), default=1)
    if any(type(n) is not int or not 1 <= n <= MAX_WIDTH for n in numbers.values()) or layers > MAX_LAYERS:
        raise ModelError(f"a transformer of {numbers}: expected whole numbers, at most {MAX_LAYERS} layers")
    if numbers.get("num_attention_heads", 1) * numbers.get("attention_head_dim", 1) > MAX_WIDTH:
        raise ModelError(f"a transformer of {numbers}: expected a width of at most {MAX_WIDTH}")


def require_unlabelled(condition: Condition) -> None:
    """Raise ModelError where a network of texts would be told a class."""
    if condition.label is not None:
        raise ModelError("a network of texts knows no classes: leave out --class, or say it in words (--prompt)")


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
