"""Which model serves where none is named: by the picture's size when it is sent, by the file's fingerprint when it is
read.
"""

from __future__ import annotations

import os

from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.cache import ModelLike, as_model
from ddpmcodec.models.library import model_of
from ddpmcodec.models.places import DEFAULT_MODEL, model_names
from ddpmcodec.models.weights import ModelInfo, read_model_info

AUTO = "auto"
PHOTO_MODEL = "photo-small"
SMALL_PIXELS = 64 * 64  # pictures up to here are the small model's


def is_small(pixels: int) -> bool:
    """Whether a picture is one of those that the small models are for."""
    return pixels <= SMALL_PIXELS


def name_for(height: int, width: int) -> str:
    """Return the embedded model that serves pictures of a size best."""
    return DEFAULT_MODEL if is_small(height * width) or PHOTO_MODEL not in model_names() else PHOTO_MODEL


def sending_model(model: ModelLike, height: int, width: int) -> CodecModel:
    """Return the model given, or the embedded one for pictures of this size where it is None or "auto". Raises
    ModelError.
    """
    return as_model(name_for(height, width) if model is None or model == AUTO else model)


def receiving_model(model: ModelLike, fingerprint: str) -> CodecModel:
    """Return the model given, or the one that a header names where it is None or "auto": embedded, or in a folder of
    models. Raises ModelError, UnknownModelError where it is in none.
    """
    return as_model(model_of(fingerprint).path if model is None or model == AUTO else model)


def receiving_info(model: str | os.PathLike[str], fingerprint: str) -> ModelInfo:
    """Return what a model says of itself, without its weights; "auto" is the one that a header names. Raises as
    `receiving_model` does.
    """
    return model_of(fingerprint) if model == AUTO else read_model_info(model)
