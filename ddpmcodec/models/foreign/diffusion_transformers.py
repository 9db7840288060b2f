"""Transformers of diffusers, each behind one small adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddpmcodec.errors import ModelError
from ddpmcodec.models.condition import Condition
from ddpmcodec.models.foreign.adapter import Texts, Told
from ddpmcodec.models.foreign.checks import (
    check_transformer,
    label_of,
    require_channels,
    require_classes,
    require_unlabelled,
    square_side,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


class DiT:
    """Transformer of classes on latents; the class after the last stands for none (Peebles & Xie 2023)."""

    kind = "DiTTransformer2DModel"

    def check(self, network: dict[str, Any]) -> None:
        require_channels(network, 4)
        require_classes(self._classes(network))
        check_transformer(network, num_attention_heads=16, attention_head_dim=72, num_layers=28, patch_size=2)
        if self.window(network) % network.get("patch_size", 2):
            raise ModelError(f"a transformer for {self.window(network)} latents: expected a multiple of its patches")

    def window(self, network: dict[str, Any]) -> int:
        return square_side(network.get("sample_size", 32))

    def channels(self, network: dict[str, Any]) -> int:
        return int(network.get("in_channels", 4))

    def tell(
        self, network: dict[str, Any], condition: Condition, texts: Texts | None, factor: int
    ) -> tuple[Told, Told | None]:
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


class SD3:
    """Transformer of texts on latents, a rectified flow: Stable Diffusion 3 (Esser et al. 2024)."""

    kind = "SD3Transformer2DModel"

    def check(self, network: dict[str, Any]) -> None:
        require_channels(network, 16)
        check_transformer(network, num_attention_heads=18, attention_head_dim=64, num_layers=18, patch_size=2)
        if self.window(network) % network.get("patch_size", 2):
            raise ModelError(f"a transformer for {self.window(network)} latents: expected a multiple of its patches")

    def window(self, network: dict[str, Any]) -> int:
        return square_side(network.get("sample_size", 128))

    def channels(self, network: dict[str, Any]) -> int:
        return int(network.get("in_channels", 16))

    def tell(
        self, network: dict[str, Any], condition: Condition, texts: Texts | None, factor: int
    ) -> tuple[Told, Told | None]:
        require_unlabelled(condition)
        assert texts is not None
        text, nothing, pooled, free = texts.encode(
            "StableDiffusion3Pipeline", condition.prompt, prompt_2=None, prompt_3=None
        )
        unsaid = {"encoder_hidden_states": nothing, "pooled_projections": free}
        said = {"encoder_hidden_states": text, "pooled_projections": pooled}
        return said if condition.prompt else unsaid, unsaid

    def predict(self, network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
        return network(hidden_states=x, timestep=t, **told).sample  # type: ignore[no-any-return]


class Flux:
    """Transformer of texts on packed latents, a rectified flow (Black Forest Labs 2024).

    Where guidance was distilled into the network, it is told the number, and called once.
    """

    kind = "FluxTransformer2DModel"

    def check(self, network: dict[str, Any]) -> None:
        channels, out = network.get("in_channels", 64), network.get("out_channels")
        if channels % 4 or out not in (None, channels):
            to = "" if out is None else f" to {out}"
            raise ModelError(f"a transformer from {channels}{to} packed channels: expected a multiple of 4, to as many")
        check_transformer(
            network, num_attention_heads=24, attention_head_dim=128, num_layers=19, num_single_layers=38, in_channels=64
        )
        if self.window(network) % 2 or network.get("patch_size", 1) != 1:
            raise ModelError("a transformer of packed latents: expected an even side, and a patch_size of 1")

    def window(self, network: dict[str, Any]) -> int:
        return square_side(network.get("sample_size", 128))  # as the pipeline's default

    def channels(self, network: dict[str, Any]) -> int:
        return int(network.get("in_channels", 64)) // 4

    def tell(
        self, network: dict[str, Any], condition: Condition, texts: Texts | None, factor: int
    ) -> tuple[Told, Told | None]:
        import torch

        require_unlabelled(condition)
        assert texts is not None
        told = list[Told]()
        for prompt in (condition.prompt, ""):
            text, pooled, _ = texts.encode("FluxPipeline", prompt, prompt_2=None)
            told.append({"encoder_hidden_states": text, "pooled_projections": pooled})
        said, unsaid = told
        if not network.get("guidance_embeds"):
            return said, unsaid
        return said | {"guidance": torch.tensor([condition.guidance / 100])}, None

    def predict(self, network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
        import torch

        n, channels, height, width = x.shape
        rows, columns = height // 2, width // 2
        packed = x.reshape(n, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, -1)
        ids = torch.zeros(rows, columns, 3, device=x.device, dtype=x.dtype)
        ids[..., 1] = torch.arange(rows)[:, None]
        ids[..., 2] = torch.arange(columns)[None, :]
        words = torch.zeros(told["encoder_hidden_states"].shape[1], 3, device=x.device, dtype=x.dtype)
        output = network(packed, timestep=t / 1000, img_ids=ids.reshape(-1, 3), txt_ids=words, **told).sample
        unpacked = output.reshape(n, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return unpacked.reshape(x.shape)  # type: ignore[no-any-return]
