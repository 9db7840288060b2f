"""EXIF blocks: what is set is set in place, and what is damaged stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.io.exif import as_srgb, as_upright, block_of, is_adobe_rgb, is_uncalibrated

_ORIENTATION, _EXIF, _INTEROP, _COLOUR_SPACE = 0x0112, 0x8769, 0xA005, 0xA001


def exif(orientation: int = 6, space: int | None = 0xFFFF, index: str | None = "R03", endian: str = "<") -> bytes:
    """A block with a maker's name, and what is given."""
    made = Image.Exif()
    made.endian = endian
    made[0x010F] = "Maker"
    made[_ORIENTATION] = orientation
    inner = {} if space is None else {_COLOUR_SPACE: space}
    if index is not None:
        inner[_INTEROP] = {1: index}
    made[_EXIF] = inner
    block = block_of(made.tobytes())
    assert block is not None
    return block


def read(block: bytes) -> Image.Exif:
    found = Image.Exif()
    found.load(block)
    return found


@pytest.mark.parametrize("endian", ["<", ">"])
def test_a_turned_picture_is_upright_and_nothing_else_changes(endian: str):
    before = exif(endian=endian)
    after = as_upright(before)
    assert read(after)[_ORIENTATION] == 1
    assert read(after)[0x010F] == "Maker"
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(after, before, strict=True)) == 1
    assert as_upright(after) == after


@pytest.mark.parametrize("endian", ["<", ">"])
def test_colours_that_were_converted_are_declared_so(endian: str):
    block = exif(endian=endian)
    assert is_adobe_rgb(block)
    after = as_srgb(block)
    assert not is_adobe_rgb(after)
    assert not is_uncalibrated(after)
    assert read(after).get_ifd(_EXIF)[_COLOUR_SPACE] == 1
    assert read(after)[_ORIENTATION] == 6


def test_adobe_rgb_is_what_cameras_mean_by_it():
    assert is_adobe_rgb(exif(space=2, index=None))
    assert not is_adobe_rgb(exif(space=1))
    assert not is_adobe_rgb(exif(index="R98"))
    assert not is_adobe_rgb(exif(index=None))
    assert is_uncalibrated(exif(index=None))
    assert not is_uncalibrated(exif(space=None))


def test_damaged_blocks_are_left_alone():
    block, random = exif(), np.random.default_rng(0)
    for size in range(len(block)):
        for function in (as_upright, as_srgb, is_adobe_rgb, is_uncalibrated):
            function(block[:size])
    for _ in range(300):
        broken = bytearray(block)
        broken[random.integers(4, len(block))] = random.integers(256)
        assert len(as_srgb(as_upright(bytes(broken)))) == len(block)
    assert block_of(b"") is None
    assert block_of(b"Exif\0\0" + block) == block
