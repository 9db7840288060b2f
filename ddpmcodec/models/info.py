"""Metadata of a model file: all that parsing a stream needs, without torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.models.network_config import NetworkConfig, parse_config
from ddpmcodec.models.places import DEFAULT_MODEL, find_model
from ddpmcodec.models.safetensors_file import json_object, printable, read_metadata

# A program that doesn't know spectra, or resolutions, must not take a model that has them for one that hasn't.
FORMAT, FORMAT_WITH_SPECTRUM, FORMAT_WITH_RESOLUTIONS = (f"ddpmcodec-model-{version}" for version in (1, 2, 3))


@dataclass(frozen=True)
class WeightsPlace:
    """Place of weights that a codec's file names instead of holding them: a folder that diffusers saved, or a hub id
    and its commit.
    """

    place: str
    revision: str | None = None


@dataclass(frozen=True)
class ModelInfo:
    """Information of a model file on itself; enough to parse streams, without a network."""

    name: str
    path: Path
    fingerprint: str
    config: NetworkConfig
    measured: ErrorCurve | None  # None: trained, but no codec yet
    note: str = ""  # how it was made
    weights: WeightsPlace | None = None  # None: in the file

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
        """Return the error curve; ModelError when it has not been measured yet."""
        if self.measured is None:
            raise ModelError(
                f"{self.path} has no error curve yet, so it has no plan: run `ddpmcodec plan {self.path} --data "
                "IMAGES` "
                "on training images first"
            )
        return self.measured


def read_model_info(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> ModelInfo:
    """Reads a model's metadata only. Raises ModelError when the file is not a ddpmcodec model."""
    path = find_model(name_or_path)
    return info_of(path, read_metadata(path))


def info_of(path: Path, metadata: dict[str, str]) -> ModelInfo:
    """Return what a file's metadata says. Raises ModelError where it is not a ddpmcodec model's."""
    if metadata.get("format") not in (FORMAT, FORMAT_WITH_SPECTRUM, FORMAT_WITH_RESOLUTIONS):
        found = printable(metadata.get("format", "no format at all"))[:80]
        expected = f"{FORMAT}, {FORMAT_WITH_SPECTRUM} or {FORMAT_WITH_RESOLUTIONS}"
        raise ModelError(
            f"{path} is not a ddpmcodec model this version reads: its metadata has {found}, expected {expected}"
        )
    try:
        stored, stored_curve = json_object(metadata["config"]), json_object(metadata["curve"])
        config = parse_config(metadata.get("architecture", "unet"), stored)
        curve = ErrorCurve.from_dict(stored_curve) if stored_curve else None
        name, note = printable(metadata["name"])[:200], printable(metadata.get("note", ""))
        return ModelInfo(name, path, metadata["fingerprint"], config, curve, note, _place_of(metadata))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (KeyError, RecursionError) as error:
        raise ModelError(f"{path}: the model's metadata is not understood: {error}; get the file again") from error


def _place_of(metadata: dict[str, str]) -> WeightsPlace | None:
    if "weights" not in metadata:
        return None
    stored = json_object(metadata["weights"])
    place, revision = stored.get("place"), stored.get("revision")
    if not isinstance(place, str) or not isinstance(revision, str | None):
        raise ModelError("the model's metadata is not understood: its weights have no place")
    return WeightsPlace(place, revision)
