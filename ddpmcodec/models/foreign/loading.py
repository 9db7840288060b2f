"""Folder that diffusers saved, or a hub repository, as an ε-model and its configuration."""

from __future__ import annotations

import os
from typing import Any

import torch

from ddpmcodec.models.foreign.autoencoder_config import autoencoder_class, stored_autoencoder
from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.foreign.folder import (
    AUTOENCODER,
    INDEX,
    NETWORK,
    SCHEDULER,
    diffusers_package,
    find_folder,
    find_weights,
    load_weights,
    read_config,
)
from ddpmcodec.models.foreign.network import DiffusersEps
from ddpmcodec.models.foreign.networks import READS_TEXT, adapter_of
from ddpmcodec.models.foreign.scheduler import read_scheduler
from ddpmcodec.models.foreign.texts import PATTERNS, hash_of_texts, load_texts


def load_diffusers(
    name_or_path: str | os.PathLike[str], revision: str | None = None, dtype: str = "float32"
) -> tuple[DiffusersEps, DiffusersConfig]:
    """Return a model that diffusers saved, in evaluation mode without gradients on the CPU.

    name_or_path: a folder as a pipeline's `save_pretrained` writes it (unet/ or transformer/ and scheduler/, vae/ where
    there are latents, text encoders and tokenizers with model_index.json; or the first two's files in the folder
    itself, as in old hub repositories), or a hub id such as google/ddpm-cifar10-32. revision: branch, tag or commit of
    a hub repository.
    dtype: of the network and its text encoders. Pickled weights are read as tensors only, and only where there are no
    safetensors. Raises ModelError when diffusers is not installed, nothing is found, or the model is none a codec can
    use.
    """
    diffusers = diffusers_package()
    folder = find_folder(name_or_path, revision, (*INDEX, *NETWORK, *SCHEDULER, *AUTOENCODER))
    place, values = read_config(folder, *NETWORK)
    _, scheduler = read_config(folder, *SCHEDULER)
    kind = str(values.get("_class_name"))
    adapter_of(kind)
    predicts, times = read_scheduler(diffusers, scheduler)
    vae_place = folder / AUTOENCODER[0]
    vae = read_config(folder, *AUTOENCODER)[1] if vae_place.is_file() else None
    if kind in READS_TEXT:
        _, index = read_config(find_folder(name_or_path, revision, PATTERNS), *INDEX)
        texts = hash_of_texts(folder, index)
    else:
        index, texts = {}, None
    stored = None if vae is None else stored_autoencoder(vae)
    config = DiffusersConfig(kind, _own(values), times, predicts, stored, dtype, texts)
    weights = find_weights(name_or_path, revision, place, folder)
    network = load_weights(getattr(diffusers, kind), weights, getattr(torch, dtype))
    autoencoder = None
    if config.autoencoder is not None:
        weights = find_weights(name_or_path, revision, vae_place, folder)
        autoencoder = load_weights(autoencoder_class(diffusers, config.autoencoder), weights, torch.float32)
    encoders = None if texts is None else load_texts(diffusers, folder, index, getattr(torch, dtype))
    return config.of(network, autoencoder, encoders).requires_grad_(False).eval(), config


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the entries about diffusers itself."""
    return {k: v for k, v in values.items() if not k.startswith("_")}
