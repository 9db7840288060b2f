"""Model files: safetensors with configuration, error curve and fingerprint in the metadata. Never pickled.

A file may be a stranger's. Nothing in it is run, and nothing is built before the configuration's size has been found to
be that of the weights that are there, so memory is bounded by the file's size.
"""

from __future__ import annotations

import copy
import hashlib
import json
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
from ddpmcodec.models.frozen import frozen
from ddpmcodec.models.info import (
    DEFAULT_MODEL,
    EMBEDDED,
    FORMAT,
    FORMAT_WITH_RESOLUTIONS,
    FORMAT_WITH_SPECTRUM,
    ModelInfo,
    find_model,
    info_of,
)
from ddpmcodec.models.network_config import NetworkConfig
from ddpmcodec.models.safetensors_file import json_object, one_line, printable, read_file


def fingerprint(tensors: dict[str, Tensor], config: dict[str, Any], curve: dict[str, Any]) -> str:
    """SHA-256 over everything that decides a stream or its pictures: stored weights, configuration and error curve."""
    digest = hashlib.sha256(_canonical(config) + b"\n" + _canonical(curve) + b"\n")
    for name in sorted(tensors):
        t = tensors[name].contiguous().cpu()
        digest.update(f"{name} {t.dtype} {list(t.shape)}\n".encode())
        digest.update(t.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_model(
    path: str | os.PathLike[str],
    network: torch.nn.Module,
    curve: ErrorCurve | None,
    name: str,
    note: str = "",
    config: NetworkConfig | None = None,
) -> str:
    """Writes an fp16 model file, whole or not at all; returns its fingerprint. Raises OSError.

    curve: None stores a network that is no codec yet. config: of a network that is no `UNet`.
    """
    config = config or network.config  # type: ignore[assignment]
    assert config is not None
    tensors = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in network.state_dict().items()}
    stored, stored_curve = config.to_dict(), {} if curve is None else curve.to_dict()
    mark = fingerprint(tensors, stored, stored_curve)
    metadata = {
        "format": _format_of(stored_curve),
        "name": printable(name),
        "architecture": config.architecture,
        "config": _canonical(stored).decode(),
        "curve": _canonical(stored_curve).decode(),
        "fingerprint": mark,
        "note": printable(note),
    }
    write_whole(path, save(tensors, metadata))
    return mark


def _format_of(stored_curve: dict[str, Any]) -> str:
    if "resolutions" in stored_curve:
        return FORMAT_WITH_RESOLUTIONS
    return FORMAT_WITH_SPECTRUM if "spectrum" in stored_curve else FORMAT


def load_model(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL, device: str | torch.device = "cpu") -> CodecModel:
    """An embedded model by name, or a model file by path, ready to code on `device`, in float32.

    Raises ModelError for a file that is missing, damaged (its fingerprint is checked), or of another architecture, and
    for a device that isn't there.
    """
    where = _device(device)
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
    )
    source = info.path.stem if info.path.parent == EMBEDDED else str(info.path.absolute())
    object.__setattr__(model, "source", source)
    return model


def load_network(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> tuple[torch.nn.Module, ModelInfo]:
    """The network itself, float32 in evaluation mode without gradients on the CPU, and its file's metadata.

    It may have no error curve yet. Raises ModelError.
    """
    info, tensors = _read(find_model(name_or_path))
    try:
        network = _built(info.config, tensors)
    except ModelError as error:
        raise ModelError(f"{info.path}: {error}") from error
    return network.requires_grad_(False).eval(), info


def _built(config: NetworkConfig, tensors: dict[str, Tensor]) -> torch.nn.Module:
    """A network with these weights; without them all it is not even begun."""
    held, needed = sum(t.numel() for t in tensors.values()), config.elements
    if held != needed:
        raise ModelError(f"the weights don't fit the configuration: found {held} numbers, expected {needed}")
    # The initial weights are drawn from torch's generator, and not used. (The meta device would avoid that, but loads
    # torch's compiler, which takes seconds.)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        network = config.build()
    try:  # taking their place, not their values: the caller's default dtype doesn't matter
        network.load_state_dict({k: v.to(torch.float32, copy=True) for k, v in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise ModelError(f"the weights don't fit the configuration: {one_line(error)}") from error
    return network


def codec_model(
    eps_model: torch.nn.Module,
    curve: ErrorCurve,
    name: str,
    *,
    window: int = 32,
    any_size: bool = False,
    channels: int = 3,
    min_log_snr: float = -8.0,
    max_log_snr: float = 9.5,
    device: str | torch.device = "cpu",
) -> CodecModel:
    """Any trained ε-network as a codec: `eps_model(x_t, log_snr)` as `EpsModel` says, `curve` from `measure_curve`.

    The fingerprint covers the network's state and the numbers given here, so sender and receiver must build it alike.
    The codec has a copy of the network: training that goes on changes no stream, and the network's mode and device stay
    as they are. Raises ModelError for what is no torch module, and has no state.
    """
    if not isinstance(eps_model, torch.nn.Module):
        raise ModelError(
            f"the network is a {type(eps_model).__name__}: expected a torch.nn.Module, whose weights the fingerprint "
            "covers"
        )
    config = {
        "class": type(eps_model).__qualname__,
        "window": window,
        "any_size": any_size,
        "channels": channels,
        "log_snr": [min_log_snr, max_log_snr],
    }
    mark = fingerprint(dict(eps_model.state_dict()), config, curve.to_dict())
    where = _device(device)
    try:
        network = copy.deepcopy(eps_model).requires_grad_(False).eval().to(where)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"the network can't be copied: {one_line(error)}; give one that copy.deepcopy takes"
        ) from error
    return CodecModel(name, network, curve, mark, window, channels, min_log_snr, max_log_snr, any_size, where)


def _read(path: Path) -> tuple[ModelInfo, dict[str, Tensor]]:
    """Metadata and the weights that its fingerprint was found to cover; of one opening of the file."""
    metadata, tensors = read_file(path)
    info = info_of(path, metadata)
    # Over the configuration as it is stored: a later version's new fields, at their defaults, leave old files alone.
    if fingerprint(tensors, json_object(metadata["config"]), json_object(metadata["curve"])) != info.fingerprint:
        raise ModelError(f"{path} is damaged: its fingerprint does not match its contents; get the file again")
    return info, tensors


def _device(device: str | torch.device) -> torch.device:
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {str(device)!r} can't be used here: {str(error).splitlines()[0]}") from error
    return where


def _canonical(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
