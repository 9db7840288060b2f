"""Shorter streams from longer ones, without the network: a prefix of steps, closed as the sender would close it."""

from __future__ import annotations

import os

from ddpmcodec.bitstream.file import KnownModel, finish, read_info, require_complete, writer_of
from ddpmcodec.bitstream.header import parse_header
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models.choice import AUTO, receiving_info
from ddpmcodec.numerics.arguments import flag, octets, whole_or_none


def truncate(
    data: bytes,
    *,
    steps: int | None = None,
    size: int | None = None,
    model: KnownModel | str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
) -> bytes:
    """Return the complete stream of the first `steps` steps, or of as many steps as `size` bytes hold, header and all.

    It is the very file that `encode(…, plan_steps=p, steps=n)` makes, p the file's plan; a short step or a lossless
    tail at the end of the stream counts as one step and is kept where all steps are. Of the model only its metadata is
    read. allow_partial: take what is intact of a file that was cut. Raises DdpmCodecError when neither or both of steps
    and size are given, when there are fewer steps than asked for, or not one fits; TruncatedStreamError for a cut file.
    """
    if (steps is None) == (size is None):
        raise DdpmCodecError("a stream is truncated to a number of steps or to a size in bytes: give one of the two")
    steps, size = whole_or_none(steps, "steps"), whole_or_none(size, "size")
    if model is None or isinstance(model, str | os.PathLike):
        model = receiving_info(model or AUTO, parse_header(octets(data))[0].fingerprint)
    info = read_info(data, model)
    if not flag(allow_partial, "allow_partial"):
        require_complete(info)
    if not info.steps:
        raise DdpmCodecError("not even the first step of the stream is there; nothing is left to keep")
    if steps is not None and not 1 <= steps <= info.pictures:
        raise DdpmCodecError(f"{steps} steps were asked for; this stream has 1 to {info.pictures}")
    if info.tail and (steps == info.pictures if size is None else len(data) <= size):
        return bytes(data)
    plain = info.header.of_chain()
    writer = writer_of(plain, model)
    shortest, best = 0, b""
    for n, packet in enumerate(info.packets[:steps], 1):
        writer.write(packet)
        if size is not None or n == steps:
            file = finish(plain if packet.log_snr is None else info.header, writer.ended_here())
            shortest = shortest or len(file)
            if size is None or len(file) <= size:
                best = file
    if not best:
        raise DdpmCodecError(f"{size} bytes don't hold the first step of this stream, whose file has {shortest} bytes")
    return best


def truncated_sizes(data: bytes, model: KnownModel, allow_partial: bool = False) -> list[int]:
    """Return the bytes of `truncate(data, steps=n)` for every n from 1, in one pass. Raises DdpmCodecError as that
    does.
    """
    info = read_info(data, model)
    if not allow_partial:
        require_complete(info)
    plain = info.header.of_chain()
    writer, sizes = writer_of(plain, model), list[int]()
    for packet in info.packets:
        writer.write(packet)
        sizes.append(len(finish(plain if packet.log_snr is None else info.header, writer.ended_here())))
    return [*sizes, len(data)] if info.tail else sizes
