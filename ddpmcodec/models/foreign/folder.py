"""Folders that diffusers saved, here or on the hub: where their configurations and weights are.

diffusers, an optional extra, is imported only where a folder is read or a network built.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ddpmcodec.errors import ModelError

NETWORK = ("unet/config.json", "transformer/config.json", "config.json")
AUTOENCODER = ("vae/config.json",)
INDEX = ("model_index.json",)
SCHEDULER = ("scheduler/scheduler_config.json", "scheduler_config.json")
# The first that is there: whole, in shards, in half precision, and only then pickled.
_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_pytorch_model.fp16.bin",
    "diffusion_pytorch_model.bin.index.fp16.json",
)


def diffusers_package() -> Any:
    """Return the package. Raises ModelError where it is not installed."""
    try:
        import diffusers
    except ImportError as error:
        raise ModelError(
            "this model needs diffusers, which is not installed: pip install 'ddpmcodec[diffusers]'"
        ) from error
    return diffusers


def find_folder(name_or_path: str | os.PathLike[str], revision: str | None, files: tuple[str, ...]) -> Path:
    """Return the folder itself, or where the hub's copies of the given files are kept. Raises ModelError."""
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
            f"{name!r} is no folder here, and the hub did not give it ({error_line(error, 1)}): check the name and the "
            "connection, or get the files another way and give their folder"
        ) from error


def read_config(folder: Path, *names: str) -> tuple[Path, dict[str, Any]]:
    """Return the first of the named JSON files that is there, and where it lies. Raises ModelError."""
    for path in (folder / name for name in names):
        if path.is_file():
            try:
                return path, dict(json.loads(path.read_text("utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise ModelError(f"{path} is not a readable JSON object: {error}") from error
    raise ModelError(f"{folder} has no {' or '.join(names)}: expected a folder as diffusers' save_pretrained writes it")


def find_weights(name_or_path: str | os.PathLike[str], revision: str | None, config: Path, root: Path) -> Path:
    """Return the weights beside a configuration of the folder `root`. Raises ModelError.

    Of a hub repository they are fetched here, after the configuration has been found good, and pickled ones only when
    there are no others.
    """
    part = config.parent.relative_to(root).as_posix()
    prefix = "" if part == "." else f"{part}/"
    for weights in _WEIGHTS:
        kind = "safetensors" if ".safetensors" in weights else "bin"
        shards = (f"{prefix}diffusion_pytorch_model*-of-*.{kind}",) if ".index." in weights else ()
        folder = find_folder(name_or_path, revision, (config.relative_to(root).as_posix(), prefix + weights, *shards))
        if (folder / prefix / weights).is_file():
            return folder / prefix / weights
    raise ModelError(
        f"{config.parent} has a configuration but no weights: expected {_WEIGHTS[0]} beside config.json, also in "
        "shards or of variant fp16, or .bin instead"
    )


def load_weights(kind: Any, weights: Path, dtype: Any) -> Any:
    """Return a network of a diffusers class with weights that lie beside its configuration, in a dtype of torch's.
    Raises ModelError.

    Pickled weights are read as tensors only.
    """
    import torch

    try:
        with torch.random.fork_rng(devices=[]), without_warnings():
            network, report = kind.from_pretrained(
                weights.parent,
                variant="fp16" if ".fp16." in weights.name else None,
                use_safetensors=".safetensors" in weights.name,  # else diffusers unpickles tensors, nothing else
                local_files_only=True,
                low_cpu_mem_usage=find_spec("accelerate") is not None,  # without it, weights are in memory twice
                output_loading_info=True,
                torch_dtype=dtype,
            )
    except Exception as error:  # of any kind, from diffusers, safetensors or pickle
        raise ModelError(f"{weights} can't be loaded; is the file whole? {error_line(error)}") from error
    if report["missing_keys"] or report["unexpected_keys"]:  # diffusers would leave those as they happen to be
        missing, extra = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
        raise ModelError(
            f"{weights} doesn't fit config.json: missing {missing[:3]}, not expected {extra[:3]}; get both again"
        )
    alike = all(p.dtype == dtype for p in network.parameters())
    return network if alike else network.to(dtype)  # some classes of diffusers leave that out


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep diffusers from warning of what is checked here, or of entries that its own classes left behind, and from
    bars for each shard.
    """
    settings = diffusers_package().utils.logging
    level = settings.get_verbosity()
    bars = getattr(settings, "is_progress_bar_enabled", lambda: True)()  # older versions can't tell
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(level)
        if bars:
            settings.enable_progress_bar()


def error_line(error: Exception, lines: int = 9) -> str:
    """Return an error's kind and what it says, on one line."""
    return f"{type(error).__name__}: {' '.join(' '.join(str(error).splitlines()[:lines]).split())[:300]}"
