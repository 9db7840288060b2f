"""Model files: safetensors with configuration, error curve and fingerprint in the metadata. Never pickled.

A file may be a stranger's. Nothing in it is run, and nothing is built before the configuration's size has been found to
be that of the weights that are there, so memory is bounded by the file's size.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.io.atomic import write_whole
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.conv_unet import ConvUNet
from ddpmcodec.models.device import usable_device
from ddpmcodec.models.fingerprint import canonical, fingerprint
from ddpmcodec.models.foreign.network import DiffusersEps
from ddpmcodec.models.frozen import frozen
from ddpmcodec.models.network_config import NetworkConfig, parse_config
from ddpmcodec.models.places import DEFAULT_MODEL, EMBEDDED, find_model
from ddpmcodec.models.safetensors_file import json_object, one_line, printable, read_file
from ddpmcodec.models.space import Pixels
from ddpmcodec.models.unet import UNet

# A program that doesn't know spectra, or resolutions, must not take a model that has them for one that hasn't.
FORMAT, FORMAT_WITH_SPECTRUM, FORMAT_WITH_RESOLUTIONS = (f"ddpmcodec-model-{version}" for version in (1, 2, 3))


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself; enough to parse streams, without a network."""

    name: str
    path: Path
    fingerprint: str
    config: NetworkConfig
    measured: ErrorCurve | None  # None: trained, but no codec yet
    note: str = ""  # how it was made

    @property
    def window(self) -> int:
        """Least side of what the chain runs on."""
        return self.config.canvas

    @property
    def channels(self) -> int:
        return self.config.image_channels

    @property
    def factor(self) -> int:
        return self.config.factor

    @property
    def curve(self) -> ErrorCurve:
        """The error curve; ModelError when it has not been measured yet."""
        if self.measured is None:
            raise ModelError(
                f"{self.path} has no error curve yet, so it has no plan: run `ddpmcodec plan {self.path} --data "
                "IMAGES` "
                "on training images first"
            )
        return self.measured


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
    write_whole(path, save(tensors, metadata))
    return mark


def _format_of(stored_curve: dict[str, Any]) -> str:
    if "resolutions" in stored_curve:
        return FORMAT_WITH_RESOLUTIONS
    return FORMAT_WITH_SPECTRUM if "spectrum" in stored_curve else FORMAT


def read_model_info(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> ModelInfo:
    """Reads a model's metadata only. Raises ModelError when the file is not a ddpmcodec model."""
    return _read(find_model(name_or_path), weights=False)[0]


def load_model(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL, device: str | torch.device = "cpu") -> CodecModel:
    """An embedded model by name, or a model file by path, ready to code on `device`, in float32.

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
        eps_model=frozen(network) if where.type == "cpu" and isinstance(network, UNet | ConvUNet) else network,
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
    """The network itself, float32 in evaluation mode without gradients on the CPU, and its file's metadata.

    It may have no error curve yet. Raises ModelError.
    """
    info, tensors = _read(find_model(name_or_path), weights=True)
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


def _read(path: Path, weights: bool) -> tuple[ModelInfo, dict[str, Tensor]]:
    """Metadata and, where asked for, the weights that its fingerprint was found to cover; of one opening of the
    file.
    """
    metadata, tensors = read_file(path, weights)
    if metadata.get("format") not in (FORMAT, FORMAT_WITH_SPECTRUM, FORMAT_WITH_RESOLUTIONS):
        found = printable(metadata.get("format", "no format at all"))[:80]
        expected = f"{FORMAT}, {FORMAT_WITH_SPECTRUM} or {FORMAT_WITH_RESOLUTIONS}"
        raise ModelError(
            f"{path} is not a ddpmcodec model this version reads: its metadata has {found}, expected {expected}"
        )
    try:
        stored, stored_curve, mark = (
            json_object(metadata["config"]),
            json_object(metadata["curve"]),
            metadata["fingerprint"],
        )
        config = parse_config(metadata.get("architecture", "unet"), stored)
        curve = ErrorCurve.from_dict(stored_curve) if stored_curve else None
        # Over the configuration as it is stored: a later version's new fields, at their defaults, leave old files
        # alone.
        name, note = printable(metadata["name"])[:200], printable(metadata.get("note", ""))
        whole = not weights or fingerprint(tensors, stored, stored_curve) == mark
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (KeyError, RecursionError) as error:
        raise ModelError(f"{path}: the model's metadata is not understood: {error}; get the file again") from error
    if not whole:
        raise ModelError(f"{path} is damaged: its fingerprint does not match its contents; get the file again")
    return ModelInfo(name, path, mark, config, curve, note), tensors
