"""Other people's models: a diffusers UNet2DModel and its noise scheduler as an ε-model.

diffusers, an optional extra, is imported only where a folder is read or a network built.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.errors import ModelError
from ddpmcodec.models.diffusers_config import DiffusersConfig

LEVELS = 141  # of the error curve; the project's own models are measured at as many
# Levels worth measuring: below, even a picture of 256×256 pixels sends less than a bit; above, an 8-bit picture is
# exact.
NOISIEST, CLEANEST = -12.0, 13.0

_CONFIGS = ("unet/config.json", "config.json", "scheduler/scheduler_config.json", "scheduler_config.json")
# The first that is there: whole, in shards, in half precision, and only then pickled.
_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.bin",
)
_SHARDS = "diffusion_pytorch_model*-of-*.safetensors"


class DiffusersEps(torch.nn.Module):
    """ε̂ of a UNet2DModel, asked at the timestep whose log-SNR is nearest to the one given."""

    def __init__(self, config: DiffusersConfig, unet: torch.nn.Module):
        super().__init__()
        self.config = config
        self.unet = unet

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """x_t: (n, 3, window, window) in [-1, 1] before noise; log_snr: (n,), finite. Returns ε̂ like x_t."""
        nearest = self.config.schedule.nearest_timestep
        t = torch.tensor([nearest(level) - 1 for level in log_snr.tolist()], device=x_t.device)  # (n,), from 0
        predicted = self.unet(x_t, t).sample
        return predicted[:, : x_t.shape[1]]  # learned variances follow ε̂ (Nichol & Dhariwal 2021)


def build(config: DiffusersConfig) -> DiffusersEps:
    """The network of a configuration, with initial weights. Raises ModelError."""
    return _build(config, _diffusers())


def count_elements(config: DiffusersConfig) -> int:
    """Numbers in that network's state, found without memory for them. Raises ModelError."""
    diffusers = _diffusers()  # imported on a real device: it makes tensors
    with torch.device("meta"):
        return sum(v.numel() for v in _build(config, diffusers).state_dict().values())


def _build(config: DiffusersConfig, diffusers: Any) -> DiffusersEps:
    try:
        return DiffusersEps(config, diffusers.UNet2DModel.from_config(config.unet))
    except Exception as error:  # of any kind: diffusers checks some values, and stumbles over others
        raise ModelError(f"diffusers can't build this UNet2DModel: {_one_line(error)}") from error


def load_diffusers(
    name_or_path: str | os.PathLike[str], revision: str | None = None
) -> tuple[DiffusersEps, DiffusersConfig]:
    """An unconditional ε-predicting model that diffusers saved, float32 in evaluation mode without gradients on the
    CPU.

    name_or_path: a folder as `DDPMPipeline.save_pretrained` writes it (unet/ and scheduler/, or both sets of files in
    the folder itself, as in old hub repositories), or a hub id such as google/ddpm-cifar10-32. revision: branch, tag or
    commit of a hub repository. Pickled weights are read as tensors only, and only where there are no safetensors.
    Raises ModelError when diffusers is not installed, nothing is found, or the model is none a codec can use.
    """
    diffusers = _diffusers()
    folder = _folder(name_or_path, revision, _CONFIGS)
    unet, scheduler = (_read_config(folder, *names) for names in (_CONFIGS[:2], _CONFIGS[2:]))
    if unet.get("_class_name") != "UNet2DModel":
        raise ModelError(
            f"{folder} holds a {unet.get('_class_name')}: expected a UNet2DModel, which takes a picture only"
        )
    values = {k: v for k, v in unet.items() if not k.startswith("_")}
    config = DiffusersConfig(values, _betas(diffusers, scheduler))
    weights = _weights(name_or_path, revision)
    try:
        with torch.random.fork_rng(devices=[]):
            network, report = diffusers.UNet2DModel.from_pretrained(
                weights.parent,
                variant="fp16" if ".fp16." in weights.name else None,
                use_safetensors=".safetensors" in weights.name,  # else diffusers unpickles tensors, nothing else
                local_files_only=True,
                low_cpu_mem_usage=False,  # its other way needs another package
                output_loading_info=True,
            )
    except Exception as error:  # of any kind, from diffusers, safetensors or pickle
        raise ModelError(f"{weights} can't be loaded; is the file whole? {_one_line(error)}") from error
    if (
        report["missing_keys"] or report["unexpected_keys"]
    ):  # diffusers would leave those parameters as they happen to be
        missing, extra = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
        raise ModelError(
            f"{weights} doesn't fit config.json: missing {missing[:3]}, not expected {extra[:3]}; get both again"
        )
    return DiffusersEps(config, network.float()).requires_grad_(False).eval(), config


