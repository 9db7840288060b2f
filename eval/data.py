"""Pictures to measure on that need no download; mosaics are read by `ddpmcodec.io.datasets`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.io.datasets import load_tiles

__all__ = ["load_tiles", "shipped_picture"]


def shipped_picture(side: int) -> NDArray[np.uint8]:
    """Return scikit-image's astronaut (public domain, NASA) at side × side."""
    from skimage.data import astronaut

    return np.asarray(Image.fromarray(astronaut()).resize((side, side), Image.Resampling.LANCZOS))  # type: ignore[no-untyped-call]
