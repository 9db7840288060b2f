"""Places of model files: in the package, in the folders that a user's models are kept in, or anywhere, by path."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ddpmcodec.errors import ModelError

EMBEDDED = Path(__file__).parent / "data"
DEFAULT_MODEL = "cifar10-small"
VARIABLE = "DDPMCODEC_MODELS"  # folders, separated as those of PATH are
SUFFIX = ".safetensors"


def model_names() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(p.stem for p in EMBEDDED.glob(f"*{SUFFIX}"))


def folders() -> list[Path]:
    """Return the folders of a user's models, in the order in which they are looked through; they need not be there.

    Those that $DDPMCODEC_MODELS names, then the user's own: ~/.local/share/ddpmcodec/models on Linux.
    """
    from platformdirs import user_data_path

    named = [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [*named, user_data_path("ddpmcodec", appauthor=False) / "models"]


def own_folder() -> Path:
    """Return the folder that new models go to: the first of `folders`."""
    return folders()[0]


def file_name(name: str) -> str:
    """Return a model's file name in a folder of models; what is no part of a file's name becomes a dash."""
    kept = "".join(c if c.isalnum() or c in "._-+ " else "-" for c in name).strip(". ")
    return f"{kept or 'model'}{SUFFIX}"


def find_model(name_or_path: str | os.PathLike[str]) -> Path:
    """Return a path as it is, or the file of an embedded model or of one in `folders`. Raises ModelError where there is
    none.
    """
    try:
        path = Path(name_or_path)
    except TypeError as error:
        raise ModelError(
            f"a model of type {type(name_or_path).__name__}: expected a name, a file's path or a CodecModel"
        ) from error
    with suppress(OSError):  # a name too long for a file
        if path.is_file():
            return path
        if path.name == str(name_or_path):
            for folder in (EMBEDDED, *folders()):
                if (folder / f"{path.name}{SUFFIX}").is_file():
                    return folder / f"{path.name}{SUFFIX}"
        if str(name_or_path) and path.is_dir():
            raise ModelError(
                f"{path} is a folder, and a codec's model is a file: of a diffusers folder or a training run, "
                f"`ddpmcodec plan {path} --data PICTURES` makes one"
            )
    raise ModelError(
        f"model {str(name_or_path)!r} not found: expected a {SUFFIX} file, one of {', '.join(model_names())}, or one "
        f"that `ddpmcodec models list` shows"
    )
