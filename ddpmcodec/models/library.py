"""Models of a user: found by the fingerprint that a file names, listed, added, removed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ddpmcodec.errors import ModelError, UnknownModelError
from ddpmcodec.io.atomic import replacing, write_whole
from ddpmcodec.models.info import ModelInfo, read_model_info
from ddpmcodec.models.places import EMBEDDED, SUFFIX, file_name, folders, own_folder
from ddpmcodec.models.safetensors_file import read_metadata

_MARK_DIGITS = 8  # hexadecimal: what a header holds of a fingerprint


def known_models() -> Iterator[ModelInfo]:
    """Yield every codec that is found without a path: embedded ones, then folder by folder; weights aren't read."""
    for folder in (EMBEDDED, *folders()):
        with suppress(OSError):
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                with suppress(OSError, ModelError):
                    about = path.stat()
                    info = _info(path, about.st_mtime_ns, about.st_size)
                    if info.measured is not None:
                        yield info


def model_of(fingerprint: str) -> ModelInfo:
    """Return the codec whose fingerprint begins so. Raises UnknownModelError, which says where it was looked for."""
    for info in known_models():
        if info.fingerprint.startswith(fingerprint):
            return info
    looked = ", ".join(str(folder) for folder in folders())
    raise UnknownModelError(
        f"the stream was made with the model whose fingerprint starts {fingerprint}, which is none of those that come "
        f"with ddpmcodec, and not in {looked}: get the sender's model file, and add it (ddpmcodec models add FILE) or "
        "name it (--model FILE)"
    )


def find_kept(name: str) -> ModelInfo:
    """Return a codec by its name, its file's, the first digits of its fingerprint, or its path. Raises ModelError."""
    if Path(name).is_file():
        return read_model_info(name)
    is_mark = len(name) >= _MARK_DIGITS and not set(name) - set("0123456789abcdef")
    found = [i for i in known_models() if name in (i.name, i.path.stem) or (is_mark and i.fingerprint.startswith(name))]
    if len({info.fingerprint for info in found}) > 1:
        several = ", ".join(f"{info.fingerprint[:8]} in {info.path}" for info in found)
        raise ModelError(f"{name!r} is the name of {len(found)} models: give one's fingerprint ({several})")
    if not found:
        raise ModelError(f"model {name!r} not found: `ddpmcodec models list` shows those that are there")
    return found[0]


def add_model(
    file: str | os.PathLike[str], name: str | None = None, weights: str | os.PathLike[str] | None = None
) -> ModelInfo:
    """Copy a codec's file to the folder of models, under its name there; one that is there already stays as it is.

    weights: the folder in which the weights are that the file names; their place isn't part of the fingerprint. Raises
    ModelError for what is no codec, and where another model has the name.
    """
    info = read_model_info(file)
    _ = info.curve
    target = own_folder() / file_name(name or info.name)
    if target.is_file():
        there = read_model_info(target)
        if there.fingerprint == info.fingerprint and weights is None:
            return there
        if there.fingerprint != info.fingerprint:
            raise ModelError(
                f"{target} holds another model ({there.fingerprint[:8]}): add this one under another name (--name)"
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if weights is not None:
            write_whole(target, _elsewhere(info, Path(weights)))
            return read_model_info(target)
        with replacing(target) as temporary, open(info.path, "rb") as source, open(temporary, "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    except OSError as error:
        raise ModelError(f"can't write {target}: {error.strerror or error}") from error
    return read_model_info(target)


def _elsewhere(info: ModelInfo, folder: Path) -> bytes:
    """A codec's file whose weights are in another folder."""
    from safetensors.numpy import save

    if info.weights is None:
        raise ModelError(f"{info.path} holds its weights itself: leave out --weights")
    if not folder.is_dir():
        raise ModelError(f"{folder} is no folder: expected the one that diffusers saved")
    place = json.dumps({"place": str(folder.resolve()), "revision": None})
    return save({}, read_metadata(info.path) | {"weights": place})


def remove_model(name: str) -> ModelInfo:
    """Delete a model's file from a folder of models. Raises ModelError for one that isn't in any."""
    info = find_kept(name)
    if info.path.parent not in folders():
        where = "comes with ddpmcodec" if info.path.parent == EMBEDDED else "is in none of the folders of models"
        raise ModelError(f"{info.path} {where}: only models that were added are removed")
    try:
        info.path.unlink()
        info.path.with_suffix(".plan.png").unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"can't remove {info.path}: {error.strerror or error}") from error
    return info


@lru_cache(maxsize=256)
def _info(path: Path, *state: int) -> ModelInfo:
    """state: what tells a file from one that has taken its place."""
    return read_model_info(path)
