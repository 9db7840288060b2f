from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.errors import ImageError
from ddpmcodec.io.images import as_rgb, in_one_colour, squared_error, to_bytes, to_plane
from ddpmcodec.io.reading import read_image
from ddpmcodec.io.writing import image_bytes

RGB = np.random.default_rng(2).integers(0, 256, (9, 14, 3)).astype(np.uint8)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand, for what Pillow doesn't write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_files_come_in_unchanged(kind: str):
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(RGB), kind)), RGB)


def test_grey_files_expand():
    grey = RGB[:, :, 0]
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(grey))), np.stack([grey] * 3, axis=2))


def test_black_and_white_files_expand():
    picture = Image.fromarray(RGB[:, :, 0] > 127)
    np.testing.assert_array_equal(read_image(saved(picture)), np.where(RGB[:, :, :1] > 127, 255, 0).repeat(3, axis=2))


def test_palettes_expand():
    picture = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(read_image(saved(picture)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_refused_unless_a_colour_goes_behind_it(mode: str):
    picture = Image.new("RGBA", (4, 3), (200, 100, 50, 0))
    picture.putpixel((1, 1), (10, 10, 10, 255))
    data = saved(picture.convert(mode), **({"transparency": 0} if mode == "P" else {}))
    with pytest.raises(ImageError, match="--flatten"):
        read_image(data)
    if mode != "P":
        flat = read_image(data, (1, 2, 3))
        np.testing.assert_array_equal(flat[0, 0], [1, 2, 3])
        np.testing.assert_array_equal(flat[1, 1], [10, 10, 10])


def test_a_transparent_colour_counts_as_transparency():
    picture = Image.new("RGB", (4, 3), (9, 9, 9))
    picture.putpixel((0, 0), (7, 8, 9))
    data = saved(picture, transparency=(9, 9, 9))
    with pytest.raises(ImageError, match="--flatten"):
        read_image(data)
    flat = read_image(data, (255, 255, 255))
    np.testing.assert_array_equal(flat[0, 0], [7, 8, 9])
    np.testing.assert_array_equal(flat[2, 3], [255, 255, 255])


CLEAR_OR_GREEN = [(250, 0, 0, 0), (0, 250, 0, 255)]  # red, green, blue, alpha


def test_a_transparent_entry_of_a_palette_counts_as_transparency():
    picture = Image.fromarray(RGB).quantize(2)
    picture.putpalette(bytes(value for entry in CLEAR_OR_GREEN for value in entry), "RGBA")
    with pytest.raises(ImageError, match="transparency"):
        as_rgb(picture)
    # A TGA file of one row: two entries (blue, green, red, alpha), then indices.
    start = bytes([0, 1, 1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 2, 0, 1, 0, 8, 0x28])
    file = start + b"".join(bytes([b, g, r, a]) for r, g, b, a in CLEAR_OR_GREEN) + bytes([0, 1])
    with pytest.raises(ImageError, match="--flatten"):
        read_image(file)
    np.testing.assert_array_equal(read_image(file, (9, 8, 7)), [[[9, 8, 7], [0, 250, 0]]])


def test_an_opaque_picture_has_nothing_to_flatten():
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(RGB)), (1, 2, 3)), RGB)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, RGB), (2, RGB[:, ::-1]), (3, RGB[::-1, ::-1]), (4, RGB[::-1]), (6, np.rot90(RGB, -1)), (8, np.rot90(RGB))],
)
def test_exif_orientation_is_applied(orientation: int, upright: NDArray[np.uint8]):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(RGB), exif=exif)), upright)


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 257)),
        saved(Image.fromarray(RGB[:, :, 0].astype(np.float32)), "TIFF"),
        saved(Image.fromarray(RGB[:, :, 0].astype(np.int32)), "TIFF"),
        png(2, 1, 16, 2, b"\x00" + bytes(range(12))),  # 16-bit RGB
        png(2, 1, 16, 0, b"\x00" + bytes(range(4))),  # 16-bit grey
    ],
    ids=["grey 16", "float", "int 32", "RGB 16", "PNG grey 16"],
)
def test_deep_pictures_are_refused_with_advice(data: bytes):
    with pytest.raises(ImageError, match="expected 8; convert it"):
        read_image(data)


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_other_colour_spaces_are_refused_with_advice(mode: str):
    data = saved(Image.new(mode, (4, 3)), "JPEG" if mode == "CMYK" else "TIFF")
    with pytest.raises(ImageError, match=f"{mode} colours: expected RGB"):
        read_image(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"no picture at all", "not a picture"),
        (bytes(1000), "not a picture"),
        (saved(Image.fromarray(RGB))[:-40], "damaged"),
        (saved(Image.fromarray(RGB), "JPEG")[:300], "damaged|not a picture"),
        (png(9000, 9000, 8, 0, b""), "64 megapixels"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, message: str):
    with pytest.raises(ImageError, match=message):
        read_image(data)


