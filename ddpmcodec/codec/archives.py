"""Many pictures to one archive and back: in batches, for the network, and each alone, for whoever wants one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.archive_index import Archive, pack_archive, read_archive
from ddpmcodec.bitstream.fields import FILE_NAME
from ddpmcodec.bitstream.file import StreamInfo, read_info, require_complete, with_fields
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.codec.decoding import Decoded, decode_packets
from ddpmcodec.codec.encoding import encode_batch
from ddpmcodec.codec.estimate import PIXELS_AT_A_TIME
from ddpmcodec.codec.options import EncodeOptions, OnStep
from ddpmcodec.errors import DdpmCodecError, FormatError, ImageError, TruncatedStreamError
from ddpmcodec.io.images import as_rgb
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.cache import ModelLike, receiving_model, sending_model
from ddpmcodec.numerics.arguments import whole, whole_or_none

if TYPE_CHECKING:
    from typing_extensions import Unpack

_BATCH = 64


@dataclass(frozen=True, eq=False)
class ArchivePicture:
    """A picture out of an archive, from `decode_archive`."""

    index: int
    image: NDArray[np.uint8]  # (h, w, 3)
    steps: int  # that it was decoded from
    verified: bool  # the archive is complete and passes its check
    name: str = ""  # its file's, where the archive kept it: whatever the sender wrote there


def encode_archive(
    images: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    model: ModelLike = None,
    batch: int = _BATCH,
    on_step: OnStep = lambda step: None,
    on_batch: Callable[[int], None] = lambda done: None,
    **options: Unpack[EncodeOptions],
) -> bytes:
    """Encode pictures of one size (each uint8 H×W×3 or H×W) to one archive, `batch` at a time through the network.

    names: what the pictures' files are called, kept beside them. on_step: called after each step of each batch.
    on_batch: called after each batch with the number of pictures done so far. The rest is as in `encode_batch`. Raises
    ImageError where there is no picture, or one can't be coded or differs in size.
    """
    if not len(images):
        raise ImageError("no pictures: an archive holds at least one")
    if names is not None and len(names) != len(images):
        raise DdpmCodecError(f"{len(names)} names for {len(images)} pictures: expected one for each")
    pictures = [_picture(i, image, bool(options.get("lossless"))) for i, image in enumerate(images)]
    height, width, _ = pictures[0].shape
    for i, picture in enumerate(pictures):
        if picture.shape != pictures[0].shape:
            raise ImageError(
                f"picture {i} is {picture.shape[1]}x{picture.shape[0]} and picture 0 is {width}x{height}: an archive "
                "holds "
                "pictures of one size"
            )
    codec, files = sending_model(model, height, width), list[bytes]()
    at_a_time = _batch_of(height * width, batch)
    for first in range(0, len(pictures), at_a_time):
        files += encode_batch(pictures[first : first + at_a_time], model=codec, on_step=on_step, **options)
        on_batch(len(files))
    if names is not None:
        files = [
            with_fields(file, [*read_header(file).fields, (FILE_NAME, name.encode())])
            for file, name in zip(files, names, strict=True)
        ]
    return pack_archive(files)


def decode_archive(
    data: bytes,
    index: int | None = None,
    *,
    steps: int | None = None,
    model: ModelLike = None,
    batch: int = _BATCH,
    allow_partial: bool = False,
    on_step: Callable[[int], None] = lambda pictures: None,
) -> Iterator[ArchivePicture]:
    """Yield an archive's pictures in order, or the one at `index` (from 0) alone, decoded from `steps` steps or from
    all.

    batch: how many go through the network together. allow_partial: decode what is there of an archive that was cut or
    damaged behind its index; a picture then may have fewer steps, and one without any is left out. on_step: called
    after each step of a batch with the number of pictures that took it. Raises DdpmCodecError.
    """
    steps, index = whole_or_none(steps, "steps"), whole_or_none(index, "index")
    archive = read_archive(data, allow_partial=allow_partial)
    codec = receiving_model(model, archive.header.fingerprint)
    at_a_time = _batch_of(archive.header.pixels, batch)
    if steps is not None and steps < 1:
        raise DdpmCodecError(f"{steps} steps were asked for: expected at least 1")
    places: Sequence[int] = range(archive.begun) if index is None else [index]
    found = False
    for first in range(0, len(places), at_a_time):
        parsed = [(i, _parsed(archive, i, steps, codec, allow_partial)) for i in places[first : first + at_a_time]]
        there, items = [(i, info) for i, info in parsed if info is not None and info.steps], list[Decoded]()
        if not there:
            continue
        for items in decode_packets([info for _, info in there], steps, codec):
            n = max(item.n for item in items)
            on_step(sum(item.n == n for item in items))  # others have ended
        for (i, info), item in zip(there, items, strict=True):
            name = info.header.field(FILE_NAME) or b""
            yield ArchivePicture(i, item.image, item.n, archive.complete, name.decode("utf-8", "replace"))
        found = True
    if not found:
        raise DdpmCodecError("not even the first step of a picture is there; nothing can be decoded")


def _parsed(
    archive: Archive, index: int, wanted: int | None, codec: CodecModel, allow_partial: bool
) -> StreamInfo | None:
    """A picture's stream. Raises DdpmCodecError where it has fewer steps than are wanted; unless allow_partial, with
    which it is None where not even the picture's own fields can be read.
    """
    if allow_partial:
        try:
            return read_info(archive.stream(index), codec)
        except FormatError:
            if not archive.own_fields:
                raise
            return None
    info = read_info(archive.stream(index), codec)
    try:
        require_complete(info)
    except TruncatedStreamError as error:  # the archive's check matches, so its maker wrote it so
        raise TruncatedStreamError(f"picture {index}: {error}", error.intact_steps) from error
    if not 1 <= (wanted or 1) <= info.pictures:
        raise DdpmCodecError(f"{wanted or 1} steps were asked for; picture {index} has {info.pictures}")
    return info


def _picture(index: int, image: Any, exact: bool) -> NDArray[np.uint8]:
    try:
        return as_rgb(image, exact)
    except ImageError as error:
        raise ImageError(f"picture {index}: {error}") from error


def _batch_of(pixels: int, batch: int) -> int:
    """How many pictures of `pixels` pixels to take at a time."""
    batch = whole(batch, "batch")
    if batch < 1:
        raise DdpmCodecError(f"a batch of {batch} pictures: expected at least 1")
    return max(1, min(batch, PIXELS_AT_A_TIME // pixels))
