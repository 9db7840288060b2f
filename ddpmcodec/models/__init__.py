"""ε-models: what the codec asks of one, the project's U-Net, and the files they live in."""

from ddpmcodec.models.base import CodecModel, EpsModel
from ddpmcodec.models.diffusers_adapter import DiffusersConfig, DiffusersEps, diffusers_levels, load_diffusers
from ddpmcodec.models.measure import measure_curve
from ddpmcodec.models.unet import UNet
from ddpmcodec.models.unet_config import UNetConfig
from ddpmcodec.models.weights import (
    ModelInfo,
    codec_model,
    load_model,
    load_network,
    model_names,
    read_model_info,
    save_model,
)

__all__ = [
    "CodecModel",
    "DiffusersConfig",
    "DiffusersEps",
    "EpsModel",
    "ModelInfo",
    "UNet",
    "UNetConfig",
    "codec_model",
    "diffusers_levels",
    "load_diffusers",
    "load_model",
    "load_network",
    "measure_curve",
    "model_names",
    "read_model_info",
    "save_model",
]
