"""Sources of trained networks: a model file, a training run, or a diffusers folder or hub id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.schedule import NoiseSchedule
from ddpmcodec.errors import ModelError
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.custom import codec_model
from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.foreign.folder import SCHEDULER, find_folder
from ddpmcodec.models.foreign.loading import load_diffusers
from ddpmcodec.models.foreign.network import DiffusersEps
from ddpmcodec.models.info import WeightsPlace, read_model_info
from ddpmcodec.models.network_config import NetworkConfig
from ddpmcodec.models.times import CLEANEST, NOISIEST, own_levels
from ddpmcodec.models.weights import load_model, load_network


@dataclass(frozen=True)
class Source:
    """Source of a network that may not be a codec yet."""

    network: torch.nn.Module
    config: NetworkConfig
    name: str
    path: Path | None  # where the codec belongs: the model file it came from, or beside it in a training run
    note: str
    weights: WeightsPlace | None = None  # where they lie, of a network that diffusers saved

    def levels(self, spacing: float) -> NDArray[np.float64] | None:
        """Return log-SNRs to measure at, rising, about so far apart, of a network that knows only some; None: of all
        others.
        """
        if not isinstance(self.config, DiffusersConfig):
            return None
        low, high = (min(max(v, NOISIEST), CLEANEST) for v in (self.config.min_log_snr, self.config.max_log_snr))
        return own_levels(self.config.times, max(2, round((high - low) / spacing) + 1))


@dataclass(frozen=True)
class OpenDenoiser:
    """Network ready to denoise, whether or not it is a codec."""

    network: CodecModel
    name: str
    config: NetworkConfig
    fingerprint: str | None  # of a codec's file
    curve: ErrorCurve | None  # likewise
    schedule: NoiseSchedule | None  # the discrete chain it was trained on, where it knows no other levels


def open_denoiser(name: str, device: str | torch.device = "cpu") -> OpenDenoiser:
    """Anything that `open_network` takes, on a device. Raises ModelError."""
    if not _is_diffusers(name) and not Path(name).is_dir():
        info = read_model_info(name)
        if info.measured is not None:
            model = load_model(name, device)
            return OpenDenoiser(
                model, info.name, info.config, info.fingerprint, info.measured, _own_schedule(info.config)
            )
    source = open_network(name)
    config = source.config
    unmeasured = ErrorCurve((0, 1), (1, 2), (1, 1), 1)  # never asked for: a Denoiser has no plan
    network = codec_model(
        source.network,
        unmeasured,
        source.name,
        window=config.canvas,
        any_size=config.any_size,
        channels=config.image_channels,
        min_log_snr=config.min_log_snr,
        max_log_snr=config.max_log_snr,
        device=device,
        space=source.network.space if isinstance(source.network, DiffusersEps) else None,
    )
    return OpenDenoiser(network, source.name, config, None, None, _own_schedule(config))


def _own_schedule(config: NetworkConfig) -> NoiseSchedule | None:
    return config.schedule if isinstance(config, DiffusersConfig) else None


def _is_diffusers(name: str) -> bool:
    """Return whether a name is a diffusers folder, or a hub id."""
    path = Path(name)
    is_hub_id = "/" in name and not path.exists() and path.suffix != ".safetensors"
    return is_hub_id or (path.is_dir() and not (path / "model.safetensors").is_file())


def open_network(name: str, dtype: str = "float32") -> Source:
    """Open a model file or embedded name, a directory that `train` wrote, or a diffusers folder or hub id. dtype: of
    the last two. Raises ModelError.
    """
    path = Path(name)
    trained = path / "model.safetensors"
    if _is_diffusers(name):
        network, config = load_diffusers(name, dtype=dtype)
        if path.is_dir():
            return Source(network, config, path.resolve().name, None, f"from diffusers: {name}", _here(path))
        folder = find_folder(name, None, SCHEDULER)  # the hub's copy, named after its commit
        return Source(network, config, path.name, None, f"from diffusers: {name}", WeightsPlace(name, folder.name))
    if dtype != "float32":
        raise ModelError(f"--dtype {dtype} is for networks that diffusers saved: name their folder or hub id")
    loaded, info = load_network(trained if path.is_dir() else name)
    # Training replaces its own model file; the codec that streams depend on stays out of its way.
    place = path / "codec.safetensors" if path.is_dir() else info.path
    return Source(loaded, info.config, info.name, place, info.note, info.weights)


def _here(folder: Path) -> WeightsPlace:
    return WeightsPlace(str(folder.resolve()))
