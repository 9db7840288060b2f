"""A folder that diffusers saved, or a hub repository, as an ε-model and its configuration."""

from __future__ import annotations

import os

from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.foreign.folder import (
    NETWORK,
    SCHEDULER,
    diffusers_package,
    find_folder,
    find_weights,
    load_weights,
    read_config,
)
from ddpmcodec.models.foreign.network import DiffusersEps
from ddpmcodec.models.foreign.networks import adapter_of
from ddpmcodec.models.foreign.scheduler import read_scheduler


def load_diffusers(
    name_or_path: str | os.PathLike[str], revision: str | None = None
) -> tuple[DiffusersEps, DiffusersConfig]:
    """Return a model that diffusers saved, float32 in evaluation mode without gradients on the CPU.

    name_or_path: a folder as a pipeline's `save_pretrained` writes it (unet/ and scheduler/, or both sets of files in
    the folder itself, as in old hub repositories), or a hub id such as google/ddpm-cifar10-32. revision: branch, tag or
    commit of a hub repository. Pickled weights are read as tensors only, and only where there are no safetensors.
    Raises ModelError when diffusers is not installed, nothing is found, or the model is none a codec can use.
    """
    diffusers = diffusers_package()
    folder = find_folder(name_or_path, revision, (*NETWORK, *SCHEDULER))
    place, values = read_config(folder, *NETWORK)
    _, scheduler = read_config(folder, *SCHEDULER)
    kind = str(values.get("_class_name"))
    adapter_of(kind)
    predicts, times = read_scheduler(diffusers, scheduler)
    config = DiffusersConfig(kind, {k: v for k, v in values.items() if not k.startswith("_")}, times, predicts)
    network = load_weights(getattr(diffusers, kind), find_weights(name_or_path, revision, place, folder))
    return config.of(network.float()).requires_grad_(False).eval(), config
