"""Blocks of solid archives: bytes, no networks."""

from __future__ import annotations

import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ddpmcodec.bitstream.archive import pack_blocks, read_archive
from ddpmcodec.bitstream.bit_counts import fineness, grid
from ddpmcodec.bitstream.fields import OWN_FIELDS, SOLID, Field, in_order
from ddpmcodec.bitstream.file import writer_of
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.leb128 import leb128
from ddpmcodec.bitstream.packet import Packet, Share
from ddpmcodec.bitstream.shares import GAINS, MOST_GAIN, ShareModel, gain_bits
from ddpmcodec.bitstream.solid import block_payload, least_payload, read_block
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import DdpmCodecError, FormatError, TruncatedArchiveError
from tests.conftest import spectral_curve

HEADER = Header("01234567", 32, 32, channel=(0, 8), plan_steps=6)


def known(curve: ErrorCurve) -> Any:
    return SimpleNamespace(name="any", fingerprint="01234567" * 8, curve=curve, window=32, channels=3, factor=1)


def payload_of(header: Header, count: int, curve: ErrorCurve, steps: int = 6, tails: tuple[bytes, ...] = ()) -> bytes:
    writer, rng = writer_of(header, known(curve), count), np.random.default_rng(count)
    for n in range(steps):
        bits = writer.counts.values[40 + n]
        shares = tuple(Share(True, (i + n) % 5 - 2) for i in range(count)) if count > 1 else ()
        code = [rng.integers(0, a.size, a.count) for a in writer.channel.symbol_models(bits, writer.dims)]
        writer.write(Packet(40 + n, bits, np.concatenate(code).astype(np.int32), coloured=count == 1, shares=shares))
    writer.end()
    return block_payload(header, writer, tails)


def archive_of(count: int, solid: int, header: Header = HEADER) -> bytes:
    curve = spectral_curve()
    blocks = [payload_of(header, min(solid, count - first), curve) for first in range(0, count, solid)]
    return pack_blocks(header, [False] * count, blocks, solid)


def changed(data: bytes, **changes: Any) -> bytes:
    """The archive with another header, and a check that matches."""
    header = replace(read_archive(data).header, archive=True, **changes)
    body = header.to_bytes() + data[read_archive(data).header_bytes : -4]
    return body + zlib.crc32(body).to_bytes(4, "big")


def solid_field(value: bytes) -> tuple[Field, ...]:
    return in_order([(SOLID, value)])


@pytest.mark.parametrize(("count", "solid", "sizes"), [(7, 3, [3, 3, 1]), (4, 2, [2, 2]), (5, 5, [5])])
def test_an_archive_s_blocks_are_found(count: int, solid: int, sizes: list[int]):
    archive = read_archive(archive_of(count, solid))
    assert (archive.count, archive.solid, archive.blocks, archive.intact) == (count, solid, len(sizes), count)
    assert [len(archive.members(number)) for number in range(archive.blocks)] == sizes
    assert len(archive.sizes) == len(sizes)
    assert archive.header == HEADER
    for number, size in enumerate(sizes):
        members = archive.members(number)
        payloads = {archive.payload(i) for i in members}
        block = read_block(archive.header, *payloads, size, known(spectral_curve()))
        assert block.complete
        assert block.steps == 6
        assert [packet.shares[-1].gain for packet in block.packets if size > 1] == [
            (size - 1 + n) % 5 - 2 for n in range(6) if size > 1
        ]


def test_no_picture_of_a_block_is_a_file_of_its_own():
    with pytest.raises(DdpmCodecError, match="picture 1 shares a stream"):
        read_archive(archive_of(3, 3)).stream(1)


def test_a_block_of_one_picture_is_an_ordinary_payload(curve: ErrorCurve):
    writer, block = (writer_of(HEADER, known(curve), count) for count in (1, 1))
    for stream in (writer, block):
        stream.write(Packet(9, 9, np.array([300], np.int32)))
        stream.end()
    assert block_payload(HEADER, block) == writer.sealed()
    lossless = replace(HEADER, lossless=True)
    assert block_payload(lossless, block, [b"a tail"]) == writer.sealed() + b"a tail"


