"""Checks that a file is whole and undamaged, without running a network: its CRC and, with a known model, its parse."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ddpmcodec.bitstream.archive import Archive, is_archive, read_archive
from ddpmcodec.bitstream.file import KnownModel, read_info, require_complete
from ddpmcodec.bitstream.header import Header, parse_header
from ddpmcodec.bitstream.solid import read_block
from ddpmcodec.errors import FormatError, TruncatedStreamError, UnknownModelError
from ddpmcodec.models.choice import AUTO, receiving_info
from ddpmcodec.numerics.arguments import octets


@dataclass(frozen=True)
class Verified:
    """Findings about a sound file."""

    header: Header
    size: int  # bytes, all of them under the check
    pictures: int  # 1, or as many as an archive holds
    archive: bool
    steps: tuple[int, ...] | None  # each picture's; None: the model is another, so only the check was made
    model: str | None  # its name, where steps are known


def verify(data: bytes, model: KnownModel | str | os.PathLike[str] | None = None) -> Verified:
    """Check a stream or an archive: header, the check over all its bytes, and that they are the ones an encoder writes.

    The last needs the model's plan: None is the model that the file names, embedded or in a folder of models. Where a
    file is another model's, only header and check can be looked at, and `steps` says so. Raises FormatError for a file
    that is cut or damaged, or isn't one of ours.
    """
    data = octets(data)
    archive = read_archive(data) if is_archive(data) else None
    header = _checked(data) if archive is None else archive.header
    if model is None or isinstance(model, str | os.PathLike):
        model = _known(model or AUTO, header.fingerprint)
    known = model if model is not None and model.fingerprint.startswith(header.fingerprint) else None
    steps, name = (None, None) if known is None else (_steps(data, archive, known), known.name)
    return Verified(header, len(data), 1 if archive is None else archive.count, archive is not None, steps, name)


def _known(model: str | os.PathLike[str], fingerprint: str) -> KnownModel | None:
    try:
        return receiving_info(model, fingerprint)
    except UnknownModelError:
        return None


def _checked(data: bytes) -> Header:
    header, start = parse_header(data)
    end = len(data) - header.check_bytes
    if end < start + header.least_payload or header.check(data[:end]) != data[end:]:
        raise FormatError(
            f"the stream is cut or damaged: its check over all {len(data)} bytes fails; get the file again"
        )
    return header


def _steps(data: bytes, archive: Archive | None, model: KnownModel) -> tuple[int, ...]:
    """Return the steps of each picture. The check matches, so what is wrong with a payload is its maker's doing."""
    if archive is not None and archive.solid > 1:
        return _steps_of_blocks(archive, model)
    found = []
    for i in range(archive.count if archive else 1):
        info = read_info(archive.stream(i) if archive else data, model)
        try:
            require_complete(info)
        except TruncatedStreamError as error:
            raise _unwritten(f"picture {i}" if archive else "the stream", info.steps, info.plan.steps) from error
        found.append(info.steps)
    return tuple(found)


def _steps_of_blocks(archive: Archive, model: KnownModel) -> tuple[int, ...]:
    found = list[int]()
    for number in range(archive.blocks):
        members = archive.members(number)
        block = read_block(archive.header, archive.payload(members.start), len(members), model)
        if not block.complete:
            raise _unwritten(f"the block of pictures {members.start} to {members[-1]}", block.steps, block.plan.steps)
        found += [block.steps] * len(members)
    return tuple(found)


def _unwritten(what: str, steps: int, planned: int) -> FormatError:
    return FormatError(
        f"{what} passes its check, but its bytes are none that an encoder writes: {steps} of {planned} steps can be "
        "decoded; it was changed on purpose, or made by a faulty program"
    )
