from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ddpmcodec.bitstream.file import (
    KnownModel,
    StreamInfo,
    finish,
    read_info,
    reader_of,
    require_complete,
    require_model,
)
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.names import channel_of
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import make_plan
from ddpmcodec.errors import FormatError, TruncatedStreamError

HEADER = Header("01234567", 20, 10, plan_steps=6, channel=(0, 8))


def known(curve: ErrorCurve, fingerprint: str = "01234567" * 8, name: str = "mine") -> KnownModel:
    return SimpleNamespace(name=name, fingerprint=fingerprint, curve=curve, window=32, channels=3, factor=1)  # type: ignore[return-value]


def writer_of(header: Header, curve: ErrorCurve, steps: int, bits: int = 8, end: bool = True) -> StreamWriter:
    """A stream of `steps` packets of 0 to 8 bits each."""
    dims = 3 * max(header.width, 32) * max(header.height, 32)
    writer = StreamWriter(make_plan(curve, header.plan_steps or 6), channel_of(header.channel, dims), dims)
    for n in range(steps):
        writer.write(Packet(bits, bits, np.array([n + 100] if bits else [], np.int32)))
    if end:
        writer.end()
    return writer


def info_of(data: bytes, curve: ErrorCurve) -> StreamInfo:
    return read_info(data, known(curve))


@pytest.mark.parametrize("steps", [0, 1, 5, 6])
def test_a_finished_file_is_complete_and_fully_accounted_for(curve: ErrorCurve, steps: int):
    data = finish(HEADER, writer_of(HEADER, curve, steps))
    info = info_of(data, curve)
    assert info.complete
    assert (info.header, info.steps, len(info.step_bits)) == (HEADER, steps, steps)
    assert info.header_bytes + info.payload_bytes + info.check_bytes == len(data)
    require_complete(info)
    again, other = (
        info_of(data, curve),
        info_of(finish(replace(HEADER, seed=1), writer_of(HEADER, curve, steps)), curve),
    )
    assert info == again != other
    assert hash(info) == hash(again)


def test_a_file_without_an_end_is_not_complete(curve: ErrorCurve):
    # Whatever the check says: all of a plan's steps must be there, or END.
    info = info_of(finish(HEADER, writer_of(HEADER, curve, 3, end=False)), curve)
    assert not info.complete
    assert 3 <= info.steps < 6  # the check may read as one more: without an end, nothing says that it isn't
    with pytest.raises(TruncatedStreamError, match=f"{info.steps} of 6 steps") as caught:
        require_complete(info)
    assert caught.value.intact_steps == info.steps


@pytest.mark.parametrize("tail", [b"\x00", b"\xff", b"\x00" * 5])
def test_only_the_canonical_bytes_are_complete(curve: ErrorCurve, tail: bytes):
    whole = finish(HEADER, writer_of(HEADER, curve, 6))
    body = whole[: -HEADER.check_bytes] + tail
    info = info_of(body + HEADER.check(body), curve)
    assert not info.complete
    assert info.steps == 6


def test_a_large_picture_s_payload_is_as_long_as_its_size_demands(curve: ErrorCurve):
    header = replace(HEADER, width=2048, height=1024)
    writer = writer_of(header, curve, 2, bits=0)
    data = finish(header, writer)
    info = info_of(data, curve)
    assert len(writer.sealed()) < info.payload_bytes == header.least_payload
    assert info.complete
    assert info.steps == 2
    assert not info_of(data[:-6] + b"\x01" + data[-5:], curve).complete


@pytest.mark.parametrize("plan_steps", [0, 1000])
def test_a_plan_the_model_does_not_have_is_refused(curve: ErrorCurve, plan_steps: int):
    with pytest.raises(FormatError, match=f"{plan_steps} steps"):
        reader_of(replace(HEADER, plan_steps=plan_steps), known(curve))


def test_the_model_is_told_by_its_fingerprint(curve: ErrorCurve):
    require_model(HEADER, known(curve))
    with pytest.raises(FormatError, match=r"01234567.*yours \(76543210\)"):
        require_model(HEADER, known(curve, "76543210" * 8, "yours"))


def test_what_a_file_holds_can_be_compared(curve: ErrorCurve):
    files = [finish(HEADER, writer_of(HEADER, curve, steps)) for steps in (3, 3, 4)]
    one, same, other = (info_of(data, curve) for data in files)
    assert one == same
    assert hash(one.packets) == hash(same.packets)
    assert one != other
    changed = replace(one.packets[0], code=one.packets[0].code + 1)
    assert changed != one.packets[0] != "a packet"
