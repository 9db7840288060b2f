"""Other people's models: what diffusers saves, as ε-models."""

from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.foreign.loading import load_diffusers
from ddpmcodec.models.foreign.network import DiffusersEps

__all__ = ["DiffusersConfig", "DiffusersEps", "load_diffusers"]
