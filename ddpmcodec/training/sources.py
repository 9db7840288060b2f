"""Where training images come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.io.datasets import load_images, named_pictures
from ddpmcodec.training.picture_pool import PicturePool


def training_images(sources: Sequence[str], window: int) -> NDArray[np.uint8] | Sequence[NDArray[np.uint8]]:
    """All images of the sources, each `cifar10`, a mosaic file of window × window tiles, or a folder of pictures of any size.

    Returns (n, window, window, 3) uint8, or a sequence of (h, w, 3) where sizes may differ. Raises DdpmCodecError.
    """
    parts = [_folder(s) if Path(s).is_dir() else load_images(Path(s), window, None) for s in sources]
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(p, np.ndarray) for p in parts):
        return np.concatenate(parts)
    return [picture for part in parts for picture in part]


def _folder(path: str) -> PicturePool:
    return PicturePool(picture for _, picture in named_pictures(path))
