"""Metadata of a picture file goes through the codec where that is asked for, and never comes back wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

import ddpmcodec
from ddpmcodec.bitstream.fields import COLOURS, EXIF, ICC_PROFILE, XMP
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.exif import is_adobe_rgb
from ddpmcodec.io.reading import read_image
from tests.cli.test_cli import run
from tests.io.test_exif import exif
from tests.io.test_reading import GREY, P3, SMOOTH, chunk, png_with, saved

FAST = ("--plan-steps", 2)
XMP_DATA = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:rights="m\xc3\xa9"/></x:xmpmeta>'
)
RGB = SMOOTH[:8, :12]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(kind: str, picture: Image.Image, **options: object) -> bytes:
    """A file of a kind with EXIF (orientation 6) and XMP."""
    if kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP_DATA.decode(), zip=True)
    elif kind != "TIFF":
        options["xmp"] = XMP_DATA
    if kind == "WEBP":
        options["lossless"] = True
    return saved(picture, kind, exif=b"Exif\0\0" + exif(space=1, index=None), **options)


def encode(*arguments: object) -> None:
    done = run("encode", *arguments, *FAST)
    assert done.exit_code == 0, done.output


def fields() -> list[int]:
    return [field.identifier for field in ddpmcodec.read_header(Path("x.bin").read_bytes()).fields]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_and_xmp_come_back_and_the_picture_is_turned_once(folder: Path, kind: str, suffix: str):
    Path("in").write_bytes(written(kind, Image.fromarray(RGB)))
    encode("in", "-o", "x.bin", "--keep-metadata", "-q")
    assert fields() == ([EXIF] if kind == "TIFF" else [EXIF, XMP])
    assert run("decode", "x.bin", "-o", f"out{suffix}").exit_code == 0
    with Image.open(f"out{suffix}") as out:
        assert out.size == (8, 12)  # turned, as seen
        assert ImageOps.exif_transpose(out).size == out.size
        assert out.getexif()[0x010F] == "Maker"
        assert out.getexif().get(0x0112, 1) == 1
        out.load()
        found = out.info.get("xmp", out.info.get("XML:com.adobe.xmp", b""))
        found = found.encode() if isinstance(found, str) else found
        assert found.rstrip(b"\0") == (b"" if kind == "TIFF" else XMP_DATA.replace(b'"6"', b'"1"'))
    again = read_image(Path(f"out{suffix}").read_bytes())
    assert again.shape == (12, 8, 3)


def test_only_what_is_asked_for_is_kept_and_the_rest_is_told(folder: Path):
    Path("in").write_bytes(written("JPEG", Image.fromarray(RGB), comment=b"mine"))
    said = run("encode", "in", "-o", "x.bin", *FAST).stderr
    assert "left out: EXIF data, XMP data, a comment" in said
    assert fields() == []
    said = run("encode", "in", "-o", "x.bin", "--keep-metadata", *FAST).stderr
    assert "left out: a comment" in said
    assert "EXIF" not in said


def test_an_archive_keeps_each_picture_s_own(folder: Path):
    Path("a").write_bytes(written("PNG", Image.fromarray(RGB)))
    Path("b").write_bytes(saved(Image.fromarray(np.rot90(RGB, -1).copy()), icc_profile=P3))
    encode("a", "b", "-o", "x.ddpc", "--keep-metadata", "--lossless", "-q")
    assert run("verify", "x.ddpc").exit_code == 0
    assert run("decode", "x.ddpc", "-o", "out", "-q").exit_code == 0
    first, second = (Image.open(f"out/0000{i}.png") for i in range(2))
    assert first.getexif()[0x010F] == "Maker"
    assert "icc_profile" not in first.info
    assert second.info["icc_profile"] == P3
    assert len(second.getexif()) == 0
    assert run("decode", "x.ddpc", "--index", 1, "-o", "one.png", "-q").exit_code == 0
    assert Image.open("one.png").info["icc_profile"] == P3


@pytest.mark.parametrize("options", [("--lossless",), ("--icc", "keep"), ("--lossless", "--icc", "keep")], ids=str)
def test_a_profile_travels_where_values_stay(folder: Path, options: tuple[str, ...]):
    Path("in.png").write_bytes(saved(Image.fromarray(RGB), icc_profile=P3))
    encode("in.png", "-o", "x.bin", *options)
    assert fields() == [ICC_PROFILE]
    said = run("decode", "x.bin", "-o", "out.png").stderr
    assert ("exact" in said) == ("--lossless" in options)
    with Image.open("out.png") as out:
        assert out.info["icc_profile"] == P3
        if "--lossless" in options:
            np.testing.assert_array_equal(np.asarray(out), RGB)
    said = run("decode", "x.bin", "-o", "out.bmp").stderr
    assert ".bmp can't hold the colour profile" in said
    assert "exact" not in said
    encode("in.png", "-o", "x.bin", "--lossless", "--icc", "srgb")
    assert fields() == []


def test_grey_pictures_get_no_profile_of_colours_and_colours_none_of_grey(folder: Path):
    grey = np.repeat(RGB[..., :1], 3, axis=2)
    for name, picture, icc, mode in (
        ("colours", Image.fromarray(grey), P3, "RGB"),
        ("grey", Image.fromarray(grey[..., 0]), GREY, "L"),
    ):
        Path("in.png").write_bytes(saved(picture, icc_profile=icc))
        for options in (("--icc", "keep"), ("--lossless",)):
            encode("in.png", "-o", "x.bin", *options)
            assert ddpmcodec.read_header(Path("x.bin").read_bytes()).grey
            assert run("decode", "x.bin", "-o", "out.png", "-q").exit_code == 0
            with Image.open("out.png") as out:
                assert (out.mode, out.info["icc_profile"]) == (mode, icc), name
                if options == ("--lossless",):
                    np.testing.assert_array_equal(np.asarray(out.convert("RGB")), grey)
    said = run("decode", "x.bin", "-o", "out.webp").stderr  # which holds no grey pictures
    assert "can't hold the colour profile" in said
    assert "icc_profile" not in Image.open("out.webp").info


def test_colours_that_no_profile_tells_are_converted(folder: Path):
    adobe = saved(Image.fromarray(RGB), "JPEG", quality=95, exif=b"Exif\0\0" + exif(orientation=1))
    plain = saved(Image.fromarray(RGB), "JPEG", quality=95)
    Path("in.jpg").write_bytes(adobe)
    said = run("encode", "in.jpg", "-o", "x.bin", "--keep-metadata", *FAST).stderr
    assert "colours converted to sRGB (Adobe RGB by its EXIF data)" in said
    assert np.abs(read_image(adobe).astype(int) - read_image(plain)).max() > 8
    assert run("decode", "x.bin", "-o", "out.png", "-q").exit_code == 0
    block = Image.open("out.png").info["exif"].removeprefix(b"Exif\0\0")
    assert not is_adobe_rgb(block)  # or the next reader would convert once more
    unknown = saved(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0" + exif(orientation=1, index=None))
    Path("in.jpg").write_bytes(unknown)
    said = run("encode", "in.jpg", "-o", "x.bin", *FAST).stderr
    assert "taken for sRGB" in said


GREY_RGB = np.repeat(RGB[..., :1], 3, axis=2)
OTHER_COLOURS = {
    "grey": (png_with(chunk(b"gAMA", b"\0\1\x86\xa0"), rgb=GREY_RGB), {"gamma": 1.0}),
    "gAMA": (png_with(chunk(b"gAMA", b"\0\1\x86\xa0"), rgb=RGB), {"gamma": 1.0}),
    "cICP": (png_with(chunk(b"cICP", b"\x0c\x0d\0\1"), rgb=RGB), {}),
    "EXIF": (
        saved(Image.fromarray(RGB), "WEBP", lossless=True, exif=b"Exif\0\0" + exif(orientation=1)),
        {"gamma": 0.45471},
    ),
}


@pytest.mark.parametrize("kind", OTHER_COLOURS)
def test_colours_that_no_profile_tells_travel_where_values_stay(folder: Path, kind: str):
    data, info = OTHER_COLOURS[kind]
    values = np.asarray(Image.open(io.BytesIO(data)))
    Path("in").write_bytes(data)
    encode("in", "-o", "x.bin", "--icc", "keep", "-q")
    assert fields() == [COLOURS]
    said = run("encode", "in", "-o", "x.bin", "--lossless", *FAST).stderr
    assert "converted" not in said
    assert fields() == [COLOURS]
    for name in ("out.png", "out.webp"):
        said = run("decode", "x.bin", "-o", name).stderr
        assert "warning" not in said
        assert "exact" in said
        np.testing.assert_array_equal(np.asarray(Image.open(name).convert("RGB")), values)
        shown = read_image(Path(name).read_bytes()).astype(int)
        assert np.abs(shown - read_image(data)).max() <= 2, name
    with Image.open("out.png") as out:
        assert {key: out.info.get(key) for key in info} == info
    assert (b"cICP\x0c\x0d" in Path("out.png").read_bytes()) == (kind == "cICP")
    said = run("decode", "x.bin", "-o", "out.bmp").stderr
    assert ".bmp can't hold the colour profile" in said
    assert "exact" not in said


def test_python_keeps_the_meaning_of_exact_values_as_the_command_line_does(folder: Path):
    for name, data in {"P3": saved(Image.fromarray(RGB), icc_profile=P3), "EXIF": OTHER_COLOURS["EXIF"][0]}.items():
        Path(name).write_bytes(data)
        encode(name, "-o", "x.bin", "--lossless", "-q")
        with Image.open(name) as opened:
            expected = Path("x.bin").read_bytes()
            assert ddpmcodec.encode(opened, lossless=True, plan_steps=2) == expected
            assert ddpmcodec.encode_batch([opened], lossless=True, plan_steps=2) == [expected]
            archive = ddpmcodec.encode_archive([opened, opened], lossless=True, plan_steps=2)
            assert ddpmcodec.read_archive(archive).stream(1) == expected
            solid = ddpmcodec.encode_archive([opened, opened], lossless=True, plan_steps=2, solid=2)
            assert ddpmcodec.read_archive(solid).header.fields == ddpmcodec.read_header(expected).fields
            np.testing.assert_array_equal(ddpmcodec.decode(expected), RGB)
            with pytest.raises(DdpmCodecError, match="profiles differ"):
                ddpmcodec.encode_archive([opened, RGB], lossless=True, plan_steps=2, solid=2)
            assert ddpmcodec.read_header(ddpmcodec.encode(opened, plan_steps=2, steps=1)).fields == ()


def test_metadata_that_can_t_be_read_harms_no_picture(folder: Path, picture: np.ndarray):
    bomb = io.BytesIO()
    Image.new("L", (1, 1)).save(bomb, "PNG")
    for data in (b"", b"no deflated bytes", bomb.getvalue()):
        stream = ddpmcodec.encode(
            picture[:8, :8], plan_steps=2, fields={ICC_PROFILE: data, EXIF: data, XMP: data, COLOURS: data}
        )
        Path("x.bin").write_bytes(stream)
        done = run("decode", "x.bin", "-o", "out.png")
        assert done.exit_code == 0, done.output
        assert "icc_profile" not in Image.open("out.png").info
