"""What a page shows of a stream: every step's picture, the bytes of a file that ends there, and how good it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.codec.decoding import decode_progressive
from ddpmcodec.codec.metadata import of_fields
from ddpmcodec.codec.truncation import truncated_sizes
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.metadata import NOTHING, Metadata
from ddpmcodec.models.cache import ModelLike, receiving_model


@dataclass(frozen=True, eq=False)
class ShownStep:
    """Step of a stream, as a page shows it."""

    n: int
    size: int  # bytes of the complete file that ends after this step
    bits_per_pixel: float  # of that file
    psnr: float | None  # dB over red, green and blue against the original; None: none was given, or it is infinite
    exact: bool  # the sender's picture itself
    image: NDArray[np.uint8]  # (h, w, 3)


@dataclass(frozen=True, eq=False)
class ShownStream:
    """Stream, as a page shows it: at least one step, by rising number."""

    name: str
    model: str
    steps: tuple[ShownStep, ...]
    planned: int  # steps of the plan
    original: NDArray[np.uint8] | None = None  # (h, w, 3)
    metadata: Metadata = NOTHING  # says what the values of all pictures mean


def shown_stream(
    data: bytes,
    name: str = "picture",
    *,
    original: NDArray[np.uint8] | None = None,
    every: int = 1,
    model: ModelLike = None,
    allow_partial: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> ShownStream:
    """Return every step of a stream, decoded; or every `every`-th, and the first and the last.

    original: uint8 (h, w, 3), what PSNR and differences are taken against. on_step: called after each step. Raises
    ImageError where it has another size than the stream's picture, and DdpmCodecError as `decode` does.
    """
    if every < 1:
        raise DdpmCodecError(f"every {every} steps: expected at least 1")
    steps, codec = list[ShownStep](), receiving_model(model, read_header(data).fingerprint)
    info = read_info(data, codec)
    height, width = info.header.height, info.header.width
    if original is not None and original.shape[:2] != (height, width):
        raise ImageError(
            f"the original of {name} is {original.shape[1]}x{original.shape[0]} and the stream's picture "
            f"{width}x{height}: name the picture that was encoded"
        )
    sizes = truncated_sizes(data, codec, allow_partial)
    for item in decode_progressive(data, model=codec, allow_partial=allow_partial):
        on_step()
        if item.n in (1, info.pictures) or item.n % every == 0:
            size = sizes[item.n - 1]
            psnr = None if original is None else psnr_of(item.image, original)
            steps.append(ShownStep(item.n, size, 8 * size / (height * width), psnr, item.exact, item.image))
    return ShownStream(name, codec.name, tuple(steps), info.plan.steps, original, of_fields(info.header.fields))


def psnr_of(picture: NDArray[np.uint8], original: NDArray[np.uint8]) -> float | None:
    """Return the PSNR of pictures in whole levels, in dB; None where they are equal."""
    mse = float(np.mean((picture.astype(np.float64) - original) ** 2))
    return 10 * math.log10(255**2 / mse) if mse else None
