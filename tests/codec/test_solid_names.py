"""Names in solid archives, and the page of their pictures."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.bitstream.archive import read_archive
from ddpmcodec.bitstream.file_names import names_to_bytes, read_names
from ddpmcodec.codec.archive_decoding import decode_archive
from ddpmcodec.codec.archive_encoding import encode_archive
from ddpmcodec.models import CodecModel
from ddpmcodec.page.shown import shown_member
from tests.cli.test_cli import run
from tests.conftest import coloured_pictures

Picture = NDArray[np.uint8]
FAST = {"plan_steps": 6, "channel": "trellis:8"}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return list(coloured_pictures(5))


def test_names_are_kept_in_one_field(pictures: list[Picture], coloured_model: CodecModel):
    names = ["a.png", "", "ä/b.jpg", "a.png", "\udcff" + "x" * 300]
    named = encode_archive(pictures, model=coloured_model, solid=2, names=names, **FAST)
    archive = read_archive(named)
    assert archive.names == ("a.png", "", "ä/b.jpg", "a.png", "?" + "x" * 300)
    assert archive.header.fields == ()
    found = list(decode_archive(named, model=coloured_model, steps=1))
    assert tuple(item.name for item in found) == archive.names
    assert read_archive(named[: archive.starts[1]], allow_partial=True).names == archive.names


@given(st.binary(max_size=60), st.integers(0, 5))
def test_strange_names_are_none(field: bytes, count: int):
    for data in (field, zlib.compress(field)):
        assert len(read_names(data, count)) in (0, count)
    assert read_names(names_to_bytes(["a"] * count), count) == ("a",) * count
    assert read_names(names_to_bytes(["a"] * count), count + 1) == ()


def test_a_bomb_has_no_names():
    assert read_names(zlib.compress(bytes(1 << 25)), 1 << 25) == ()


def test_the_command_keeps_and_shows_them(pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        Image.fromarray(pictures[i][:16, :16]).save(f"{i}.png")
    encode = ("encode", "0.png", "1.png", "2.png", "--plan-steps", 2, "--channel", "trellis:8", "--solid", 2, "-q")
    assert run(*encode, "--names", "-o", "named.ddpc").exit_code == 0
    assert run("decode", "named.ddpc", "-o", "named", "-q").exit_code == 0
    assert sorted(path.name for path in Path("named").iterdir()) == ["0.png", "1.png", "2.png"]
    originals = [word for i in range(3) for word in ("--original", f"{i}.png")]
    page = run("view", "named.ddpc", "-o", "page.html", *originals)
    assert page.exit_code == 0, page.output
    assert "named.ddpc #2: 2.png" in Path("page.html").read_text()


@pytest.mark.parametrize("lossless", [False, True])
def test_what_a_page_shows_of_a_block_s_pictures(coloured_model: CodecModel, pictures: list[Picture], lossless: bool):
    data = encode_archive(pictures[:3], model=coloured_model, solid=2, lossless=lossless, **FAST)
    archive = read_archive(data)
    shown = [shown_member(archive, i, original=pictures[i], model=coloured_model) for i in range(3)]
    for i, stream in enumerate(shown):
        assert [step.n for step in stream.steps] == list(range(1, 7 + lossless))
        assert [step.size for step in stream.steps] == sorted(step.size for step in stream.steps)
        (picture,) = decode_archive(data, i, model=coloured_model)
        np.testing.assert_array_equal(stream.steps[-1].image, picture.image)
        assert stream.steps[-1].exact == lossless
    assert 0 <= sum(stream.steps[-1].size for stream in shown) - len(data) <= 3  # shares add up to the whole
    assert [stream.shared for stream in shown] == [2, 2, 1]
    assert len(shown_member(archive, 1, every=4, model=coloured_model).steps) == 3