@given(st.binary(max_size=100), st.integers(0, 200))
def test_damaged_files_never_raise_anything_else(junk: bytes, at: int):
    whole = saved(Image.fromarray(RGB))
    try:
        picture = read_image(whole[:at] + junk + whole[at + len(junk) :])
    except ImageError:
        return
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3


def test_bytes_to_planes_and_back_is_the_identity():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(3).reshape(16, 16, 3)
    plane = to_plane(levels)
    assert plane.dtype == np.float32
    assert (plane.min(), plane.max()) == (-1, 1)
    np.testing.assert_array_equal(to_bytes(plane, 16, 16), levels)


def test_planes_are_cropped_and_clipped():
    plane = np.linspace(-2, 2, 3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8)
    image = to_bytes(plane, 5, 3)
    assert image.shape == (5, 3, 3)
    assert (image.min(), image.max()) == (0, 255)
    np.testing.assert_array_equal(image, to_bytes(plane, 8, 8)[:5, :3])


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("photo.png", "PIL.Image.open"),
        (Path("photo.png"), "PIL.Image.open"),
        (b"\x89PNG", "PIL.Image.open"),
        ([[1, 2], [3]], "type list"),
        (torch.zeros(4, 4, 3, requires_grad=True), "type Parameter|type Tensor"),
        (np.ma.masked_greater(RGB, 3), "masks"),
        (None, "uint8"),
        ({}, "uint8"),
    ],
)
def test_what_is_no_picture_in_memory_is_an_image_error(picture: Any, message: str):
    with pytest.raises(ImageError, match=message):
        as_rgb(picture)


def test_as_rgb_takes_what_looks_like_a_picture():
    np.testing.assert_array_equal(as_rgb(Image.fromarray(RGB)), RGB)
    np.testing.assert_array_equal(as_rgb(RGB[:, :, 0]), np.stack([RGB[:, :, 0]] * 3, axis=2))
    assert as_rgb(RGB[::-1, ::2]).flags.c_contiguous


@pytest.mark.parametrize("name", ["out.png", "out.PNG", "out", "out.bmp", "out.tiff", "out.ppm"])
def test_pictures_go_out_in_the_suffix_s_format(name: str):
    np.testing.assert_array_equal(read_image(image_bytes(RGB, Path(name))), RGB)


@pytest.mark.parametrize("name", ["out.bin", "out.txt", "out.h5", "out.xyz"])
def test_other_suffixes_are_refused(name: str):
    with pytest.raises(ImageError, match=r"use \.png"):
        image_bytes(RGB, Path(name))


def test_one_colour_is_the_mean_of_all():
    rgb = np.array([[[[1, 2, 4], [1, 1, 3], [255, 255, 255], [7, 7, 7]]]], np.uint8)
    found = in_one_colour(rgb)
    assert (found.dtype, found.shape) == (np.uint8, (1, 1, 4, 1))
    assert found.ravel().tolist() == [2, 2, 255, 7]


@pytest.mark.parametrize("together", [1, 50, 1 << 20])
def test_squared_errors_are_whole_numbers_however_many_rows_are_taken_at_a_time(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddpmcodec.io.images._VALUES_AT_A_TIME", together)
    other = np.random.default_rng(3).integers(0, 256, RGB.shape).astype(np.uint8)
    expected = ((RGB.astype(float) - other) ** 2).sum()
    assert squared_error(RGB, other) == squared_error(other, RGB) == expected
    assert squared_error(RGB, RGB) == 0
