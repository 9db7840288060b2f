"""Contents of a stream's page: every step's picture, the bytes of a file that ends there, and how good it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.archive import Archive
from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import Header, read_header
from ddpmcodec.bitstream.solid import read_block
from ddpmcodec.codec.archive_decoding import decode_member
from ddpmcodec.codec.decoding import Decoded, decode_progressive
from ddpmcodec.codec.metadata import of_fields
from ddpmcodec.codec.truncation import truncated_sizes
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.metadata import NOTHING, Metadata
from ddpmcodec.models.cache import ModelLike, receiving_model
from ddpmcodec.numerics.arguments import whole


@dataclass(frozen=True, eq=False)
class ShownStep:
    """Step of a stream, as a page shows it."""

    n: int
    size: int  # bytes of the complete file that ends after this step; of a solid archive's picture, its share
    bits_per_pixel: float  # of these bytes
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
    shared: int = 1  # pictures that its bytes are shared with, itself among them


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
    if whole(every, "every") < 1:
        raise DdpmCodecError(f"every {every} steps: expected at least 1")
    codec = receiving_model(model, read_header(data).fingerprint)
    info = read_info(data, codec)
    _check_original(original, info.header, name)
    sizes = truncated_sizes(data, codec, allow_partial)
    pictures = decode_progressive(data, model=codec, allow_partial=allow_partial)
    steps = _steps(pictures, sizes, info.pictures, original, every, on_step)
    return ShownStream(name, codec.name, steps, info.plan.steps, original, of_fields(info.header.fields))


def shown_member(
    archive: Archive,
    index: int,
    name: str = "picture",
    *,
    original: NDArray[np.uint8] | None = None,
    every: int = 1,
    model: ModelLike = None,
    allow_partial: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> ShownStream:
    """Return every step of a picture of a solid archive, like `shown_stream`. Its bytes are its share: a tail of its
    own, and an equal part of what its block, or the whole archive, has for all.
    """
    if whole(every, "every") < 1:
        raise DdpmCodecError(f"every {every} steps: expected at least 1")
    codec = receiving_model(model, archive.header.fingerprint)
    _check_original(original, archive.header, name)
    members = archive.members(index // archive.solid)
    block = read_block(archive.header, archive.payload(index), len(members), codec)
    ours = archive.header_bytes + archive.index_bytes + archive.check_bytes
    chain = [bits / 8 / block.count + ours / archive.count for bits in accumulate(block.step_bits)]
    sizes = [math.ceil(size) for size in chain]
    if block.complete and sizes:
        for_all = (block.payload_bytes - sum(map(len, block.tails))) / block.count + ours / archive.count
        sizes[-1] = math.ceil(for_all)
        sizes += [math.ceil(for_all + len(block.tails[index - members.start]))] if block.tails else []
    pictures = decode_member(archive, index, None, codec, allow_partial)
    steps = _steps(pictures, sizes, block.pictures, original, every, on_step)
    metadata = of_fields(archive.header.fields)
    return ShownStream(name, codec.name, steps, block.plan.steps, original, metadata, block.count)


def _check_original(original: NDArray[np.uint8] | None, header: Header, name: str) -> None:
    if original is not None and original.shape[:2] != (header.height, header.width):
        raise ImageError(
            f"the original of {name} is {original.shape[1]}x{original.shape[0]} and the stream's picture "
            f"{header.width}x{header.height}: name the picture that was encoded"
        )


def _steps(
    pictures: Iterable[Decoded],
    sizes: Sequence[int],
    last: int,
    original: NDArray[np.uint8] | None,
    every: int,
    on_step: Callable[[], None],
) -> tuple[ShownStep, ...]:
    steps = list[ShownStep]()
    for item in pictures:
        on_step()
        if item.n in (1, last) or item.n % every == 0:
            size, pixels = sizes[item.n - 1], item.image.shape[0] * item.image.shape[1]
            psnr = None if original is None else psnr_of(item.image, original)
            steps.append(ShownStep(item.n, size, 8 * size / pixels, psnr, item.exact, item.image))
    return tuple(steps)


def psnr_of(picture: NDArray[np.uint8], original: NDArray[np.uint8]) -> float | None:
    """Return the PSNR of pictures in whole levels, in dB; None where they are equal."""
    mse = float(np.mean((picture.astype(np.float64) - original) ** 2))
    return 10 * math.log10(255**2 / mse) if mse else None
