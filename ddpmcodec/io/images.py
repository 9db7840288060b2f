"""Pictures in and out: arrays of bytes, files by Pillow, and the [-1, 1] planes that the chain runs on."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from ddpmcodec.errors import ImageError

MAX_PIXELS = 64 << 20  # of a picture, and of the canvas that it is coded on
_FRAME_MS, _LAST_FRAME_MS = 200, 2000  # of an animation


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """Return a picture array as uint8 H×W×3: grey (H×W or H×W×1) expands. Raises ImageError for anything else."""
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise ImageError(f"picture of type {array.dtype}: expected uint8 with values 0 to 255; scale and convert it first")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"picture of shape {np.shape(image)}: expected H×W×3 or H×W; drop or flatten an alpha channel first")
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


def to_bytes(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Return the top left (height, width, c) of a plane (c, h, w) on [-1, 1], in whole levels."""
    levels = np.rint((plane[:, :height, :width].transpose(1, 2, 0) + np.float32(1)) * np.float32(127.5))
    return np.clip(levels, 0, 255).astype(np.uint8)


def read_image(data: bytes, flatten: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    """Decode a picture file to uint8 H×W×3: EXIF orientation applied, palettes and grey expanded.

    flatten: colour put behind transparent pixels; None refuses pictures that have any alpha channel. 16-bit, float and CMYK
    pictures are refused with advice. Raises ImageError.
    """
    if not data:
        raise ImageError("the input is empty; expected a picture (PNG, JPEG, WebP, …)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit on the size follows; the rest is no news to a user
            file = Image.open(io.BytesIO(data))
            if file.width * file.height > MAX_PIXELS:
                raise ImageError(f"picture of {file.width}x{file.height}: expected at most {MAX_PIXELS >> 20} megapixels")
            if _deep(file):
                raise ImageError("picture with 16 bits a channel: expected 8; convert it, e.g. magick IN -depth 8 OUT")
            file.load()
            picture = ImageOps.exif_transpose(file)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("the input is not a picture that Pillow can read; expected PNG, JPEG, WebP or the like") from error
    except Exception as error:  # Pillow's decoders raise what they like on damaged files
        raise ImageError(f"the picture is damaged: {error}") from error
    return _to_rgb(picture, flatten)


def _deep(picture: ImageFile.ImageFile) -> bool:
    """Whether the file has 16 bits a channel, which Pillow would cut to 8 without a word for RGB."""
    for tile in picture.tile or []:
        arguments = tile[3] if isinstance(tile[3], tuple | list) else (tile[3],)
        if any(isinstance(a, str) and ";16" in a for a in arguments):
            return True
        if tile[0] == "ppm" and any(isinstance(a, int) and a > 255 for a in arguments):  # PPM's greatest value
            return True
    return False


def _to_rgb(picture: Image.Image, flatten: tuple[int, int, int] | None) -> NDArray[np.uint8]:
    mode = picture.mode
    if mode.startswith(("I", "F")):
        raise ImageError(
            f"picture with 16 or more bits a channel (mode {mode}): expected 8; convert it, e.g. magick IN -depth 8 OUT"
        )
    if mode in ("CMYK", "YCCK", "LAB", "HSV"):
        raise ImageError(f"picture in {mode} colours: expected RGB or grey; convert it, e.g. magick IN -colorspace sRGB OUT")
    if "A" in mode or "a" in mode or "transparency" in picture.info:
        if flatten is None:
            raise ImageError(
                f"picture with transparency (mode {mode}): the codec has no alpha channel; flatten it with --flatten COLOUR"
            )
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, (*flatten, 255)), layer)
    return np.asarray(picture.convert("RGB"))


def image_bytes(rgb: NDArray[np.uint8], path: Path) -> bytes:
    """Return the picture in the format of the path's suffix; PNG where it has none, of a grey picture in grey. Raises
    ImageError for an unknown suffix.
    """
    kind, buffer = image_format(path), io.BytesIO()
    try:
        Image.fromarray(rgb[..., 0] if kind == "PNG" and is_grey(rgb) else rgb).save(buffer, kind)
    except (OSError, ValueError) as error:
        raise ImageError(f"output {path.name}: Pillow can't write this picture as {kind} ({error}); use .png") from error
    return buffer.getvalue()


def animation_bytes(pictures: Sequence[NDArray[np.uint8]], kind: str) -> bytes:
    """Return pictures of one size as an animation that ends with a pause; kind: GIF (256 colours), or WEBP, which is
    lossless.
    """
    buffer, frames = io.BytesIO(), [Image.fromarray(p) for p in pictures]
    durations = [_FRAME_MS] * (len(frames) - 1) + [_LAST_FRAME_MS]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return buffer.getvalue()


def image_format(path: Path) -> str:
    """Return Pillow's name of the format that a path's suffix stands for. Raises ImageError for one it can't write."""
    kind = Image.registered_extensions().get(path.suffix.lower() or ".png")
    if kind is None or kind not in Image.SAVE:
        raise ImageError(f"output {path.name}: Pillow can't write {path.suffix} files; use .png")
    return kind


def picture_grid(pictures: Sequence[NDArray[np.uint8]], columns: int, gap: int = 2) -> NDArray[np.uint8]:
    """Return equal-sized (h, w, 3) pictures row by row, `gap` white pixels between them."""
    height, width, channels = pictures[0].shape
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        grid[top : top + height, left : left + width] = picture
    return grid
