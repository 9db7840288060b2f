"""Model files: safetensors with configuration, error curve and fingerprint in the metadata. Never pickled.

A file may be a stranger's. Nothing in it is run, and nothing is built before the configuration's size has been found to
be that of the weights that are there, so memory is bounded by the file's size.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.io.atomic import write_whole
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.device import usable_device
from ddpmcodec.models.fingerprint import canonical, fingerprint
from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.foreign.loading import load_diffusers
from ddpmcodec.models.foreign.network import DiffusersEps
from ddpmcodec.models.frozen import frozen
from ddpmcodec.models.info import (
    FORMAT,
    FORMAT_WITH_RESOLUTIONS,
    FORMAT_WITH_SPECTRUM,
    ModelInfo,
    WeightsPlace,
    info_of,
    read_model_info,
)
from ddpmcodec.models.memory import is_out_of_memory
from ddpmcodec.models.network_config import NetworkConfig
from ddpmcodec.models.places import DEFAULT_MODEL, EMBEDDED, find_model
from ddpmcodec.models.safetensors_file import json_object, one_line, printable, read_file, read_metadata
from ddpmcodec.models.space import Pixels


def save_model(
    path: str | os.PathLike[str],
    network: torch.nn.Module,
    curve: ErrorCurve | None,
    name: str,
    note: str = "",
    config: NetworkConfig | None = None,
    weights: WeightsPlace | None = None,
) -> str:
    """Write a model file, whole or not at all, and return its fingerprint. Raises OSError.

    Weights are stored as fp16; those of others' networks as they are, where that would lose something. curve: None
    stores a network that is no codec yet. config: of a network that is no `UNet`. weights: where they are, for a file
    that doesn't hold them.
    """
    config = config or network.config  # type: ignore[assignment]
    assert config is not None
    exact = isinstance(config, DiffusersConfig)
    tensors = network.state_dict()
    if weights is None:
        tensors = {k: _stored(v, exact) for k, v in tensors.items()}
    stored, stored_curve = config.to_dict(), {} if curve is None else curve.to_dict()
    mark = fingerprint(tensors, stored, stored_curve)
    shape = {"window": config.canvas, "channels": config.image_channels, "factor": config.factor}
    metadata = {
        "format": _format_of(stored_curve),
        "name": printable(name),
        "architecture": config.architecture,
        "config": canonical(stored).decode(),
        "curve": canonical(stored_curve).decode(),
        "fingerprint": mark,
        "note": printable(note),
        "shape": canonical(shape).decode(),
    }
    if weights is not None:
        metadata["weights"] = canonical({"place": weights.place, "revision": weights.revision}).decode()
    write_whole(path, save({} if weights is not None else tensors, metadata))
    return mark


def _stored(value: Tensor, exact: bool) -> Tensor:
    value = value.detach().cpu()
    half = value.to(torch.float16)
    return (value if exact and not torch.equal(half.to(value.dtype), value) else half).contiguous()


def _format_of(stored_curve: dict[str, Any]) -> str:
    if "resolutions" in stored_curve or "mirrored" in stored_curve:
        return FORMAT_WITH_RESOLUTIONS
    return FORMAT_WITH_SPECTRUM if "spectrum" in stored_curve else FORMAT


def load_model(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL, device: str | torch.device = "cpu") -> CodecModel:
    """Return an embedded model by name, or a model file by path, ready to code on `device`.

    Raises ModelError for a file that is missing, damaged (its fingerprint is checked), or of another architecture, and
    for a device that isn't there.
    """
    where = usable_device(device)
    network, info = load_network(name_or_path)
    curve = info.curve
    network.to(where)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = info.config
    model = CodecModel(
        name=info.name,
        eps_model=frozen(network) if where.type == "cpu" else network,
        curve=curve,
        fingerprint=info.fingerprint,
        window=config.canvas,
        any_size=config.any_size,
        channels=config.image_channels,
        min_log_snr=config.min_log_snr,
        max_log_snr=config.max_log_snr,
        device=where,
        space=network.space if isinstance(network, DiffusersEps) else Pixels(config.image_channels),
    )
    source = info.path.stem if info.path.parent == EMBEDDED else str(info.path.absolute())
    object.__setattr__(model, "source", source)
    return model


def load_network(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> tuple[torch.nn.Module, ModelInfo]:
    """Return the network itself, in evaluation mode without gradients on the CPU, and its file's metadata.

    It may have no error curve yet. Raises ModelError.
    """
    path = find_model(name_or_path)
    if (info := read_model_info(path)).weights is not None:
        return _from_place(info, info.weights), info
    info, tensors = _read(path)
    try:
        network = _built(info.config, tensors)
    except ModelError as error:
        raise ModelError(f"{info.path}: {error}") from error
    return network.requires_grad_(False).eval(), info


def _from_place(info: ModelInfo, weights: WeightsPlace) -> torch.nn.Module:
    """A network whose weights lie elsewhere, if they are those that the fingerprint was made of."""
    metadata = read_metadata(info.path)
    config = info.config
    if not isinstance(config, DiffusersConfig):
        raise ModelError(f"{info.path}: only networks that diffusers saved have their weights elsewhere")
    advice = f"get them, and say where they are: ddpmcodec models add {info.path} --weights FOLDER"
    try:
        network, found = load_diffusers(weights.place, weights.revision, config.dtype)
    except ModelError as error:
        raise ModelError(f"the weights of {info.name} ({info.path}) can't be had: {error}; {advice}") from error
    stored = json_object(metadata["config"])
    same = canonical(found.to_dict()) == canonical(stored)
    if not same or fingerprint(network.state_dict(), stored, json_object(metadata["curve"])) != info.fingerprint:
        raise ModelError(f"{weights.place} holds other weights than {info.name} ({info.path}) was made of; {advice}")
    return network


def _built(config: NetworkConfig, tensors: dict[str, Tensor]) -> torch.nn.Module:
    """A network with these weights; without them all it is not even begun."""
    held, needed = sum(t.numel() for t in tensors.values()), config.elements
    if held != needed:
        raise ModelError(f"the weights don't fit the configuration: found {held} numbers, expected {needed}")
    # The initial weights are drawn from torch's generator, and not used. (The meta device would avoid that, but loads
    # torch's compiler, which takes seconds.)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        network = config.build()
    foreign = config if isinstance(config, DiffusersConfig) else None
    try:  # taking their place, not their values: the caller's default dtype doesn't matter
        kinds = {k: getattr(torch, foreign.state_dtype(k)) if foreign else torch.float32 for k in tensors}
        network.load_state_dict({k: v.to(kinds[k], copy=True) for k, v in tensors.items()}, assign=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(f"the weights don't fit the configuration: {one_line(error)}") from error
    return network


def _read(path: Path) -> tuple[ModelInfo, dict[str, Tensor]]:
    """Metadata and the weights that its fingerprint was found to cover; of one opening of the file."""
    metadata, tensors = read_file(path)
    info = info_of(path, metadata)
    # Over the configuration as it is stored: a later version's new fields, at their defaults, leave old files alone.
    if fingerprint(tensors, json_object(metadata["config"]), json_object(metadata["curve"])) != info.fingerprint:
        raise ModelError(f"{path} is damaged: its fingerprint does not match its contents; get the file again")
    return info, tensors
