"""Fields through the codec: encoded, streamed, batched, truncated, archived and shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.bitstream.fields import FILE_NAME, FRAME, in_order
from ddpmcodec.bitstream.header import MAGIC
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.models import CodecModel
from tests.cli.test_cli import run

FIELDS = {FILE_NAME: b"astronaut.png", 99: bytes(3000)}
OPTIONS = {"plan_steps": 4, "channel": "trellis:8"}


@pytest.fixture(scope="module")
def plain(tiny_model: CodecModel, picture: NDArray[np.uint8]) -> bytes:
    return ddpmcodec.encode(picture, model=tiny_model, **OPTIONS)


@pytest.fixture(scope="module")
def stream(tiny_model: CodecModel, picture: NDArray[np.uint8]) -> bytes:
    return ddpmcodec.encode(picture, model=tiny_model, fields=FIELDS, **OPTIONS)


def test_fields_change_nothing_but_the_header(stream: bytes, plain: bytes, tiny_model: CodecModel):
    header, found = ddpmcodec.read_header(stream), ddpmcodec.read_info(stream, tiny_model)
    assert header.fields == in_order(FIELDS.items())
    assert found.complete
    assert stream[found.header_bytes : -2] == plain[ddpmcodec.read_info(plain, tiny_model).header_bytes : -2]
    assert np.array_equal(ddpmcodec.decode(stream, model=tiny_model), ddpmcodec.decode(plain, model=tiny_model))
    assert ddpmcodec.verify(stream, tiny_model).steps == (4,)


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_a_stream_with_fields_decodes_in_pieces_of_any_size(size: int, stream: bytes, tiny_model: CodecModel):
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    items = list(ddpmcodec.decode_stream(pieces, model=tiny_model))
    expected = list(ddpmcodec.decode_progressive(stream, model=tiny_model))
    assert len(items) == len(expected) == 4
    for item, other in zip(items, expected, strict=True):
        assert np.array_equal(item.image, other.image)


def test_a_stream_yields_its_first_step_before_the_next_piece_is_asked_for(plain: bytes, tiny_model: CodecModel):
    taken = []

    def pieces():
        for i in range(len(plain)):
            taken.append(i)
            yield plain[i : i + 1]

    next(ddpmcodec.decode_stream(pieces(), model=tiny_model))
    assert len(taken) < len(plain)


def test_a_receiver_takes_a_header_with_fields_and_what_follows(stream: bytes, tiny_model: CodecModel):
    receiver = ddpmcodec.Receiver(stream[:4000], model=tiny_model)
    for _ in receiver.receive(stream[4000:]):
        pass
    assert np.array_equal(receiver.state().picture(), ddpmcodec.decode(stream, model=tiny_model))


def test_a_stream_whose_fields_lie_is_refused_before_more_is_read(tiny_model: CodecModel):
    def pieces():
        yield MAGIC + b"\x02\x80" + bytes(4) + b"\x06\x04" + b"\xff\xff\xff\xff\x0f"
        pytest.fail("read on")

    with pytest.raises(FormatError, match="bytes of fields"):
        list(ddpmcodec.decode_stream(pieces(), model=tiny_model))


def test_pictures_that_differ_in_fields_decode_in_one_batch(stream: bytes, plain: bytes, tiny_model: CodecModel):
    first, second = ddpmcodec.decode_batch([stream, plain], model=tiny_model)
    assert np.array_equal(first, second)


def test_truncation_keeps_fields(stream: bytes, tiny_model: CodecModel, picture: NDArray[np.uint8]):
    short = ddpmcodec.truncate(stream, steps=2, model=tiny_model)
    assert short == ddpmcodec.encode(picture, model=tiny_model, steps=2, fields=FIELDS, **OPTIONS)
    assert len(ddpmcodec.truncate(stream, size=len(stream) - 1, model=tiny_model)) < len(stream)


def test_a_size_counts_fields(tiny_model: CodecModel, picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(picture, model=tiny_model, target_bytes=200, fields={FILE_NAME: bytes(100)}, **OPTIONS)
    assert 194 <= len(data) <= 200
    with pytest.raises(DdpmCodecError, match="too small"):
        ddpmcodec.encode(picture, model=tiny_model, target_bytes=100, fields={FILE_NAME: bytes(100)}, **OPTIONS)


def test_a_marked_field_is_refused_by_every_reader(tiny_model: CodecModel, picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(picture, model=tiny_model, fields={200: b"\x07"}, **OPTIONS)
    readers = (
        ddpmcodec.read_header,
        lambda d: ddpmcodec.decode(d, model=tiny_model),
        lambda d: list(ddpmcodec.decode_stream([d], model=tiny_model)),
        lambda d: ddpmcodec.truncate(d, steps=1, model=tiny_model),
        lambda d: ddpmcodec.verify(d, tiny_model),
        lambda d: ddpmcodec.pack_archive([d]),
    )
    for reader in readers:
        with pytest.raises(FormatError, match=r"field 200.*update ddpmcodec"):
            reader(data)


def test_an_archive_keeps_what_its_pictures_share_and_what_they_don_t(
    tiny_model: CodecModel, picture: NDArray[np.uint8]
):
    pictures = [picture[:, i:] for i in range(2)]
    pictures[0] = pictures[0][:, :-1]
    files = [
        ddpmcodec.encode(p, model=tiny_model, fields={FILE_NAME: b"same", FRAME: bytes([i])}, **OPTIONS)
        for i, p in enumerate(pictures)
    ]
    data = ddpmcodec.pack_archive(files)
    archive = ddpmcodec.read_archive(data)
    assert archive.header.fields == ((FILE_NAME, b"same"),)
    assert [archive.stream(i) for i in range(2)] == files
    assert ddpmcodec.verify(data, tiny_model).pictures == 2
    expected = ddpmcodec.decode_batch(files, model=tiny_model)
    for item, picture_ in zip(ddpmcodec.decode_archive(data, model=tiny_model), expected, strict=True):
        assert np.array_equal(item.image, picture_)
    shared = ddpmcodec.encode_archive(pictures, model=tiny_model, fields={FILE_NAME: b"same"}, **OPTIONS)
    assert ddpmcodec.read_archive(shared).header.fields == ((FILE_NAME, b"same"),)


def test_a_damaged_picture_of_an_archive_costs_no_other(tiny_model: CodecModel, picture: NDArray[np.uint8]):
    files = [ddpmcodec.encode(picture, model=tiny_model, fields={FRAME: bytes([i])}, **OPTIONS) for i in range(3)]
    data = bytearray(ddpmcodec.pack_archive(files))
    data[ddpmcodec.read_archive(bytes(data)).starts[1]] = 0xFF  # the size of the second one's fields
    data[ddpmcodec.read_archive(bytes(data), allow_partial=True).starts[1] + 1] = 0xFF
    found = list(ddpmcodec.decode_archive(bytes(data), model=tiny_model, allow_partial=True))
    assert [item.index for item in found] == [0, 2]


def test_info_lists_fields(tmp_path: Path, picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(picture[:8, :8], steps=1, fields=FIELDS)
    (tmp_path / "a.bin").write_bytes(data)
    values = json.loads(run("info", tmp_path / "a.bin", "--json").stdout)
    assert [(f["name"], f["identifier"], f["bytes"]) for f in values["fields"]] == [
        ("file name", 4, 13),
        ("field 99", 99, 3000),
    ]
    shown = " ".join(run("info", tmp_path / "a.bin").stdout.split())
    assert "file name (13 bytes), field 99 (3000 bytes)" in shown
    decoded = run("decode", tmp_path / "a.bin", "-o", tmp_path / "a.png", "--watch")
    assert decoded.exit_code == 0, decoded.output
    assert Image.open(tmp_path / "a.png").size == (8, 8)
