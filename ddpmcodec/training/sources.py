"""Where training images come from, and which of them are held out."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.datasets import load_images, named_pictures, readable_suffixes
from ddpmcodec.io.reading import read_image
from ddpmcodec.training.held_out import is_held_out
from ddpmcodec.training.picture_pool import PicturePool

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
_BEHIND = (255, 255, 255)  # transparent pixels
_ONE_IN, _ONE_TILE_IN = 16, 256  # pictures and mosaic tiles that are held out


@dataclass(frozen=True)
class Sources:
    """All images of a run's sources: (n, h, w, 3) uint8, or a sequence of (h, w, 3) where sizes may differ."""

    training: Images
    held_out: Images


def training_images(sources: Sequence[str], window: int, hold_out: bool = False) -> Sources:
    """Reads sources: each `cifar10`, a mosaic of window × window tiles, a folder, or a .zip or .tar of pictures of any size.

    hold_out: one picture in sixteen, by its name, is kept from training, and one tile in 256, by its place. Raises
    DdpmCodecError.
    """
    parts = [_read(Path(source), window, hold_out) for source in sources]
    return Sources(_together([p.training for p in parts]), _together([p.held_out for p in parts]))


def _read(source: Path, window: int, hold_out: bool) -> Sources:
    if source.is_dir():
        return _divided(((path.name, picture) for path, picture in named_pictures(source)), hold_out)
    if source.is_file() and zipfile.is_zipfile(source):
        return _divided(_archived(source, _zip_members), hold_out)
    if source.is_file() and tarfile.is_tarfile(source):
        return _divided(_archived(source, _tar_members), hold_out)
    tiles = load_images(source, window, None)
    held = np.array([hold_out and is_held_out(str(i), _ONE_TILE_IN) for i in range(len(tiles))], bool)
    return Sources(tiles[~held] if held.any() else tiles, tiles[held])


def _divided(pictures: Iterable[tuple[str, NDArray[np.uint8]]], hold_out: bool) -> Sources:
    held: list[NDArray[np.uint8]] = []

    def kept() -> Iterator[NDArray[np.uint8]]:
        for name, picture in pictures:
            if hold_out and is_held_out(name, _ONE_IN):
                held.append(picture)
            else:
                yield picture

    return Sources(PicturePool(kept()), held)


def _archived(path: Path, members: Callable[[Path], Iterator[tuple[str, bytes]]]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each picture of an archive, by the last part of its name; other members are passed over."""
    suffixes, found = readable_suffixes(), False
    try:
        for name, data in members(path):
            short = Path(name).name
            if Path(name).suffix.lower() not in suffixes or short.startswith("."):
                continue
            try:
                picture = read_image(data, flatten=_BEHIND)
            except ImageError as error:
                raise ImageError(f"{path}: {name}: {error}") from error
            found = True
            yield short, picture
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DdpmCodecError(f"can't read {path}: {' '.join(str(error).split())[:200]}") from error
    if not found:
        raise DdpmCodecError(f"{path} holds no picture: expected files such as .png, .jpg or .webp")


def _zip_members(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            if not member.is_dir():
                yield member.filename, archive.read(member)


def _tar_members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
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
