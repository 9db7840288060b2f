"""Sources of training images, and which of them are held out."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError, ImageError, TrainingError
from ddpmcodec.io.datasets import TRAINING, Skip, is_picture, load_images, named_pictures, source_of
from ddpmcodec.io.places import Place
from ddpmcodec.io.reading import read_picture
from ddpmcodec.training.held_out import is_held_out
from ddpmcodec.training.picture_pool import PicturePool

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
_ONE_IN, _ONE_TILE_IN = 16, 256  # one picture in 16 is held out, and one tile of a mosaic in 256


@dataclass(frozen=True)
class Sources:
    """Images of all of a run's sources: (n, h, w, 3) uint8, or a sequence of (h, w, 3) where sizes may differ."""

    training: Images
    held_out: Images


def training_images(sources: Sequence[str], window: int, hold_out: bool = False, skip: Skip = None) -> Sources:
    """Read sources: each `cifar10`, a mosaic of window × window tiles, a folder, or a .zip or .tar of pictures of any
    size.

    hold_out: one picture in sixteen, by its name, is kept from training, and one tile in 256, by its place. skip: is
    told of each picture that can't be read or is smaller than a window, and then left out; None raises. Raises
    DdpmCodecError, which names the picture.
    """
    parts = [_read(source, window, hold_out, skip) for source in sources]
    return Sources(_together([p.training for p in parts]), _together([p.held_out for p in parts]))


def _read(name: str, window: int, hold_out: bool, skip: Skip) -> Sources:
    named: Iterator[tuple[Place, NDArray[np.uint8]]] | None = None
    source = source_of(name)
    if source.is_dir():
        named = named_pictures(name, skip=skip)
    elif source.is_file() and _begins_like(zipfile.is_zipfile, source):
        named = _archived(source, _zip_members, skip)
    elif source.is_file() and _begins_like(tarfile.is_tarfile, source):
        named = _archived(source, _tar_members, skip)
    if named is not None:
        return _divided(_large_enough(named, window, skip), hold_out)
    tiles = load_images(name, window, None)
    held = np.array([hold_out and is_held_out(str(i), _ONE_TILE_IN) for i in range(len(tiles))], bool)
    return Sources(tiles[~held] if held.any() else tiles, tiles[held])


def _begins_like(is_one: Callable[[IO[bytes]], bool], source: Place) -> bool:
    try:
        with source.open("rb") as file:
            return is_one(file)
    except OSError as error:
        raise DdpmCodecError(f"can't read {source}: {error.strerror or error}") from error


def _large_enough(
    pictures: Iterable[tuple[Place, NDArray[np.uint8]]], window: int, skip: Skip
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the last part of each path, and its picture."""
    for path, picture in pictures:
        height, width, _ = picture.shape
        if min(height, width) >= window:
            yield path.name, picture
            continue
        why = f"{path} is {width}x{height}: expected at least {window}x{window}"
        if skip is None:
            raise TrainingError(f"{why}; remove it, scale it up, or leave out such pictures with --skip-unusable")
        skip(why)


def _divided(pictures: Iterable[tuple[str, NDArray[np.uint8]]], hold_out: bool) -> Sources:
    held: list[NDArray[np.uint8]] = []

    def kept() -> Iterator[NDArray[np.uint8]]:
        for name, picture in pictures:
            if hold_out and is_held_out(name, _ONE_IN):
                held.append(picture)
            else:
                yield picture

    return Sources(PicturePool(kept()), held)


def _archived(
    path: Place, members: Callable[[IO[bytes]], Iterator[tuple[str, bytes]]], skip: Skip
) -> Iterator[tuple[Place, NDArray[np.uint8]]]:
    """Yield each picture of an archive, by the archive's path and its name in there; other members are passed over."""
    found = False
    try:
        with path.open("rb") as file:
            for name, data in members(file):
                if not is_picture(name, partial(bytes, data[:16])):
                    continue
                found = True
                try:
                    picture = read_picture(data, TRAINING).rgb
                except ImageError as error:
                    if skip is None:
                        raise ImageError(f"{path}: {name}: {error}") from error
                    skip(f"{path}: {name}: {error}")
                    continue
                yield path / name, picture
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DdpmCodecError(f"can't read {path}: {' '.join(str(error).split())[:200]}") from error
    if not found:
        raise DdpmCodecError(f"{path} holds no picture: expected files such as .png, .jpg or .webp")


def _zip_members(opened: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(opened) as archive:
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            if not member.is_dir():
                yield member.filename, archive.read(member)


def _tar_members(opened: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=opened) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _together(parts: Sequence[Images]) -> Images:
    if len(parts) == 1:
        return parts[0]
    arrays = [p for p in parts if isinstance(p, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    return [picture for part in parts for picture in part]
