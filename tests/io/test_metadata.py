"""EXIF and XMP: found in files of every kind, and put into others."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from ddpmcodec.io.colorimetry import adobe_rgb, profile_for
from ddpmcodec.io.colour import conversion_of
from ddpmcodec.io.metadata import Metadata, exif_of, xmp_of
from ddpmcodec.io.reading import read_image
from ddpmcodec.io.writing import image_bytes
from tests.io.test_exif import exif
from tests.io.test_reading import RGB, chunk, png_with, saved

PACKET = b"<x:xmpmeta/>"
KEYWORD = b"XML:com.adobe.xmp\0"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (KEYWORD + b"\0\0de\0Titel\0" + PACKET, PACKET),
        (KEYWORD + b"\1\0\0\0" + zlib.compress(PACKET), PACKET),
        (KEYWORD + b"\1\0\0\0" + b"not compressed", None),
        (b"Comment\0\0\0\0\0" + PACKET, None),
    ],
    ids=["plain", "compressed", "damaged", "another text"],
)
def test_a_png_s_xmp_is_found(content: bytes, expected: bytes | None):
    data = png_with(chunk(b"iTXt", content))
    with Image.open(io.BytesIO(data)) as opened:
        assert xmp_of(opened, data) == expected


def test_a_tiff_keeps_the_interoperability_index_of_a_block():
    """In a file its place is another one, so it is written anew and not copied."""
    data = image_bytes(RGB, Path("a.tif"), Metadata(exif=exif()))
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.getexif().get_ifd(0xA005)[1] == "R03"
        assert opened.getexif()[0x010F] == "Maker"
        block = exif_of(opened)
    assert block is not None
    again = Image.Exif()
    again.load(block)
    assert again.get_ifd(0xA005)[1] == "R03"


def test_a_tiff_whose_exif_data_can_t_be_read_has_none():
    def fail() -> Any:
        raise SyntaxError("not a TIFF file")

    assert exif_of(SimpleNamespace(format="TIFF", getexif=fail)) is None  # type: ignore[arg-type]
    plain = saved(Image.fromarray(RGB), "TIFF")
    with Image.open(io.BytesIO(plain)) as opened:
        assert isinstance(opened, TiffImagePlugin.TiffImageFile)
        assert exif_of(opened) is None


def test_cameras_adobe_rgb_is_adobe_rgb():
    """EXIF data that say so count as the profile does, where there is none."""
    smooth = np.stack([*np.meshgrid(np.arange(40, 200, 5), np.arange(40, 200, 5)), np.full((32, 32), 90)], -1)
    picture = Image.fromarray(smooth.astype(np.uint8))
    by_exif = saved(picture, exif=b"Exif\0\0" + exif(orientation=1))
    by_profile = saved(picture, icc_profile=profile_for(adobe_rgb()))
    found, expected = (read_image(data).astype(int) for data in (by_exif, by_profile))
    assert np.abs(found - smooth).max() > 10
    assert np.abs(found - expected).max() <= 1
    with Image.open(io.BytesIO(by_exif)) as opened:
        opened.load()
        conversion = conversion_of(opened)
    assert conversion is not None
    assert conversion.name == "Adobe RGB by its EXIF data"


def test_a_profile_of_no_screen_s_colours_says_nothing_of_the_picture():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(RGB), icc_profile=lab)), RGB)
