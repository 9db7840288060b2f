"""Models by name or path, loaded once: what `model=` takes everywhere."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.choice import AUTO, name_for
from ddpmcodec.models.library import model_of
from ddpmcodec.models.places import DEFAULT_MODEL, find_model
from ddpmcodec.models.weights import load_model

ModelLike = CodecModel | str | os.PathLike[str] | None


def as_model(model: ModelLike = None) -> CodecModel:
    """Return a loaded model as it is; load a name or path on the CPU, and keep it for as long as its file stays the
    same.

    None is the embedded default. Raises ModelError.
    """
    if isinstance(model, CodecModel):
        return model
    path = find_model(model or DEFAULT_MODEL).resolve()
    about = path.stat()
    return _load(path, (about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns, about.st_size))


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


@lru_cache(maxsize=4)
def _load(path: Path, state: tuple[int, ...]) -> CodecModel:
    """state: what tells a file from one that has taken its place."""
    return load_model(path)
