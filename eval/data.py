"""Pictures to measure on: a mosaic file of 32×32 tiles, a picture file, or a folder of either."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.images import read_image


def load_tiles(path: Path, limit: int | None = None, side: int = 32) -> NDArray[np.uint8]:
    """Tiles of a mosaic, row by row: (n, side, side, 3) uint8. Raises DdpmCodecError when the size is no multiple."""
    if not path.is_file():
        raise DdpmCodecError(f"{path} not found: expected a mosaic file of {side}x{side} tiles")
    picture = read_image(path.read_bytes())
    height, width, _ = picture.shape
    if height % side or width % side:
        raise DdpmCodecError(f"{path} is {width}x{height}: expected a mosaic of {side}x{side} tiles")
    tiles = picture.reshape(height // side, side, width // side, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    return np.ascontiguousarray(tiles[:limit])


def shipped_picture(side: int) -> NDArray[np.uint8]:
    """scikit-image's astronaut (public domain, NASA) at side × side."""
    from skimage.data import astronaut

    return np.asarray(Image.fromarray(astronaut()).resize((side, side), Image.Resampling.LANCZOS))  # type: ignore[no-untyped-call]
