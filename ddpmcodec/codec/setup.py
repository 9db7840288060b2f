"""What encoding and decoding both begin with: a loaded model, and the chain that a header and the model make."""

from __future__ import annotations

import os
from functools import lru_cache

from ddpmcodec.bitstream.header import Header
from ddpmcodec.channel.names import channel_of
from ddpmcodec.codec.reverse_chain import ReverseChain
from ddpmcodec.diffusion.windows import canvas_size
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.weights import DEFAULT_MODEL, load_model

ModelLike = CodecModel | str | os.PathLike[str] | None


def as_model(model: ModelLike) -> CodecModel:
    """A loaded model as it is; a name or path is loaded on the CPU, and kept."""
    return model if isinstance(model, CodecModel) else _load(os.fspath(model or DEFAULT_MODEL))


@lru_cache(maxsize=4)
def _load(name: str) -> CodecModel:
    return load_model(name)


def chain_of(header: Header, model: CodecModel, count: int, search_device: bool = False) -> ReverseChain:
    """The chain of `count` pictures at x_T. search_device: the channel searches on the model's device."""
    height, width = canvas_size(header.height, header.width, model.window)
    device = model.device if search_device and model.device.type != "cpu" else None
    channel = channel_of(header.channel, model.channels * height * width, device)
    return ReverseChain(model, model.plan(header.plan_steps), channel, count, height, width, header.seed)
