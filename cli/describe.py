"""Descriptions of a stream or an archive, which `ddpmcodec info` shows."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from ddpmcodec.bitstream.archive import Archive, is_archive, read_archive
from ddpmcodec.bitstream.condition import condition_of
from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.bitstream.solid import read_block
from ddpmcodec.channel.names import TRELLIS, default_memory
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.plan import default_steps
from ddpmcodec.errors import UnknownModelError
from ddpmcodec.models.choice import receiving_info
from ddpmcodec.models.condition import NO_GUIDANCE, Condition


def describe(data: bytes, model: str) -> dict[str, Any]:
    """Return the header's fields always; steps, too, or an archive's sizes, where `model` is the one it was made
    with.
    """
    archive = read_archive(data, allow_partial=True) if is_archive(data) else None
    header = archive.header if archive else read_header(data)
    values: dict[str, Any] = {
        "version": header.version,
        "fingerprint": header.fingerprint,
        "width": header.width,
        "height": header.height,
        "seed": header.seed,
        "announces": "the exact picture" if header.lossless else "a short last step" if header.short else "whole steps",
        "grey": header.grey,
        "fields": [{"name": f.name, "identifier": f.identifier, "bytes": len(f.data)} for f in header.fields],
        "bytes": len(data),
        **_told(condition_of(header)),
    }
    if archive:
        values |= _pictures_of(archive)
    try:
        known = receiving_info(model, header.fingerprint)
    except UnknownModelError as error:
        values["model"] = f"unknown: {error}"
        return values
    if not known.fingerprint.startswith(header.fingerprint):
        values["model"] = f"unknown (not {known.name}, {known.fingerprint[:8]}); give the sender's with --model"
        return values
    if header.channel is None:
        height, width = canvas_size(header.height, header.width, known.window, known.factor)
        kind, parameter = TRELLIS, default_memory(known.config.image_channels * height * width)
    else:
        kind, parameter = header.channel
    values |= {
        "model": known.name,
        "channel": f"{'trellis' if kind == TRELLIS else 'orc'}:{parameter}",
        "plan_steps": default_steps(known.curve) if header.plan_steps is None else header.plan_steps,
        "real_bits_per_dim": round(8 * len(data) / (3 * header.pixels * (archive.count if archive else 1)), 6),
    }
    if archive:
        return values
    info, short, colours = read_info(data, known), {}, {}
    if info.plan.spectrum is not None:
        colours = {"coloured": [p.coloured for p in info.packets]}
    if info.short_step is not None:
        short = {"short_step": {"bits": info.short_step.bits, "log_snr": round(info.log_snr[-1], 4)}}
    return values | {
        "complete": info.complete,
        "steps": info.steps,
        **short,
        "lossless": bool(info.tail),
        **({"tail_bytes": len(info.tail)} if info.tail else {}),
        "header_bytes": info.header_bytes,
        "payload_bytes": info.payload_bytes,
        "check_bytes": info.check_bytes,
        "log_snr": [round(level, 4) for level in info.log_snr],
        "channel_bits": [p.bits for p in info.packets],
        **colours,
        "step_bits": [round(b, 2) for b in info.step_bits],
        "cumulative_bits": [round(b, 2) for b in accumulate(info.step_bits)],
    }


def _told(condition: Condition) -> dict[str, Any]:
    """Return what the network is told, where it is anything."""
    told = {
        "class": condition.label,
        "prompt": condition.prompt or None,
        "guidance": None if condition.guidance == NO_GUIDANCE else condition.guidance / 100,
    }
    return {name: value for name, value in told.items() if value is not None}


def describe_block(archive: Archive, index: int, model: str) -> dict[str, Any]:
    """Return what the block of a picture holds. Raises DdpmCodecError for another model's, or where there is none."""
    header, members = archive.header, archive.members(index // archive.solid)
    payload = archive.payload(index)
    block = read_block(header, payload, len(members), receiving_info(model, header.fingerprint))
    return {
        "version": header.version,
        "fingerprint": header.fingerprint,
        "width": header.width,
        "height": header.height,
        "grey": archive.is_grey(index),
        "picture": index,
        "block": f"pictures {members.start} to {members[-1]}",
        "complete": block.complete,
        "steps": block.steps,
        "lossless": bool(block.tails),
        **({"tail_bytes": len(block.tails[index - members.start])} if block.tails else {}),
        "payload_bytes": len(payload),
        "log_snr": [round(block.plan.level(n), 4) for n in range(1, block.steps + 1)],
        "channel_bits": [p.bits for p in block.packets],
        "coloured": [sum(share.coloured for share in p.shares) for p in block.packets],
        "step_bits": [round(b, 2) for b in block.step_bits],
        "cumulative_bits": [round(b, 2) for b in accumulate(block.step_bits)],
    }


def _pictures_of(archive: Archive) -> dict[str, Any]:
    """Account for every byte of an archive, and its payloads' sizes; `info --index` shows the steps of a picture or of
    its block.
    """
    values: dict[str, Any] = {
        "complete": archive.complete,
        "pictures": archive.count,
        "intact_pictures": archive.intact,
        **({"pictures_a_block": archive.solid} if archive.solid > 1 else {}),
        "header_bytes": archive.header_bytes,
        "index_bytes": archive.index_bytes,
        "index_bytes_per_picture": round(archive.index_bytes / archive.count, 3),
        "payload_bytes": len(archive.data) - archive.starts[0] - archive.check_bytes,
        "check_bytes": archive.check_bytes,
        "sizes": list(archive.sizes),
    }
    if archive.sizes:
        mean = sum(archive.sizes) / len(archive.sizes)
        values["payload_sizes"] = f"{min(archive.sizes)} to {max(archive.sizes)} bytes, {mean:.1f} on average"
    return values
