"""U-Nets of diffusers, each behind one small adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddpmcodec.errors import ModelError
from ddpmcodec.models.condition import NO_GUIDANCE, Condition
from ddpmcodec.models.foreign.adapter import Texts, Told
from ddpmcodec.models.foreign.checks import (
    check_unet,
    label_of,
    require_channels,
    require_classes,
    require_nothing,
    require_unlabelled,
    square_side,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


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

    def tell(
        self, network: dict[str, Any], condition: Condition, texts: Texts | None, factor: int
    ) -> tuple[Told, Told | None]:
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


class UNet2DCondition:
    """U-Net of texts on latents: Stable Diffusion 1 and 2 (Rombach et al. 2022), and XL (Podell et al. 2023), which is
    told the pooled text and the size of its own window, too.
    """

    kind = "UNet2DConditionModel"

    def check(self, network: dict[str, Any]) -> None:
        check_unet(network)
        require_channels(network, 4)
        names = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "time_cond_proj_dim")
        if more := {k: network[k] for k in names if network.get(k) is not None}:
            raise ModelError(f"a network that is told {more}: expected one that is told a text")
        if network.get("addition_embed_type") not in (None, "text_time"):
            raise ModelError(f"a network of addition_embed_type {network['addition_embed_type']!r}: expected text_time")

    def window(self, network: dict[str, Any]) -> int:
        return square_side(network.get("sample_size"))

    def channels(self, network: dict[str, Any]) -> int:
        return int(network.get("in_channels", 4))

    def tell(
        self, network: dict[str, Any], condition: Condition, texts: Texts | None, factor: int
    ) -> tuple[Told, Told | None]:
        import torch

        require_unlabelled(condition)
        assert texts is not None
        if network.get("addition_embed_type") is None:
            text, nothing = texts.encode(
                "StableDiffusionPipeline", condition.prompt, num_images_per_prompt=1, do_classifier_free_guidance=True
            )
            said, unsaid = {"encoder_hidden_states": text}, {"encoder_hidden_states": nothing}
        else:
            text, nothing, pooled, free = texts.encode("StableDiffusionXLPipeline", condition.prompt)
            side = float(factor * self.window(network))  # original size, crop's corner, target size, in pixels
            sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]])
            said = {"encoder_hidden_states": text, "text_embeds": pooled, "time_ids": sizes}
            unsaid = {"encoder_hidden_states": nothing, "text_embeds": free, "time_ids": sizes}
        return said if condition.prompt else unsaid, unsaid

    def predict(self, network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
        added = {k: v for k, v in told.items() if k != "encoder_hidden_states"}
        text = told["encoder_hidden_states"]
        return network(x, t, text, added_cond_kwargs=added or None).sample  # type: ignore[no-any-return]
