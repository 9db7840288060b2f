"""Other people's models as numbers, a diffusers UNet2DModel and its betas: checked before anything is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ddpmcodec.diffusion.schedule import NoiseSchedule, from_betas
from ddpmcodec.errors import ModelError
from ddpmcodec.models.config_checks import MAX_BLOCKS, MAX_WIDTH, MAX_WINDOW

if TYPE_CHECKING:
    from ddpmcodec.models.diffusers_adapter import DiffusersEps


@dataclass(frozen=True)
class DiffusersConfig:
    """A UNet2DModel's configuration and the betas it was trained with. Raises ModelError when it can't be a codec."""

    architecture: ClassVar[str] = "diffusers-unet2d"

    unet: dict[str, Any] = field(hash=False)  # as in its config.json, without the entries about diffusers itself
    betas: tuple[float, ...]  # (T,)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
            _require_usable(self.unet)
            len(self.schedule)
        except ModelError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"diffusers configuration not understood: {error}") from error

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """Log-SNRs of the timesteps the network knows: 1 … T here, 0 … T - 1 in diffusers."""
        return from_betas(np.array(self.betas))

    @property
    def window(self) -> int:
        return _side(self.unet)

    @property
    def image_channels(self) -> int:
        return 3

    @property
    def min_log_snr(self) -> float:
        return self.schedule.log_snr(len(self.schedule))

    @property
    def max_log_snr(self) -> float:
        return self.schedule.log_snr(1)

    @property
    def any_size(self) -> bool:
        """Whether pictures of any size will do: no, only windows of its own."""
        return False

    @property
    def canvas(self) -> int:
        """Least side of what the chain runs on."""
        return self.window

    @property
    def elements(self) -> int:
        """Numbers in the state of the network that `build` makes, found without memory for them. Raises ModelError."""
        from ddpmcodec.models.diffusers_adapter import count_elements

        return count_elements(self)

    def build(self) -> DiffusersEps:
        """The network, with initial weights. Raises ModelError where diffusers is not installed."""
        from ddpmcodec.models.diffusers_adapter import build

        return build(self)

    def to_dict(self) -> dict[str, Any]:
        return {"unet": self.unet, "betas": list(self.betas)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DiffusersConfig:
        if not isinstance(values, dict) or set(values) != {"unet", "betas"}:
            raise ModelError("diffusers configuration not understood: expected an object with unet and betas")
        return cls(**values)


def _side(unet: dict[str, Any]) -> int:
    size = unet.get("sample_size")
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    if type(height) is not int or height != width or not 1 <= height <= MAX_WINDOW:
        raise ModelError(
            f"a network with sample_size {size}: expected the side of square pictures, 1 to {MAX_WINDOW}; set it in "
            "config.json"
        )
    return height


def _require_usable(unet: dict[str, Any]) -> None:
    layers, widths = unet.get("layers_per_block", 2), unet.get("block_out_channels", (224,) * 4)
    if not isinstance(layers, int) or not 1 <= layers <= MAX_BLOCKS or not 1 <= len(widths) <= 11:
        raise ModelError(f"a network of {layers} layers a block: expected 1 to {MAX_BLOCKS}, and at most 11 blocks")
    if any(not isinstance(w, int) or not 1 <= w <= MAX_WIDTH for w in widths):
        raise ModelError(f"a network of block_out_channels {widths}: expected whole numbers from 1 to {MAX_WIDTH}")
    channels, out = unet.get("in_channels", 3), unet.get("out_channels", 3)
    if channels != 3 or out not in (3, 6):
        raise ModelError(
            f"a network from {channels} to {out} channels: expected 3 to 3, or 6 with variances; use an RGB model"
        )
    condition = {k: unet[k] for k in ("class_embed_type", "num_class_embeds") if unet.get(k) is not None}
    if condition:
        raise ModelError(
            f"a class-conditional network ({condition}): expected an unconditional one; a codec knows no class"
        )
    side, factor = _side(unet), 1 << (len(unet.get("block_out_channels", "four")) - 1)
    if side % factor:
        raise ModelError(f"a network with sample_size {side}: expected a multiple of {factor} for this many levels")
