"""What containers declare, read of files that are made here byte by byte."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.errors import ImageError
from ddpmcodec.io.declared import declared
from ddpmcodec.io.reading import read_image
from ddpmcodec.io.shown import as_shown, check_declared
from tests.io.test_reading import RGB, chunk, png_with


def box(name: bytes, content: bytes, large: bool = False) -> bytes:
    """A box of ISO's media files: its size in four bytes, or in eight behind its name."""
    if large:
        return struct.pack(">I4sQ", 1, name, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), name) + content


def hevc(luma: int, chroma: int) -> bytes:
    """The configuration of an item coded by HEVC: of it, only depths count here."""
    return box(b"hvcC", bytes(17) + bytes([0xF8 | luma - 8, 0xF8 | chroma - 8]) + bytes(4))


FILE_TYPE = box(b"ftyp", b"heic" + bytes(4))


@pytest.mark.parametrize(("luma", "chroma"), [(8, 8), (10, 8), (8, 12), (10, 10)])
@pytest.mark.parametrize("large", [False, True])
def test_the_deepest_of_an_hevc_picture_s_samples_counts(luma: int, chroma: int, large: bool):
    inside = box(b"iprp", hevc(8, 8) + hevc(luma, chroma))
    assert declared(FILE_TYPE + box(b"meta", inside, large)).bits == max(luma, chroma)
    assert declared(FILE_TYPE + box(b"free", inside) + box(b"meta", b"")).bits == 8, (
        "what is in other boxes isn't shown"
    )


def test_a_box_without_a_size_goes_on_to_the_end():
    content = box(b"meta", hevc(10, 8))
    assert declared(FILE_TYPE + bytes(4) + content[4:]).bits == 10


@pytest.mark.parametrize("size", [2, 7])
def test_a_box_smaller_than_its_head_ends_the_search(size: int):
    wrong = struct.pack(">I4s", size, b"free")
    assert declared(FILE_TYPE + wrong + box(b"meta", hevc(10, 8))).bits == 8


@pytest.mark.parametrize("depth", [8, 12])
def test_a_jpeg_2000_s_palette_may_be_deeper_than_its_samples(depth: int):
    signature = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
    palette = box(b"pclr", struct.pack(">HB", 1, 3) + bytes([7, depth - 1, 7]) + bytes(6))
    codestream = b"\xff\x4f\xff\x51" + bytes(36) + struct.pack(">H", 1) + bytes([7, 1, 1])
    assert declared(signature + palette + codestream).bits == depth
    assert declared(signature + codestream).bits == 8


@pytest.mark.parametrize(("kind", "floating"), [(94, True), (95, True), (96, True), (93, False), (97, False)])
def test_directdraw_s_floating_numbers_are_refused(kind: int, floating: bool):
    """BC6H: typeless, unsigned and signed."""
    data = bytearray(b"DDS " + bytes(144))
    data[84:88], data[128] = b"DX10", kind
    found = declared(bytes(data))
    assert found.floating is floating
    if floating:
        with pytest.raises(ImageError, match="floating-point samples: expected 8; convert it"):
            check_declared(found)
    data[84:88] = b"DXT5"
    assert not declared(bytes(data)).floating


def test_a_damaged_declaration_of_colours_is_passed_over():
    """Gamma 1 makes every value another one; the checksum says whether the file means it."""
    gamma = struct.pack(">I", 100_000)
    honoured = read_image(png_with(chunk(b"gAMA", gamma)))
    assert not np.array_equal(honoured, RGB)
    wrong = zlib.crc32(b"gAMA" + gamma) ^ 1
    np.testing.assert_array_equal(read_image(png_with(chunk(b"gAMA", gamma, wrong))), RGB)


def test_primaries_on_one_line_mean_nothing():
    line = struct.pack(">8I", 31_000, 32_000, *(v for i in range(1, 4) for v in (10_000 * i, 20_000 * i)))
    np.testing.assert_array_equal(read_image(png_with(chunk(b"cHRM", line))), RGB)


@pytest.mark.parametrize(("primaries", "transfer"), [(22, 13), (3, 13), (1, 9)])
def test_code_points_that_nobody_knows_are_refused(primaries: int, transfer: int):
    message = f"colour primaries {primaries} and transfer {transfer} .*: expected sRGB; convert it"
    with pytest.raises(ImageError, match=message):
        read_image(png_with(chunk(b"cICP", bytes([primaries, transfer, 0, 1]))))


@pytest.mark.parametrize("raised", [MemoryError(), OSError("cut")])
def test_a_lack_of_memory_is_no_damage(raised: Exception, monkeypatch: pytest.MonkeyPatch):
    picture = Image.fromarray(RGB)

    def fail() -> None:
        raise raised

    monkeypatch.setattr(picture, "load", fail)
    with pytest.raises(MemoryError if isinstance(raised, MemoryError) else ImageError) as caught:
        as_shown(picture)
    assert isinstance(raised, MemoryError) or str(caught.value) == "the picture is damaged: cut"


def test_a_picture_whose_file_is_closed_is_judged_by_what_is_left(tmp_path):
    """Its depth can't be looked up any more; Pillow says what is wrong with it."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with open(tmp_path / "a.png", "rb") as file:
        opened = Image.open(file)
    with pytest.raises(ImageError, match=r"the picture is damaged: .*closed"):
        as_shown(opened)
