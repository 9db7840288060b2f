"""Directories that take many pictures: results of an earlier run are never mixed with a later one's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ddpmcodec.errors import DdpmCodecError

FRAMES = re.compile(r"step-\d{3,}\.png")  # files that --frames writes
PICTURES = re.compile(r"\d{5,}\.png")  # files that an archive is decoded to


def check_results(folder: Path, naming: re.Pattern[str], overwrite: bool, keep: Iterable[object]) -> None:
    """Fail before any work is done where a directory holds results of an earlier run, unless they are to be
    overwritten.

    keep: files that nothing may overwrite. Raises DdpmCodecError.
    """
    older = _results(folder, naming)
    if older and not overwrite:
        raise DdpmCodecError(
            f"{folder} holds {len(older)} results of an earlier run, such as {older[0].name}: name another directory, "
            "or "
            "--overwrite removes them first"
        )
    for path in keep:
        for old in older:
            if path is not None and os.path.exists(str(path)) and old.samefile(str(path)):
                raise DdpmCodecError(f"{path} and the result {old} are one file: name another directory")
        if path is not None and naming.fullmatch(Path(str(path)).name) and _same(Path(str(path)).parent, folder):
            raise DdpmCodecError(f"{path} and a result in {folder} are one file: name another directory")


def make_empty(folder: Path, naming: re.Pattern[str]) -> None:
    """Make the directory where there is none, and remove the results of an earlier run. Raises DdpmCodecError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DdpmCodecError(f"can't make the directory {folder}: {error.strerror or error}") from error
    for old in _results(folder, naming):
        try:
            old.unlink()
        except OSError as error:
            raise DdpmCodecError(f"can't remove {old}: {error.strerror or error}") from error


def _results(folder: Path, naming: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if naming.fullmatch(path.name) and not path.is_dir())


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
