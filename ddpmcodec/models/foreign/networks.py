"""Networks of diffusers that can be a codec's, by their class."""

from __future__ import annotations

from ddpmcodec.errors import ModelError
from ddpmcodec.models.foreign.adapter import Adapter
from ddpmcodec.models.foreign.diffusion_transformers import SD3, DiT, Flux
from ddpmcodec.models.foreign.unets import UNet2D, UNet2DCondition

ADAPTERS: tuple[Adapter, ...] = (UNet2D(), UNet2DCondition(), DiT(), SD3(), Flux())
READS_TEXT = frozenset({UNet2DCondition.kind, SD3.kind, Flux.kind})


def adapter_of(kind: str) -> Adapter:
    """Return the adapter of a class of diffusers. Raises ModelError for one that there is none for."""
    for adapter in ADAPTERS:
        if adapter.kind == kind:
            return adapter
    raise ModelError(f"a {kind}: expected a {', '.join(adapter.kind for adapter in ADAPTERS)}")