def test_a_cut_archive_keeps_the_blocks_that_are_there():
    data = archive_of(7, 3)
    starts = read_archive(data).starts
    for cut, intact, begun in ((starts[2] - 5, 3, 6), (starts[2] + 2, 6, 7), (starts[1], 3, 3), (starts[3] - 1, 6, 7)):
        with pytest.raises(TruncatedArchiveError) as caught:
            read_archive(data[:cut])
        assert caught.value.intact_pictures == intact
        archive = read_archive(data[:cut], allow_partial=True)
        assert (archive.intact, archive.begun) == (intact, begun)


def test_every_flipped_bit_is_found_out():
    data = archive_of(5, 2)
    for bit in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DdpmCodecError):
            read_archive(bytes(flipped))


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x01", b"\x06", b"\x82\x00", b"\x02\x00", leb128(1 << 40)])
def test_a_field_that_says_it_wrongly_is_refused(value: bytes):
    data = archive_of(5, 2)
    assert read_archive(changed(data, fields=solid_field(b"\x02"))).solid == 2
    with pytest.raises(FormatError):
        read_archive(changed(data, fields=solid_field(value)))


def test_what_can_t_be_beside_it_is_refused():
    data = archive_of(4, 2)
    for changes in ({"short": True}, {"fields": in_order([(SOLID, b"\x02"), (OWN_FIELDS, b"")])}):
        with pytest.raises(FormatError, match="share streams"):
            read_archive(changed(data, **{"fields": solid_field(b"\x02")} | changes))
    with pytest.raises(FormatError, match="64 megapixels together"):
        read_archive(changed(data, width=8192, height=8191, fields=solid_field(b"\x02")))


def test_blocks_have_as_many_bytes_as_their_pictures_demand(curve: ErrorCurve):
    header = replace(HEADER, width=512, height=512, lossless=False)
    assert least_payload(header, 5) == 20
    writer = writer_of(header, known(curve), 5)
    writer.end()
    payload = block_payload(header, writer)
    assert len(payload) == 20
    assert read_block(header, payload, 5, known(curve)).complete
    assert not read_block(header, payload[:-1] + b"\x01", 5, known(curve)).complete
    with pytest.raises(FormatError, match="expected at least 20"):
        read_block(header, payload[:-1], 5, known(curve))


def test_tails_follow_the_chain(curve: ErrorCurve):
    header, tails = replace(HEADER, lossless=True), (b"a tail", b"another one", bytes(300))
    payload = payload_of(header, 3, spectral_curve(), 3, tails)
    model = known(spectral_curve())
    assert read_block(header, payload, 3, model).tails == tails
    assert payload.endswith(bytes([6, 11]) + b"".join(tails))  # the last one's size is what is left
    for other in (payload[:-296], payload[: -sum(map(len, tails))]):
        found = read_block(header, other, 3, model)
        assert (found.complete, found.tails, found.steps) == (False, (), 3)
    long = payload.replace(bytes([6, 11]) + b"a tail", bytes([134, 0, 11]) + b"a tail")
    assert not read_block(header, long, 3, model).complete


def test_gains_are_cheap_where_they_stay():
    model = ShareModel(True, True)
    first = gain_bits(model)
    assert len(first) == GAINS
    assert int(np.argmin(first)) == MOST_GAIN
    for _ in range(8):
        model.update(Share(True, 3))
    later = gain_bits(model)
    assert later[3 + MOST_GAIN] < 0.1 < first[MOST_GAIN]
    assert all(value < 17 for value in later)


def test_grids_of_more_dimensions_are_finer():
    assert [fineness(dims) for dims in (1, 3072, 4 * 3072 - 1, 4 * 3072, 1 << 30)] == [1, 1, 1, 2, 16]
    assert len(grid(3072, 4)) > 3 * len(grid(3072))
