"""ε-models: what the codec asks of one, the project's U-Net, and the files they live in."""

from ddpmcodec.models.base import CodecModel, EpsModel
from ddpmcodec.models.custom import codec_model
from ddpmcodec.models.foreign import DiffusersConfig, DiffusersEps, load_diffusers
from ddpmcodec.models.measure import measure_curve
from ddpmcodec.models.places import model_names
from ddpmcodec.models.times import own_levels
from ddpmcodec.models.unet import UNet
from ddpmcodec.models.unet_config import UNetConfig
from ddpmcodec.models.weights import (
    ModelInfo,
    load_model,
    load_network,
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
    "load_diffusers",
    "load_model",
    "load_network",
    "measure_curve",
    "model_names",
    "own_levels",
    "read_model_info",
    "save_model",
]
