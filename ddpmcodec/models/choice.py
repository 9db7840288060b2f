"""Choice of the model where none is named: by the picture's size when it is sent, by the file's fingerprint when
read.
"""

from __future__ import annotations

import os

from ddpmcodec.models.info import ModelInfo, read_model_info
from ddpmcodec.models.library import model_of
from ddpmcodec.models.places import DEFAULT_MODEL, model_names

AUTO = "auto"
PHOTO_MODEL = "photo-small"
SMALL_PIXELS = 64 * 64  # pictures of up to this many pixels go to the small model


def is_small(pixels: int) -> bool:
    """Return whether a picture is one of those that the small models are for."""
    return pixels <= SMALL_PIXELS


def name_for(height: int, width: int) -> str:
    """Return the embedded model that serves pictures of a size best."""
    return DEFAULT_MODEL if is_small(height * width) or PHOTO_MODEL not in model_names() else PHOTO_MODEL


def receiving_info(model: str | os.PathLike[str], fingerprint: str) -> ModelInfo:
    """Return what a model says of itself, without its weights; "auto" is the one that a header names: embedded, or in a
    folder of models. Raises ModelError, UnknownModelError where it is in none.
    """
    return model_of(fingerprint) if model == AUTO else read_model_info(model)
