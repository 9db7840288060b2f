"""Pictures to train and measure on: a mosaic file or a folder of pictures, here or by URL, or CIFAR-10 by its name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.places import Place, Remote, place_of
from ddpmcodec.io.reading import APART, Reading, kind_of, read_picture

_CIFAR10_TRAIN = {"cifar10": True, "cifar10-train": True, "cifar10-test": False}
Skip = Callable[[str], None] | None  # is told why a picture is left out
TRAINING = Reading(flatten=(255, 255, 255), several=APART)  # how its pictures are read


def load_images(path: str | os.PathLike[str], side: int, limit: int | None = None) -> NDArray[np.uint8]:
    """Return pictures of side × side, the first `limit` of them: (n, side, side, 3) uint8.

    path: a mosaic file of side × side tiles (see `load_tiles`); a folder of pictures, whose middles are taken where
    they are larger; or, where no such file exists, cifar10-train, cifar10-test or cifar10, which is the training split.
    Raises DdpmCodecError when there is none, or one is too small.
    """
    _check_limit(limit)
    source = source_of(path)
    if source.is_dir():
        return np.stack([_middle(picture, side, file).copy() for file, picture in named_pictures(path, limit)])
    if not source.exists() and str(path) in _CIFAR10_TRAIN:
        return load_cifar10(_CIFAR10_TRAIN[str(path)], side)[:limit]
    return load_tiles(source, limit, side)


def source_of(path: str | os.PathLike[str]) -> Place:
    """Return the place of pictures to read, which need not be there. Raises DdpmCodecError where it can't be asked."""
    place = place_of(path)
    try:
        place.exists()
    except OSError as error:
        raise DdpmCodecError(f"can't read {place}: {error.strerror or error}") from error
    return place


def load_tiles(path: Place, limit: int | None = None, side: int = 32) -> NDArray[np.uint8]:
    """Return the tiles of a mosaic, row by row: (n, side, side, 3) uint8. Raises DdpmCodecError when the size is no
    multiple.
    """
    _check_limit(limit)
    if not path.is_file():
        names = ", ".join(_CIFAR10_TRAIN)
        raise DdpmCodecError(
            f"{path} not found: expected a mosaic of {side}x{side} tiles, a folder of pictures, or {names}"
        )
    picture = _read(path)
    height, width, _ = picture.shape
    if height % side or width % side:
        raise DdpmCodecError(
            f"{path} is {width}x{height}: expected a mosaic of {side}x{side} tiles; put single pictures into a folder"
        )
    tiles = picture.reshape(height // side, side, width // side, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    return np.ascontiguousarray(tiles[:limit])


def named_pictures(
    path: str | os.PathLike[str], limit: int | None = None, skip: Skip = None
) -> Iterator[tuple[Place, NDArray[np.uint8]]]:
    """Yield the first `limit` pictures of a folder by name, one after another: each file and its (h, w, 3) uint8.

    Other files and subfolders are passed over: a picture has a picture's suffix, or none and begins like one.
    Transparent pixels become white. skip: is told of each picture that can't be read and is left out; None raises.
    Raises DdpmCodecError, as it gets there, with the picture's path, or when there is none.
    """
    _check_limit(limit)
    folder = source_of(path)
    if not folder.is_dir():
        raise DdpmCodecError(f"{folder} not found: expected a folder of pictures")
    inside: Iterable[Place] = folder.iterdir()  # only files, where it is a URL's
    named = [(f.name, f) for f in inside if is_picture(f.name, partial(_start, f))]
    files = [file for _, file in sorted(named) if isinstance(file, Remote) or file.is_file()]
    if not files:
        raise DdpmCodecError(f"{folder} holds no picture: expected files such as .png, .jpg or .webp right inside it")
    for file in files[:limit]:
        try:
            picture = _read(file)
        except DdpmCodecError as error:
            if skip is None:
                raise
            skip(str(error))
            continue
        yield file, picture


def is_picture(name: str, start: Callable[[], bytes]) -> bool:
    """Return whether a file is taken for a picture, by its name, and where that has no suffix by its first 16 bytes."""
    suffix = Path(name).suffix.lower()
    if Path(name).name.startswith("."):
        return False
    return suffix in readable_suffixes() or (not suffix and kind_of(start()) is not None)


def _start(file: Place) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except OSError:  # a folder, or what can't be read and has no picture's name
        return b""


def readable_suffixes() -> set[str]:
    """Return the suffixes of picture files that can be read, such as ".png"."""
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def load_cifar10(train: bool, side: int = 32) -> NDArray[np.uint8]:
    """Return a split of CIFAR-10, (n, 32, 32, 3) uint8, through torchvision, which downloads it once (170 MB).

    It is kept in $DDPMCODEC_DATA, else ~/.cache/ddpmcodec. Raises DdpmCodecError without torchvision or the network.
    """
    if side != 32:
        raise DdpmCodecError(
            f"CIFAR-10 has pictures of 32x32: expected {side}x{side}; name a folder of larger pictures"
        )
    try:
        from torchvision.datasets import CIFAR10  # type: ignore[import-not-found, import-untyped]
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise DdpmCodecError(
            f"CIFAR-10 is read through torchvision, which can't be used here ({_first_line(error)}): "
            "pip install 'ddpmcodec[cifar10]', or name a mosaic or a folder of pictures"
        ) from error
    root = Path(os.environ.get("DDPMCODEC_DATA") or Path.home() / ".cache" / "ddpmcodec")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(sys.stderr):  # torchvision tells of its download
            split: Any = CIFAR10(str(root), train=train, download=True)
    except Exception as error:  # many kinds: no network, a broken archive, no room
        raise DdpmCodecError(
            f"CIFAR-10 could not be downloaded to {root} ({_first_line(error)}): try again, set DDPMCODEC_DATA to a "
            "folder that holds cifar-10-batches-py, or name a mosaic or a folder of pictures"
        ) from error
    return np.asarray(split.data, np.uint8)


def _read(file: Place) -> NDArray[np.uint8]:
    try:
        return read_picture(file.read_bytes(), TRAINING).rgb
    except ImageError as error:
        raise ImageError(f"{file}: {error}") from error
    except OSError as error:
        raise DdpmCodecError(f"can't read {file}: {error.strerror or error}") from error


def _middle(picture: NDArray[np.uint8], side: int, file: Place) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    if min(height, width) < side:
        raise DdpmCodecError(f"{file} is {width}x{height}: expected at least {side}x{side}; remove it or scale it up")
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise DdpmCodecError(f"a limit of {limit} pictures: expected at least 1")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
