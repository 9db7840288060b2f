"""Folder that diffusers saved, or a hub repository, as an ε-model and its configuration."""

from __future__ import annotations

import os
from typing import Any

from ddpmcodec.models.foreign.autoencoder_config import autoencoder_class, stored_autoencoder
from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.foreign.folder import (
    AUTOENCODER,
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
    folder = find_folder(name_or_path, revision, (*NETWORK, *SCHEDULER, *AUTOENCODER))
    place, values = read_config(folder, *NETWORK)
    _, scheduler = read_config(folder, *SCHEDULER)
    kind = str(values.get("_class_name"))
    adapter_of(kind)
    predicts, times = read_scheduler(diffusers, scheduler)
    vae_place = folder / AUTOENCODER[0]
    vae = read_config(folder, *AUTOENCODER)[1] if vae_place.is_file() else None
    config = DiffusersConfig(kind, _own(values), times, predicts, None if vae is None else stored_autoencoder(vae))
    network = load_weights(getattr(diffusers, kind), find_weights(name_or_path, revision, place, folder)).float()
    autoencoder = None
    if config.autoencoder is not None:
        weights = find_weights(name_or_path, revision, vae_place, folder)
        autoencoder = load_weights(autoencoder_class(diffusers, config.autoencoder), weights).float()
    return config.of(network, autoencoder).requires_grad_(False).eval(), config


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the entries about diffusers itself."""
    return {k: v for k, v in values.items() if not k.startswith("_")}
