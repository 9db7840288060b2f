"""Calls of each classical codec: pictures (h, w, 3) uint8 to files and back, on one thread."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (h, w, 3)


def pillow(image: Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def pillow_decode(data: bytes) -> Image:
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def jpeg(image: Image, quality: float, subsampling: str) -> bytes:
    return pillow(image, "JPEG", quality=int(quality), subsampling=subsampling, optimize=True)


def png(image: Image, _: float) -> bytes:
    return pillow(image, "PNG", optimize=True)


def webp(image: Image, quality: float) -> bytes:
    return pillow(image, "WEBP", quality=int(quality), method=6)


def webp_lossless(image: Image, _: float) -> bytes:
    """Encode by a fast method: 6 at this quality takes seconds for a 256×256 photograph, 2% smaller; worse on 32×32."""
    return pillow(image, "WEBP", lossless=True, quality=100, method=4)


def j2k_resolutions(image: Image, of_small: int) -> int:
    """Return OpenJPEG's default of 6 for sides of 64 on; small ones gain by fewer, and must halve without vanishing."""
    side = min(image.shape[:2])
    return min(6 if side >= 64 else of_small, side.bit_length())


def j2k(image: Image, psnr: float) -> bytes:
    options = {"irreversible": True, "quality_mode": "dB", "quality_layers": [psnr]}
    return pillow(image, "JPEG2000", no_jp2=True, mct=1, num_resolutions=j2k_resolutions(image, 3), **options)


def j2k_lossless(image: Image, _: float) -> bytes:
    return pillow(image, "JPEG2000", no_jp2=True, mct=1, num_resolutions=j2k_resolutions(image, 4), irreversible=False)


def avif(image: Image, quality: float, subsampling: str, speed: int = 6, **options: Any) -> bytes:
    return pillow(image, "AVIF", quality=int(quality), subsampling=subsampling, speed=speed, max_threads=1, **options)


def avif_lossless(image: Image, _: float) -> bytes:
    """Encode without Pillow, which can't ask for the identity matrix, without which RGB doesn't come back. Speed 0:
    0.5% smaller, far slower.
    """
    return imagecodecs("avif_encode", image, level=100, speed=4, pixelformat="444", matrix=0, numthreads=1)


def jxl(image: Image, distance: float) -> bytes:
    return imagecodecs("jpegxl_encode", image, distance=distance, effort=7, usecontainer=False, numthreads=1)


def jxl_lossless(image: Image, _: float, effort: int = 7) -> bytes:
    return imagecodecs("jpegxl_encode", image, lossless=True, effort=effort, usecontainer=False, numthreads=1)


def jpegls(image: Image, _: float) -> bytes:
    return imagecodecs("jpegls_encode", image)


def imagecodecs(function: str, image: Image, **options: Any) -> bytes:
    return bytes(getattr(import_module("imagecodecs"), function)(np.ascontiguousarray(image), **options))


def imagecodecs_decode(data: bytes, function: str) -> Image:
    return np.asarray(getattr(import_module("imagecodecs"), function)(data))


def heic(image: Image, quality: float, chroma: int, **options: Any) -> bytes:
    """Encode by libheif, which pads sides below 64 to 64. Without Pillow's plugin, which would have to be registered
    for the whole process.
    """
    file, heif = io.BytesIO(), import_module("pillow_heif").from_pillow(PIL.Image.fromarray(image))
    heif.save(file, quality=int(quality), chroma=chroma, **options)
    return file.getvalue()


def heic_lossless(image: Image, _: float) -> bytes:
    return heic(image, -1, 444, matrix_coefficients=0)


def heic_decode(data: bytes) -> Image:
    return np.asarray(import_module("pillow_heif").read_heif(data))
