"""ε-models: what the codec asks of one, the project's U-Net, and the files they live in.

A name is imported when it is first asked for: what a model file says of itself can be read without torch.
"""

from typing import TYPE_CHECKING, Any

from ddpmcodec._lazy import found

if TYPE_CHECKING:
    from ddpmcodec.models.base import CodecModel, EpsModel
    from ddpmcodec.models.custom import codec_model
    from ddpmcodec.models.foreign.config import DiffusersConfig
    from ddpmcodec.models.foreign.loading import load_diffusers
    from ddpmcodec.models.foreign.network import DiffusersEps
    from ddpmcodec.models.info import ModelInfo, read_model_info
    from ddpmcodec.models.measure import measure_curve
    from ddpmcodec.models.places import model_names
    from ddpmcodec.models.times import own_levels
    from ddpmcodec.models.unet import UNet
    from ddpmcodec.models.unet_config import UNetConfig
    from ddpmcodec.models.weights import load_model, load_network, save_model

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

_HOMES = (
    "places",
    "info",
    "unet_config",
    "times",
    "foreign.config",
    "base",
    "weights",
    "custom",
    "unet",
    "measure",
    "foreign.network",
    "foreign.loading",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return found(name, _HOMES, globals())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
