"""Many pictures to one archive: in batches, for the network.

Each has a stream of its own; in a solid archive the pictures of a block share one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ddpmcodec.bitstream.archive import MAX_SOLID, pack_archive, pack_blocks
from ddpmcodec.bitstream.fields import FILE_NAME, FILE_NAMES, in_order
from ddpmcodec.bitstream.file import with_fields
from ddpmcodec.bitstream.file_names import names_to_bytes
from ddpmcodec.bitstream.header import Header, read_header
from ddpmcodec.codec.encoding import encode_batch
from ddpmcodec.codec.estimate import BATCH, pictures_at_a_time
from ddpmcodec.codec.options import EncodeOptions, OnStep, Options
from ddpmcodec.codec.pictures import as_pictures
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.images import as_picture
from ddpmcodec.io.limits import MAX_PIXELS
from ddpmcodec.io.shown import Shown
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.cache import ModelLike, sending_model
from ddpmcodec.numerics.arguments import several, text, whole

if TYPE_CHECKING:
    from typing_extensions import Unpack


def encode_archive(
    images: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    model: ModelLike = None,
    batch: int = BATCH,
    solid: int | None = None,
    on_step: OnStep = lambda step: None,
    on_batch: Callable[[int], None] = lambda done: None,
    **options: Unpack[EncodeOptions],
) -> bytes:
    """Encode pictures of one size (each uint8 H×W×3 or H×W) to one archive, `batch` at a time through the network.

    names: what the pictures' files are called, kept beside them. solid: as many pictures as this (2 to 256) are a
    block, and share a stream: fewer bytes, and none is a file of its own; they go through the network together.
    None, or 1: each has its own stream. on_step: called after each step of each batch or block. on_batch: called after
    each with the number of pictures done so far. The rest is as in `encode_batch`. Raises ImageError where there is no
    picture, or one can't be coded or differs in size.
    """
    images = as_pictures(images)
    names = None if names is None else [text(name, "name") for name in several(names, "names")]
    if not images:
        raise ImageError("no pictures: an archive holds at least one")
    if names is not None and len(names) != len(images):
        raise DdpmCodecError(f"{len(names)} names for {len(images)} pictures: expected one for each")
    pictures = [_picture(i, image, bool(options.get("lossless"))) for i, image in enumerate(images)]
    height, width, _ = pictures[0].rgb.shape
    for i, picture in enumerate(pictures):
        if picture.rgb.shape != pictures[0].rgb.shape:
            raise ImageError(
                f"picture {i} is {picture.rgb.shape[1]}x{picture.rgb.shape[0]} and picture 0 is {width}x{height}: an "
                "archive holds pictures of one size"
            )
    codec, files = sending_model(model, height, width), list[bytes]()
    at_a_time, together = pictures_at_a_time(height * width, batch), _solid_of(height * width, solid, len(pictures))
    if together > 1:
        return _encode_solid(pictures, codec, together, names, Options(**options), on_step, on_batch)
    for first in range(0, len(pictures), at_a_time):
        files += encode_batch(pictures[first : first + at_a_time], model=codec, on_step=on_step, **options)
        on_batch(len(files))
    if names is not None:
        files = [
            with_fields(file, [*read_header(file).fields, (FILE_NAME, name.encode("utf-8", "replace"))])
            for file, name in zip(files, names, strict=True)
        ]
    return pack_archive(files)


def _encode_solid(
    pictures: Sequence[Shown],
    codec: CodecModel,
    together: int,
    names: Sequence[str] | None,
    options: Options,
    on_step: OnStep,
    on_batch: Callable[[int], None],
) -> bytes:
    if options.has_target:
        raise DdpmCodecError("pictures of an archive take their steps together, so it has no target")
    if any(picture.meaning != pictures[0].meaning for picture in pictures):
        raise DdpmCodecError(
            "the pictures' colour profiles differ, and pictures of a solid archive have one header: leave out solid, "
            "or convert them to sRGB"
        )
    headers, payloads = list[Header](), list[bytes]()
    for first in range(0, len(pictures), together):
        sender = options.sender(*pictures[first : first + together], model=codec, joint=True)
        for sent in sender.send():
            on_step(sent)
        payloads.append(sender.block())
        headers += sender.headers
        on_batch(len(headers))
    shared = headers[0]
    if names is not None:
        shared = replace(shared, fields=in_order([*shared.fields, (FILE_NAMES, names_to_bytes(names))]))
    return pack_blocks(shared, [header.grey for header in headers], payloads, together)


def _picture(index: int, image: Any, exact: bool) -> Shown:
    try:
        return as_picture(image, keep=exact)
    except ImageError as error:
        raise ImageError(f"picture {index}: {error}") from error


def _solid_of(pixels: int, solid: int | None, pictures: int) -> int:
    """Return how many pictures of `pixels` pixels a block is to have: 1 is none."""
    together = 1 if solid is None else whole(solid, "solid")
    if not 1 <= together <= MAX_SOLID:
        raise DdpmCodecError(f"blocks of {together} pictures: expected 1 to {MAX_SOLID}")
    together = min(together, pictures)
    if together * pixels > MAX_PIXELS:
        raise DdpmCodecError(
            f"blocks of {together} pictures of {pixels} pixels: expected at most {MAX_PIXELS >> 20} megapixels together"
        )
    return together
