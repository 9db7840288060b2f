"""Pictures of a measurement: their names, and the batches they are coded in."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.datasets import load_cifar10, load_tiles, named_pictures, source_of

Image = NDArray[np.uint8]  # (h, w, 3)
_TEST_SPLIT = ("cifar10", "cifar10-test")  # nothing is measured on training images


@dataclass(frozen=True)
class Pictures:
    images: list[Image]
    names: list[str]
    source: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int | None:
        """Return the side of all pictures, if they are squares of one size."""
        shapes = {i.shape[:2] for i in self.images}
        height, width = next(iter(shapes))
        return height if len(shapes) == 1 and height == width else None

    @property
    def dims(self) -> NDArray[np.float64]:
        """Return the number of values of each picture (n,): three a pixel."""
        return np.array([i.size for i in self.images], np.float64)

    def digest(self) -> str:
        """Return the SHA-256 over sizes and pixels, so that parts of one measurement can't be mixed with another's."""
        total = hashlib.sha256()
        for image in self.images:
            total.update(repr(image.shape).encode() + image.tobytes())
        return total.hexdigest()

    def batches(self, pixels: int) -> list[range]:
        """Yield runs of pictures of one size, of at most this many pixels together, or of one picture."""
        runs: list[range] = []
        for i, image in enumerate(self.images):
            last = runs[-1] if runs else range(0)
            same = bool(runs) and self.images[last.start].shape == image.shape
            if same and (len(last) + 1) * image.size // 3 <= pixels:
                runs[-1] = range(last.start, i + 1)
            else:
                runs.append(range(i, i + 1))
        return runs


def load_pictures(data: str | os.PathLike[str], window: int = 32, limit: int | None = None) -> Pictures:
    """Return the first `limit` pictures of a folder, of a mosaic of window × window tiles, or of CIFAR-10's test split.

    A mosaic's names are the lines of the text file beside it (test-a.names.txt beside test-a.webp), where there is one.
    Raises DdpmCodecError.
    """
    source = source_of(data)
    if source.is_dir():
        named = list(named_pictures(data, limit))
        return Pictures([picture for _, picture in named], [file.name for file, _ in named], source.name)
    if not source.exists() and str(data) in _TEST_SPLIT:
        images = list(load_cifar10(False, window)[:limit])
        return Pictures(images, [f"cifar10-test/{i:05d}" for i in range(len(images))], "cifar10-test")
    if not source.exists():
        raise DdpmCodecError(
            f"{source} not found: expected a folder of pictures, a mosaic file, or cifar10, its test split"
        )
    images = list(load_tiles(source, limit, window))
    listed = source.parent / Path(source.name).with_suffix(".names.txt").name
    if not listed.exists():
        return Pictures(images, [f"{source.name}/{i:05d}" for i in range(len(images))], source.name)
    names = listed.read_bytes().decode().split("\n")[: len(images)]
    if len(names) < len(images) or not all(names):
        raise DdpmCodecError(
            f"{listed} names fewer pictures than {source.name} has: expected a line a tile; or remove it"
        )
    return Pictures(images, names, source.name)
