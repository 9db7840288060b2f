"""Lists of pictures, as callers give them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpmcodec.errors import ImageError
from ddpmcodec.numerics.arguments import several


def as_pictures(images: Any) -> list[Any]:
    """Return the members of a list of pictures, each as it is. Raises DdpmCodecError for what is no list, ImageError
    for an array of one picture, whose rows would be taken for grey pictures of three pixels.
    """
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[2] == 3:
        raise ImageError(f"one picture of shape {images.shape}: expected several, as a list or an array (n, h, w, 3)")
    return several(images, "pictures")
