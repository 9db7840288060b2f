"""Whole files: header, payload and check, read and judged without running a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from ddpmcodec.bitstream.fields import in_order
from ddpmcodec.bitstream.header import TAIL_CHECK_BYTES, Header, parse_header
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.reader import StreamReader
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.base import Channel
from ddpmcodec.channel.names import channel_of
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import Plan, default_steps, make_plan
from ddpmcodec.errors import FormatError, TruncatedStreamError
from ddpmcodec.numerics.arguments import octets


@dataclass(frozen=True)
class StreamInfo:
    """Contents of a file. `step_bits` are the real bits of each intact step: bit count and channel symbols."""

    header: Header
    plan: Plan
    packets: tuple[Packet, ...]  # the intact steps; a short one is the last
    step_bits: tuple[float, ...]
    complete: bool  # the check matches, and the stream ends exactly where the file does
    header_bytes: int
    payload_bytes: int
    check_bytes: int  # 0 in a file that was cut before its check
    tail: bytes = b""  # what makes the picture exact, in a complete lossless file

    @property
    def steps(self) -> int:
        return len(self.packets)

    @property
    def pictures(self) -> int:
        """Return how many pictures a decoder yields: one a step, and the exact one."""
        return self.steps + bool(self.tail)

    @property
    def short_step(self) -> Packet | None:
        """Return the short step that ends the stream, if there is one: its bits, and the level it goes to."""
        return self.packets[-1] if self.packets and self.packets[-1].log_snr is not None else None

    @property
    def log_snr(self) -> tuple[float, ...]:
        """Return the level that each step reaches."""
        return tuple(self.plan.level(n) if p.log_snr is None else p.log_snr for n, p in enumerate(self.packets, 1))


class KnownModel(Protocol):
    """Model as parsing needs it, the one that a stream was made with: a CodecModel will do, and a model file's
    ModelInfo.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def curve(self) -> ErrorCurve: ...
    @property
    def window(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def factor(self) -> int:
        """Pixels along a side for each value of x_0."""
        ...


def reader_of(header: Header, model: KnownModel, pictures: int = 1) -> StreamReader:
    """Return a reader for the payload that follows this header, or for a block of some pictures. Raises FormatError
    for a plan that the model doesn't have.
    """
    return StreamReader(*_coding(header, model), header.short, pictures)


def writer_of(header: Header, model: KnownModel, pictures: int = 1) -> StreamWriter:
    """Return a writer for the payload that follows this header, or for a block. Raises FormatError like `reader_of`."""
    return StreamWriter(*_coding(header, model), header.short, pictures)


def _coding(header: Header, model: KnownModel) -> tuple[Plan, Channel, int]:
    try:
        plan = make_plan(model.curve, default_steps(model.curve) if header.plan_steps is None else header.plan_steps)
    except ValueError as error:
        raise FormatError(f"the header's plan can't be used: {error}") from error
    height, width = canvas_size(header.height, header.width, model.window, model.factor)
    dims = model.channels * height * width
    return plan, channel_of(header.channel, dims), dims


def finish(header: Header, writer: StreamWriter, tail: bytes = b"") -> bytes:
    """Return the complete file of a writer whose stream has ended. tail: what makes a lossless picture exact."""
    body = header.to_bytes() + padded(header, writer.sealed() + tail)
    return body + header.check(body)


def with_fields(data: bytes, fields: Iterable[tuple[int, bytes]]) -> bytes:
    """Return a complete file with other fields in its header, and all else as it is. Raises DdpmCodecError."""
    header, start = parse_header(octets(data))
    body = replace(header, fields=in_order(fields)).to_bytes() + data[start : len(data) - header.check_bytes]
    return body + header.check(body)


def read_info(data: bytes, model: KnownModel) -> StreamInfo:
    """Return everything that a file's bytes determine short of the picture; runs no network.

    Raises FormatError where the header is wrong, or names another model.
    """
    data = octets(data)
    header, start = parse_header(data)
    require_model(header, model)
    reader, end = reader_of(header, model), len(data) - header.check_bytes
    if end >= start and header.check(data[:end]) == data[end:]:
        packets = read_all(reader, data[start:end])
        tail = tail_of(header, reader, data[start:end])
        if tail is not None:
            costs = tuple(reader.step_bits)
            return StreamInfo(header, reader.plan, packets, costs, True, start, end - start, header.check_bytes, tail)
        reader = reader_of(header, model)
    # Cut or damaged: whatever follows the header may be payload.
    packets = read_all(reader, data[start:])
    return StreamInfo(header, reader.plan, packets, tuple(reader.step_bits), False, start, len(data) - start, 0)


def tail_of(header: Header, reader: StreamReader, payload: bytes) -> bytes | None:
    """Return what follows the chain in a complete payload, b"" but in lossless files; None where no encoder writes it.

    A sealed chain decodes alike whatever follows it, so its own bytes say where it ends.
    """
    if not reader.ended:
        return None
    chain = reader.sealed()
    if not header.lossless:
        return b"" if padded(header, chain) == payload else None
    sound = reader.step_bits and payload.startswith(chain) and len(payload) > len(chain) + TAIL_CHECK_BYTES
    return payload[len(chain) :] if sound else None


def require_complete(info: StreamInfo) -> None:
    """Raise TruncatedStreamError, saying how many steps are intact, unless the file is whole and passes its check."""
    if not info.complete:
        raise TruncatedStreamError(
            f"the stream is cut or damaged: its check fails, and {info.steps} of {info.plan.steps} steps can be "
            "decoded; pass allow_partial=True (--allow-partial) to decode those",
            info.steps,
        )


def require_model(header: Header, model: KnownModel) -> None:
    """Raise FormatError, naming both models, when a stream was made with another."""
    if not model.fingerprint.startswith(header.fingerprint):
        raise FormatError(
            f"the stream was made with the model whose fingerprint starts {header.fingerprint}, but the model given is "
            f"{model.name} ({model.fingerprint[:8]}); pass the sender's model file (--model FILE), or use the "
            "ddpmcodec "
            "version that embeds it"
        )


def read_all(reader: StreamReader, payload: bytes) -> tuple[Packet, ...]:
    """Return the intact steps of a payload."""
    reader.feed(payload)
    packets = []
    while (packet := reader.read()) is not None:
        packets.append(packet)
    return tuple(packets)


def padded(header: Header, payload: bytes) -> bytes:
    """Return the payload as a file has it: zeros follow where it is shorter than the picture's size must have."""
    return payload.ljust(header.least_payload, b"\x00")
