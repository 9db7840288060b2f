"""Archives back to their pictures: in batches, for the network, and each alone, for whoever wants one of them.

In a solid archive the pictures of a block share a stream. Any of them is still decoded without the network's looking at
the others; only bytes are read for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.archive import Archive, read_archive
from ddpmcodec.bitstream.fields import FILE_NAME
from ddpmcodec.bitstream.file import StreamInfo, read_info, require_complete
from ddpmcodec.bitstream.solid import Block, least_payload, read_block
from ddpmcodec.codec.block_decoding import decode_block
from ddpmcodec.codec.decoding import Decoded, decode_packets
from ddpmcodec.codec.estimate import BATCH, pictures_at_a_time
from ddpmcodec.errors import DdpmCodecError, FormatError, TruncatedStreamError
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.cache import ModelLike, receiving_model
from ddpmcodec.numerics.arguments import whole_or_none


@dataclass(frozen=True, eq=False)
class ArchivePicture:
    """Picture out of an archive, from `decode_archive`."""

    index: int
    image: NDArray[np.uint8]  # (h, w, 3)
    steps: int  # that it was decoded from
    verified: bool  # the archive is complete and passes its check
    name: str = ""  # its file's, where the archive kept it: whatever the sender wrote there
    sound: bool = True  # its stream, or its block's, has bytes that an encoder writes, and a tail that was read fits


def decode_archive(
    data: bytes,
    index: int | None = None,
    *,
    steps: int | None = None,
    model: ModelLike = None,
    batch: int = BATCH,
    allow_partial: bool = False,
    on_step: Callable[[int], None] = lambda pictures: None,
) -> Iterator[ArchivePicture]:
    """Yield an archive's pictures in order, or the one at `index` (from 0) alone, decoded from `steps` steps or from
    all.

    batch: how many go through the network together; of a solid archive it is a block's. allow_partial: decode what is
    there of an archive that was cut or damaged behind its index; a picture then may have fewer steps, and one without
    any is left out; `sound` says which are not as they were sent. on_step: called after each step of a batch with the
    number of pictures that took it. Raises DdpmCodecError.
    """
    steps, index = whole_or_none(steps, "steps"), whole_or_none(index, "index")
    archive = read_archive(data, allow_partial=allow_partial)
    codec = receiving_model(model, archive.header.fingerprint)
    at_a_time = pictures_at_a_time(archive.header.pixels, batch)
    if steps is not None and steps < 1:
        raise DdpmCodecError(f"{steps} steps were asked for: expected at least 1")
    places: Sequence[int] = range(archive.begun) if index is None else [index]
    if steps is not None and index is None and not allow_partial:  # said before the first picture is out
        for place in range(0, archive.begun, max(1, archive.solid)):
            (_parsed_block if archive.solid > 1 else _parsed)(archive, place, steps, codec, False)
    if archive.solid > 1:
        found = _from_blocks(archive, places, steps, codec, allow_partial, on_step)
    else:
        found = _from_streams(archive, places, steps, codec, allow_partial, on_step, at_a_time)
    nothing = True
    for item in found:
        nothing = False
        yield item
    if nothing:
        raise DdpmCodecError("not even the first step of a picture is there; nothing can be decoded")


def decode_member(
    archive: Archive, index: int, steps: int | None, codec: CodecModel, allow_partial: bool = False
) -> Iterator[Decoded]:
    """Yield one picture of a solid archive after each step, `steps` at most. Raises like `decode_archive`."""
    block, members = _parsed_block(archive, index, steps, codec, allow_partial), archive.members(index // archive.solid)
    if block is None or not block.steps:
        raise DdpmCodecError("not even the first step of the picture's block is there; nothing can be decoded")
    grey = [archive.is_grey(i) for i in members]
    for (item,) in decode_block(block, [index - members.start], grey, steps, codec, allow_partial):
        yield item


def _from_streams(
    archive: Archive,
    places: Sequence[int],
    steps: int | None,
    codec: CodecModel,
    allow_partial: bool,
    on_step: Callable[[int], None],
    at_a_time: int,
) -> Iterator[ArchivePicture]:
    """Pictures with streams of their own, several at a time."""
    for first in range(0, len(places), at_a_time):
        parsed = [(i, _parsed(archive, i, steps, codec, allow_partial)) for i in places[first : first + at_a_time]]
        there, items = [(i, info) for i, info in parsed if info is not None and info.steps], list[Decoded]()
        if not there:
            continue
        for items in decode_packets([info for _, info in there], steps, codec, allow_partial):
            n = max(item.n for item in items)
            on_step(sum(item.n == n for item in items))  # others have ended
        for (i, info), item in zip(there, items, strict=True):
            sound = info.complete and (item.exact or not info.tail or steps is not None)
            name = (info.header.field(FILE_NAME) or b"").decode("utf-8", "replace")
            yield ArchivePicture(i, item.image, item.n, archive.complete, name, sound)


def _from_blocks(
    archive: Archive,
    places: Sequence[int],
    steps: int | None,
    codec: CodecModel,
    allow_partial: bool,
    on_step: Callable[[int], None],
) -> Iterator[ArchivePicture]:
    """Pictures that share streams, those of a block at a time."""
    for number, wanted in groupby(places, lambda place: place // archive.solid):
        members, asked = archive.members(number), list(wanted)
        block = _parsed_block(archive, asked[0], steps, codec, allow_partial)
        if block is None or not block.steps:
            continue
        items, grey = list[Decoded](), [archive.is_grey(i) for i in members]
        for items in decode_block(block, [i - members.start for i in asked], grey, steps, codec, allow_partial):
            on_step(len(items))
        for i, item in zip(asked, items, strict=True):
            sound = block.complete and (item.exact or not block.tails or steps is not None)
            name = archive.names[i] if archive.names else ""
            yield ArchivePicture(i, item.image, item.n, archive.complete, name, sound)


def _parsed(
    archive: Archive, index: int, wanted: int | None, codec: CodecModel, allow_partial: bool
) -> StreamInfo | None:
    """A picture's stream. Raises DdpmCodecError where it has fewer steps than are wanted; unless allow_partial, with
    which it is None where not even the picture's own fields can be read.
    """
    if allow_partial:
        try:
            return read_info(archive.stream(index, vouched=index < archive.intact), codec)
        except FormatError:
            if not archive.own_fields:
                raise
            return None
    info = read_info(archive.stream(index), codec)
    try:
        require_complete(info)
    except TruncatedStreamError as error:  # the archive's check matches, so its maker wrote it so
        raise TruncatedStreamError(f"picture {index}: {error}", error.intact_steps) from error
    _require_steps(wanted, info.pictures, index)
    return info


def _parsed_block(
    archive: Archive, index: int, wanted: int | None, codec: CodecModel, allow_partial: bool
) -> Block | None:
    """The block of a picture. Raises like `_parsed`, and is None likewise."""
    members, payload = archive.members(index // archive.solid), archive.payload(index)
    count, first = len(members), members.start
    if allow_partial and len(payload) < least_payload(archive.header, count):
        return None
    block = read_block(archive.header, payload, count, codec)
    if allow_partial:
        return block
    if not block.complete:
        raise TruncatedStreamError(
            f"the block of pictures {first} to {first + count - 1} is damaged: {block.steps} of {block.plan.steps} "
            "steps can be decoded; pass allow_partial=True (--allow-partial) to decode those",
            block.steps,
        )
    _require_steps(wanted, block.pictures, index)
    return block


def _require_steps(wanted: int | None, there: int, index: int) -> None:
    """Raise DdpmCodecError where a picture has fewer steps than are wanted, or none."""
    wanted = 1 if wanted is None else wanted
    if not 1 <= wanted <= there:
        raise DdpmCodecError(f"{wanted} steps were asked for; picture {index} has {there}")
