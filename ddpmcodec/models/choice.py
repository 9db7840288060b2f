"""Choice of the model where none is named: by the picture's size when it is sent, by the file's fingerprint when
read.
"""

from __future__ import annotations

import os
from functools import lru_cache

from ddpmcodec.models.info import DEFAULT_MODEL, ModelInfo, find_model, model_names, read_model_info
from ddpmcodec.models.safetensors_file import read_metadata

AUTO = "auto"
PHOTO_MODEL = "photo-small"
SMALL_PIXELS = 64 * 64  # pictures of up to this many pixels go to the small model


def is_small(pixels: int) -> bool:
    """Return whether a picture is one of those that the small models are for."""
    return pixels <= SMALL_PIXELS


def name_for(height: int, width: int) -> str:
    """Return the embedded model that serves pictures of a size best."""
    return DEFAULT_MODEL if is_small(height * width) or PHOTO_MODEL not in model_names() else PHOTO_MODEL


def name_of(fingerprint: str) -> str:
    """Return the embedded model whose fingerprint begins so; the default where none does, for errors to name."""
    return next((name for name, mark in _fingerprints() if mark.startswith(fingerprint)), DEFAULT_MODEL)


def receiving_info(model: str | os.PathLike[str], fingerprint: str) -> ModelInfo:
    """Return what a model says of itself, without its weights; "auto" is the embedded one that a header names."""
    return read_model_info(name_of(fingerprint) if model == AUTO else model)


@lru_cache(maxsize=1)
def _fingerprints() -> tuple[tuple[str, str], ...]:
    return tuple((name, read_metadata(find_model(name)).get("fingerprint", "")) for name in model_names())
