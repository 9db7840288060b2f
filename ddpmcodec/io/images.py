"""Pictures in memory: arrays of bytes, Pillow's, and the [-1, 1] planes that the chain runs on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.errors import ImageError
from ddpmcodec.io.limits import MAX_PIXELS
from ddpmcodec.io.shown import Shown, as_shown

_VALUES_AT_A_TIME = 1 << 20  # of pictures that are compared


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """Return a picture as uint8 H×W×3: a grey array (H×W or H×W×1) is expanded; of a Pillow picture it is what is
    shown. Raises ImageError for anything else.
    """
    return as_picture(image).rgb


def as_picture(image: Any, keep: bool = False) -> Shown:
    """Return a picture like `as_rgb`, with what its values mean; a `Shown` is one already.

    keep: of a Pillow picture in other colours than sRGB leave the values as they are. Raises ImageError.
    """
    if isinstance(image, Shown):
        return image
    if isinstance(image, Image.Image):
        shown = as_shown(image, keep)
        return replace(shown, rgb=_checked(shown.rgb))
    return Shown(_checked(_as_array(image)))


def _as_array(image: Any) -> NDArray[Any]:
    try:
        if not (isinstance(image, str | bytes | os.PathLike) or np.ma.isMaskedArray(image)):
            return np.asarray(image)
        found = "it holds no pixels" if not np.ma.isMaskedArray(image) else "what it masks would be coded"
    except (TypeError, ValueError, RuntimeError) as error:  # lists of unequal rows, tensors on a GPU or with gradients
        found = str(error).splitlines()[0]
    raise ImageError(
        f"picture of type {type(image).__name__} ({found}): expected a uint8 array, H×W×3 or H×W, or a Pillow picture, "
        "which PIL.Image.open makes of a file"
    )


def _checked(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise ImageError(
            f"picture of type {array.dtype}: expected uint8 with values 0 to 255; scale and convert it first"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(
            f"picture of shape {array.shape}: expected H×W×3 or H×W; drop or flatten an alpha channel first"
        )
    if not array.size or array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"picture of {array.shape[1]}x{array.shape[0]}: expected 1x1 to {MAX_PIXELS >> 20} megapixels")
    return np.ascontiguousarray(array)


def to_plane(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the plane (3, h, w) on [-1, 1] of bytes (h, w, 3)."""
    return rgb.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)


def is_grey(rgb: NDArray[np.uint8]) -> bool:
    """Return whether red, green and blue (h, w, 3) are equal everywhere."""
    return np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])


def in_grey(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return planes (n, c, h, w) with each colour the mean of all: the luminance, and no chrominance."""
    return np.repeat(planes.mean(axis=1, keepdims=True, dtype=np.float32), planes.shape[1], axis=1)


def in_one_colour(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures (n, h, w, 1) of the mean of each pixel's colours (n, h, w, 3)."""
    return np.rint(rgb.mean(axis=3, keepdims=True)).astype(np.uint8)


def to_bytes(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Return the top left (height, width, c) of a plane (c, h, w) on [-1, 1], in whole levels."""
    levels = np.rint((plane[:, :height, :width].transpose(1, 2, 0) + np.float32(1)) * np.float32(127.5))
    return np.clip(levels, 0, 255).astype(np.uint8)


def squared_error(shown: NDArray[np.uint8], picture: NDArray[np.uint8]) -> int:
    """Return the sum of squared differences in levels of two pictures (h, w, 3); rows at a time, for a large picture's
    differences would fill the memory.
    """
    rows, total = max(1, _VALUES_AT_A_TIME // max(1, picture[0].size)), 0
    for first in range(0, len(picture), rows):
        part = slice(first, first + rows)
        total += int(np.square(shown[part].astype(np.int64) - picture[part]).sum())
    return total


def picture_grid(pictures: Sequence[NDArray[np.uint8]], columns: int, gap: int = 2) -> NDArray[np.uint8]:
    """Return equal-sized (h, w, 3) pictures row by row, `gap` white pixels between them."""
    height, width, channels = pictures[0].shape
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        grid[top : top + height, left : left + width] = picture
    return grid
