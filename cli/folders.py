"""Directories that take many pictures: results of an earlier run are never mixed with a later one's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.places import Place, Remote, is_url, place_of

FRAMES = re.compile(r"step-\d{3,}\.png")  # files that --frames writes
PICTURES = re.compile(r"\d{5,}\.png")  # files that an archive is decoded to

RecursiveOption = Annotated[bool, typer.Option("--recursive", "-r", help="Of a folder: and the folders inside it.")]
JobsOption = Annotated[
    int | None, typer.Option(help="Of a folder: processes; default: what is fastest on the cores there are.", min=1)
]
EngineOption = Annotated[
    str, typer.Option(help="For a folder: processes, or ray: the cluster of RAY_ADDRESS, or one that is started here.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Of a folder: replace results of other options, and files in the way.")
]


def is_folder(inputs: list[str]) -> bool:
    """Return whether the inputs are a folder. Raises DdpmCodecError for a folder among others."""
    folders = [path for path in inputs if path != "-" and _is_dir(path)]
    if folders and len(inputs) > 1:
        raise DdpmCodecError(f"{folders[0]} is a folder: name it alone, for each of its files has a result of its own")
    return bool(folders)


def _is_dir(path: str) -> bool:
    try:
        return place_of(path).is_dir() if is_url(path) else os.path.isdir(path)
    except OSError as error:
        raise DdpmCodecError(f"can't read {path}: {error.strerror or error}") from error


def only_for_folders(recursive: bool, jobs: int | None, overwrite: bool) -> None:
    """Raise DdpmCodecError where options of folders are given for files."""
    given = {"--recursive": recursive, "--jobs": jobs is not None, "--overwrite": overwrite}
    if found := [option for option, there in given.items() if there]:
        raise DdpmCodecError(f"{found[0]} is for folders, and the input is none")


def check_results(folder: Place, naming: re.Pattern[str], overwrite: bool, keep: Iterable[object]) -> None:
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
        if path is None:
            continue
        place = place_of(str(path))
        if not (isinstance(place, Path) and place.is_dir()) and _same(place, folder):
            raise DdpmCodecError(f"{path} is the name of a file and of a directory of results: name another directory")
        for old in older:
            if _same_file(place, old):
                raise DdpmCodecError(f"{path} and the result {old} are one file: name another directory")
        if naming.fullmatch(place.name) and _same(place.parent, folder):
            raise DdpmCodecError(f"{path} and a result in {folder} are one file: name another directory")


def make_empty(folder: Place, naming: re.Pattern[str]) -> None:
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


def _results(folder: Place, naming: re.Pattern[str]) -> Sequence[Place]:
    if isinstance(folder, Remote):
        try:
            return sorted(path for path in folder.iterdir() if naming.fullmatch(path.name))
        except OSError as error:
            raise DdpmCodecError(f"can't read the directory {folder}: {error.strerror or error}") from error
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if naming.fullmatch(path.name) and not path.is_dir())


def _same_file(one: Place, other: Place) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return one.exists() and other.samefile(one)
    return str(one) == str(other)


def _same(one: Place, other: Place) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return os.path.realpath(one) == os.path.realpath(other)
    return str(one).rstrip("/") == str(other).rstrip("/")
