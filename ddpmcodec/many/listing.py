"""Files of a folder that are coded, and the names of their results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePath

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.datasets import is_picture
from ddpmcodec.io.places import Place, Remote

SUFFIX = ".ddpc"  # of coded pictures: photo.jpg becomes photo.jpg.ddpc, so that photo.png may lie beside it


def pictures_in(folder: Place, recursive: bool, leave_out: Place | None = None) -> list[Path]:
    """Return the pictures of a folder, by their names, sorted: relative paths.

    A picture has a picture's suffix, or none and begins like one; hidden files and folders are passed over. recursive:
    those of folders inside it, too, links to folders not followed; a link to nowhere is what its name says. leave_out:
    a folder inside it that is not looked into. Raises DdpmCodecError where the folder can't be read.
    """

    def wanted(path: Place) -> bool:  # Pillow may know streams, too, where its plugin is loaded
        return path.suffix != SUFFIX and is_picture(path.name, partial(_start, path))

    return _found(folder, recursive, leave_out, wanted)


def streams_in(folder: Place, recursive: bool, leave_out: Place | None = None) -> list[Path]:
    """Return the coded pictures of a folder, which end with .ddpc, like `pictures_in`."""
    return _found(folder, recursive, leave_out, lambda path: path.suffix == SUFFIX and not path.name.startswith("."))


def coded_name(path: PurePath) -> PurePath:
    """Return what the stream of a picture is called: no two pictures' streams are called alike."""
    return path.with_name(path.name + SUFFIX)


def picture_name(path: PurePath) -> PurePath:
    """Return what the PNG of a stream is called: a.png of a.png.ddpc, and a.jpg.png of a.jpg.ddpc."""
    name = path.name.removesuffix(SUFFIX)
    return path.with_name(name if name.lower().endswith(".png") and name.lower() != ".png" else f"{name}.png")


def _found(folder: Place, recursive: bool, leave_out: Place | None, wanted: Callable[[Place], bool]) -> list[Path]:
    if isinstance(folder, Remote):
        names = _remote_files(folder, recursive, leave_out)
        return sorted(Path(name) for name in names if wanted(folder / name))
    leave_out = leave_out if isinstance(leave_out, Path) else None
    files = (path for path in _files(folder, recursive, leave_out) if wanted(path))
    kept = (path for path in files if path.is_file() or not path.exists())  # a link to nowhere is a broken picture
    return sorted(path.relative_to(folder) for path in kept)


def _files(folder: Path, recursive: bool, leave_out: Path | None) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise DdpmCodecError(f"can't read the folder {error.filename}: {error.strerror or error}") from error

    hidden = None if leave_out is None else os.path.realpath(leave_out)
    for place, folders, names in os.walk(folder, onerror=fail):
        inside = [name for name in folders if os.path.realpath(os.path.join(place, name)) != hidden]
        folders[:] = sorted(name for name in inside if not name.startswith(".")) if recursive else []
        yield from (Path(place, name) for name in names)


def _remote_files(folder: Remote, recursive: bool, leave_out: Place | None) -> Iterator[PurePath]:
    try:
        names = folder.files(recursive)
    except OSError as error:
        raise DdpmCodecError(f"can't read the folder {folder}: {error.strerror or error}") from error
    other = str(leave_out).rstrip("/") + "/"
    for name in names:
        hidden = any(part.startswith(".") and part != ".." for part in name.parts[:-1])
        if not hidden and not str(folder / name).startswith(other):
            yield name


def _start(path: Place) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""
