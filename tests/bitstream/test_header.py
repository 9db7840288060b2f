from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.bitstream.header import MAGIC, Header, parse_header
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.io.limits import MAX_PIXELS
from ddpmcodec.models import CodecModel

FINGERPRINT = "0123abcd"
START = MAGIC + b"\x02\x00" + bytes.fromhex(FINGERPRINT)  # version 2, no flags
SIDES = st.integers(1, 8192) | st.sampled_from([1, 128, 129, 16384, 1 << 20])


@given(
    st.binary(min_size=4, max_size=4).map(bytes.hex),
    SIDES,
    SIDES,
    st.none() | st.integers(0, 1000),
    st.none() | st.tuples(st.integers(0, 255), st.integers(0, 255)),
    st.integers(0, (1 << 64) - 1) | st.just(0),
    st.binary(max_size=20),
)
def test_a_header_comes_back(fingerprint, width, height, plan_steps, channel, seed, more):
    assume(width * height <= MAX_PIXELS)
    header = Header(fingerprint, width, height, plan_steps, channel, seed)
    data = header.to_bytes()
    assert parse_header(data + more.ljust(header.least_payload, b"\x00")) == (header, len(data))


def test_a_small_picture_s_header_and_check_are_small():
    header = Header(FINGERPRINT, 32, 32)
    assert len(header.to_bytes()) + header.check_bytes <= 12


@given(st.binary(max_size=40))
def test_any_bytes_are_a_header_or_refused(data: bytes):
    for start in (b"", START[:3], START):
        try:
            header, length = parse_header(start + data)
        except DdpmCodecError:
            continue
        assert header.to_bytes() == (start + data)[:length]


def test_a_header_cut_anywhere_is_refused():
    data = Header(FINGERPRINT, 300, 5, 20, (0, 12), 1 << 63).to_bytes()
    for cut in range(len(data)):
        with pytest.raises(FormatError, match=r"empty|ends inside"):
            parse_header(data[:cut])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a ddpmcodec stream"),
        (b"Hello, this is a text file.\n", "not a ddpmcodec stream"),
        (MAGIC[:1] + b"\x00" + START[2:] + bytes(20), "not a ddpmcodec stream"),
        (MAGIC + b"\x03" + START[3:] + bytes(20), "update ddpmcodec"),
        (MAGIC + b"\x01" + START[3:] + bytes(20), "version 1 was never released"),
        (MAGIC + b"\x00" + START[3:] + bytes(20), "damaged"),
        (START + b"\x1f\x1f"[:1], "ends inside"),
        (START + b"\x9f\x00\x1f" + bytes(20), "shortest form"),  # 31 in two bytes
        (START + b"\x1f\x9f\x80\x00" + bytes(20), "shortest form"),
        (START + b"\xff" * 12 + bytes(20), "too long"),
        (MAGIC + b"\x02\x04" + START[4:] + b"\x1f\x1f\x00" + bytes(20), "shortest form"),  # seed 0 is the default
        (MAGIC + b"\x02\x04" + START[4:] + b"\x1f\x1f" + b"\xff" * 9 + b"\x02" + bytes(20), "64 bits"),
        (START + b"\x8f\x4e" * 2 + bytes(20), "64 megapixels"),  # 10,000 x 10,000
        (START + b"\xff\x3b" * 2 + bytes(20), "pixels a byte"),  # 7680 x 7680 over 20 bytes
    ],
)
def test_what_is_no_stream_is_refused(data: bytes, message: str, tiny_model: CodecModel):
    for reader in (parse_header, ddpmcodec.read_header, lambda d: ddpmcodec.decode(d, model=tiny_model)):
        with pytest.raises(FormatError, match=message):
            reader(data)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-1, -1), (8193, 8192), (1 << 40, 1)])
def test_an_impossible_size_is_refused(width: int, height: int):
    with pytest.raises(FormatError, match="picture size"):
        Header(FINGERPRINT, width, height)


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_an_impossible_seed_is_refused(seed: int):
    with pytest.raises(DdpmCodecError, match="expected a number from 0"):
        Header(FINGERPRINT, 1, 1, seed=seed)


def flipped(data: bytes) -> list[bytes]:
    number = int.from_bytes(data, "big")
    return [(number ^ 1 << bit).to_bytes(len(data), "big") for bit in range(8 * len(data))]


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(1, 200), st.binary(max_size=50))
def test_the_check_catches_every_flipped_bit(width: int, height: int, data: bytes):
    header = Header(FINGERPRINT, width, height)
    assert all(header.check(other) != header.check(data) for other in flipped(data))


@pytest.mark.parametrize(("size", "channel"), [((6, 7), "trellis:8"), ((8, 600), "trellis:8"), ((1, 1), "orc:8")])
def test_a_file_with_any_bit_flipped_is_refused(tiny_model: CodecModel, picture: NDArray[np.uint8], size, channel: str):
    image = np.resize(picture, (*size, 3))
    data = ddpmcodec.encode(image, model=tiny_model, plan_steps=12, channel=channel, seed=3, steps=3)
    assert ddpmcodec.decode(data, model=tiny_model).shape == image.shape
    for other in flipped(data):
        with pytest.raises(DdpmCodecError):
            ddpmcodec.decode(other, model=tiny_model)
