"""A trained network wherever it comes from: a model file, a training run, or a diffusers folder or hub id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ddpmcodec.models.diffusers_adapter import DiffusersConfig, diffusers_levels, load_diffusers
from ddpmcodec.models.weights import NetworkConfig, load_network


@dataclass(frozen=True)
class Source:
    """A network that may not be a codec yet."""

    network: torch.nn.Module
    config: NetworkConfig
    name: str
    path: Path | None  # where the codec belongs: the model file it came from, or beside it in a training run
    note: str
    levels: NDArray[np.float64] | None = None  # the only log-SNRs it knows, rising; None: all in its range


def open_network(name: str) -> Source:
    """A model file or embedded name, a directory that `train` wrote, or a diffusers folder or hub id. Raises ModelError."""
    path = Path(name)
    trained = path / "model.safetensors"
    is_hub_id = "/" in name and not path.exists() and path.suffix != ".safetensors"
    if (path.is_dir() and not trained.is_file()) or is_hub_id:
        network, config = load_diffusers(name)
        short = path.resolve().name if path.is_dir() else path.name
        return Source(network, config, short, None, f"from diffusers: {name}", diffusers_levels(config))
    loaded, info = load_network(trained if path.is_dir() else name)
    levels = diffusers_levels(info.config) if isinstance(info.config, DiffusersConfig) else None
    # Training replaces its own model file; the codec that streams depend on stays out of its way.
    place = path / "codec.safetensors" if path.is_dir() else info.path
    return Source(loaded, info.config, info.name, place, info.note, levels)