def diffusers_levels(config: DiffusersConfig, count: int = LEVELS) -> NDArray[np.float64]:
    """At most `count` of the model's own log-SNRs, rising and as evenly spaced as they come, for `measure_curve`.

    A plan over a curve measured at these asks the network only at noise levels it was trained on. Raises ModelError
    when the schedule has fewer than two levels between noise and picture.
    """
    own = config.schedule.log_snrs[(config.schedule.log_snrs >= NOISIEST) & (config.schedule.log_snrs <= CLEANEST)]
    if len(own) < 2:
        raise ModelError(
            f"{len(own)} of {len(config.betas)} log-SNRs lie in {NOISIEST} … {CLEANEST}: expected at least 2"
        )
    even = np.linspace(own.min(), own.max(), count)
    return np.unique(own[np.abs(own[:, None] - even).argmin(axis=0)])


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ModelError(
            "this model needs diffusers, which is not installed: pip install 'ddpmcodec[diffusers]'"
        ) from error
    return diffusers


def _folder(name_or_path: str | os.PathLike[str], revision: str | None, files: tuple[str, ...]) -> Path:
    """The folder itself, or where the hub's copies of the given files are kept."""
    path, name = Path(name_or_path), os.fspath(name_or_path)
    if path.is_dir():
        return path
    if path.exists() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise ModelError(
            f"{name!r} is no folder: expected one that diffusers saved, or a hub id like google/ddpm-cifar10-32"
        )
    import huggingface_hub  # comes with diffusers

    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # of many kinds: no such repository, no network, no right to read
        raise ModelError(
            f"{name!r} is no folder here, and the hub did not give it ({_one_line(error, 1)}): check the name and the "
            "connection, or get the files another way and give their folder"
        ) from error


def _weights(name_or_path: str | os.PathLike[str], revision: str | None) -> Path:
    """Fetched after the configuration has been found good, and pickled weights only when there are no others."""
    for weights in _WEIGHTS:
        shards = (f"unet/{_SHARDS}", _SHARDS) if ".index." in weights else ()
        folder = _folder(name_or_path, revision, (*_CONFIGS, f"unet/{weights}", weights, *shards))
        path = (folder / "unet" if (folder / _CONFIGS[0]).is_file() else folder) / weights
        if path.is_file():
            return path
    raise ModelError(
        f"{folder} has a configuration but no weights: expected {' or '.join(_WEIGHTS)} beside config.json"
    )


def _read_config(folder: Path, *names: str) -> dict[str, Any]:
    """The first of the named JSON files that is there."""
    for path in (folder / name for name in names):
        if path.is_file():
            try:
                return dict(json.loads(path.read_text("utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise ModelError(f"{path} is not a readable JSON object: {error}") from error
    raise ModelError(f"{folder} has no {' or '.join(names)}: expected a folder as diffusers' save_pretrained writes it")


def _betas(diffusers: Any, scheduler: dict[str, Any]) -> tuple[float, ...]:
    """(T,) betas as the scheduler named in the configuration computes them; which sampler it is makes no difference."""
    # Before prediction_type there was predict_epsilon.
    predicted = scheduler.get("prediction_type", "sample" if scheduler.get("predict_epsilon") is False else "epsilon")
    if predicted != "epsilon":
        raise ModelError(
            f"a network that predicts {predicted!r} (prediction_type): expected one that predicts 'epsilon'"
        )
    kind = str(scheduler.get("_class_name"))
    try:
        betas = tuple(getattr(diffusers, kind).from_config(scheduler).betas.double().tolist())
    except Exception as error:  # of any kind: no such scheduler, a package it needs is missing, values it can't use
        raise ModelError(
            f"scheduler {kind}: expected one with betas, as DDPMScheduler has; {_one_line(error)}"
        ) from error
    return betas[:-1] if betas[-1:] == (1.0,) else betas  # zero terminal SNR: that timestep is pure noise, no level


def _one_line(error: Exception, lines: int = 9) -> str:
    return f"{type(error).__name__}: {' '.join(' '.join(str(error).splitlines()[:lines]).split())[:300]}"
