"""Declarations of colours mean the same as bytes, as PNG's chunks and as an ICC profile."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from ddpmcodec.io.colorimetry import (
    adobe_rgb,
    colorimetry_of,
    of_code_points,
    of_gamma,
    png_chunks_for,
    profile_for,
)
from ddpmcodec.io.reading import read_image
from tests.io.test_reading import SMOOTH, chunk, png_with, saved

P3_AT_DCI_WHITE = (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
DECLARATIONS = {
    "linear": of_gamma(1.0, None),
    "P3": of_code_points(12, 13),
    "Rec. 2020": of_code_points(9, 14),
    "NTSC": of_code_points(6, 4),
    "Adobe RGB": adobe_rgb(),
    "another white": of_gamma(1 / 2.6, P3_AT_DCI_WHITE),
    "primaries": of_gamma(None, P3_AT_DCI_WHITE),
}


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_png_s_chunks_and_a_profile_say_what_is_declared(name: str):
    declaration = DECLARATIONS[name]
    chunks = [chunk(*item) for item in png_chunks_for(declaration).items()]
    profile = profile_for(declaration)
    assert profile is not None
    by_chunks, by_profile = (
        read_image(png_with(*chunks, rgb=SMOOTH)),
        read_image(saved(Image.fromarray(SMOOTH), icc_profile=profile)),
    )
    assert np.abs(by_chunks.astype(int) - SMOOTH).max() > 3
    assert np.abs(by_chunks.astype(int) - by_profile).max() <= 2  # littleCMS has fewer bits in the dark


def test_a_profile_is_a_whole_one():
    profile = profile_for(adobe_rgb())
    assert profile is not None
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    assert len(profile) == struct.unpack_from(">I", profile)[0] < 700
    assert (opened.version, opened.device_class, opened.xcolor_space.strip()) == (4.2, "mntr", "RGB")
    assert opened.profile_description == "Colours as the picture declared them"
    white = [0.9642, 1.0, 0.8249]
    np.testing.assert_allclose(
        np.sum([opened.red_colorant[0], opened.green_colorant[0], opened.blue_colorant[0]], 0), white, atol=1e-4
    )


@pytest.mark.parametrize(
    "data", [b"", b"\x0c", b"\x0c\xff", bytes(2), bytes(4), bytes(32), bytes(36), b"\xff" * 36, bytes(7)]
)
def test_what_means_nothing_says_nothing(data: bytes):
    assert colorimetry_of(data) is None
    assert png_chunks_for(data) == {}
    assert profile_for(data) is None
