"""What becomes of strangers' picture files: nothing is cut, shifted or left out in silence, and nothing sound is
refused.
"""

from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ddpmcodec.errors import ImageError
from ddpmcodec.io.images import as_rgb
from ddpmcodec.io.metadata import NOTHING
from ddpmcodec.io.reading import Reading, read_frames, read_image, read_picture

RGB = np.random.default_rng(3).integers(0, 256, (24, 32, 3)).astype(np.uint8)
SMOOTH = np.stack([*np.meshgrid(np.arange(0, 256, 8), np.arange(0, 240, 10)), np.full((24, 32), 90)], -1).astype(
    np.uint8
)
KEEPING = Reading(keep_profile=True)
DEEP = RGB.astype(np.uint16) * 257
DEEP_GREY = DEEP[..., 0].copy()


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pages: list[NDArray[Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, metadata=None, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes, check: int | None = None) -> bytes:
    check = zlib.crc32(name + content) if check is None else check
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png_with(*extra: bytes, rgb: NDArray[np.uint8] = RGB) -> bytes:
    """A PNG with chunks put behind IHDR."""
    data = saved(Image.fromarray(rgb))
    return data[:33] + b"".join(extra) + data[33:]


# Depth


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (imagecodecs.jpeg2k_encode(DEEP, codecformat="jp2", reversible=True), "16"),
        (imagecodecs.jpeg2k_encode(DEEP, codecformat="j2k", reversible=True), "16"),
        (imagecodecs.jpeg2k_encode(DEEP_GREY >> 4, bitspersample=12, reversible=True), "12"),
        (imagecodecs.avif_encode(DEEP >> 6, bitspersample=10, level=100), "10"),
        (imagecodecs.avif_encode(DEEP >> 4, bitspersample=12, level=100), "12"),
        (imagecodecs.avif_encode(DEEP_GREY >> 6, bitspersample=10, level=100), "10"),
        (imagecodecs.jpeg8_encode(DEEP_GREY >> 4, bitspersample=12), "12"),
        (tiff([DEEP], photometric="rgb"), "16"),
        (tiff([DEEP], photometric="rgb", planarconfig="separate"), "16"),
        (tiff([DEEP_GREY]), "16"),
        (tiff([RGB, DEEP], photometric="rgb"), "16"),
        (tiff([RGB.astype(np.float32)], photometric="rgb"), "point"),
        (tiff([RGB.astype(np.float16)], photometric="rgb"), "point"),
        (imagecodecs.png_encode(DEEP), "16"),
        (imagecodecs.png_encode(DEEP_GREY), "16"),
        (b"P6 2 1 65535\n" + bytes(12), "16"),
        (b"\x01\xda\x00\x02\x00\x03" + struct.pack(">HHH", 2, 1, 3) + bytes(500), "16"),
        (b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 1, 2, 16, 3) + bytes(40), "16"),
    ],
    ids=range(18),
)
def test_more_than_8_bits_are_refused_whatever_the_container(data: bytes, bits: str):
    with pytest.raises(ImageError, match=rf"{bits}.*expected 8.*convert it"):
        read_image(data)


def test_signed_samples_are_refused():
    data = tiff([RGB[..., 0].astype(np.int8)], photometric="minisblack")
    with pytest.raises(ImageError, match="signed"):
        read_image(data)
    jp2 = bytearray(imagecodecs.jpeg2k_encode(RGB, codecformat="j2k", reversible=True))
    for component in range(3):
        jp2[jp2.index(b"\xff\x4f\xff\x51") + 42 + 3 * component] |= 128
    with pytest.raises(ImageError, match="signed"):
        read_image(bytes(jp2))


@pytest.mark.parametrize("codec", ["jp2", "j2k", "tiff", "avif", "planar", "bigtiff"])
def test_8_bits_are_what_they_were(codec: str):
    lossless = {
        "jp2": lambda: imagecodecs.jpeg2k_encode(RGB, codecformat="jp2", reversible=True),
        "j2k": lambda: imagecodecs.jpeg2k_encode(RGB, codecformat="j2k", reversible=True),
        "tiff": lambda: tiff([RGB], photometric="rgb"),
        "planar": lambda: tiff([RGB.transpose(2, 0, 1).copy()], photometric="rgb", planarconfig="separate"),
        "avif": lambda: imagecodecs.avif_encode(RGB, level=100, speed=9),
        "bigtiff": lambda: _bigtiff(RGB),
    }
    np.testing.assert_array_equal(read_image(lossless[codec]()), RGB)


def _bigtiff(rgb: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, rgb, photometric="rgb", bigtiff=True, metadata=None)
    return buffer.getvalue()


def test_colour_spaces_that_pillow_takes_for_rgb_are_refused():
    jp2 = imagecodecs.jpeg2k_encode(RGB, codecformat="jp2", reversible=True)
    at = jp2.index(b"colr") + 7
    with pytest.raises(ImageError, match="LAB colours"):
        read_image(jp2[:at] + struct.pack(">I", 14) + jp2[at + 4 :])


# Frames and pages

FRAMES = [np.full((8, 9, 3), 60 * i, np.uint8) for i in range(3)]


def test_channels_that_pillow_drops_are_refused():
    for extra, photometric, samples in (((0,), "rgb", RGB), ((0, 0), "rgb", RGB), ((0,), "minisblack", RGB[..., :1])):
        picture, buffer = np.dstack([samples, *[RGB[..., :1]] * len(extra)]), io.BytesIO()
        tifffile.imwrite(buffer, picture, photometric=photometric, extrasamples=extra, planarconfig="contig")
        with pytest.raises(ImageError, match=f"{picture.shape[2]}-channel"):
            read_image(buffer.getvalue())


def test_a_narrow_range_is_refused():
    with pytest.raises(ImageError, match="narrow-range"):
        read_image(png_with(chunk(b"cICP", bytes([1, 13, 0, 0]))))


def test_what_others_draw_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", False)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_windows_binary", None)
    for data in (saved(Image.fromarray(RGB), "EPS"), b"\x89HDF\r\n\x1a\n" + bytes(64)):
        with pytest.raises(ImageError, match=r"can't draw (EPS|HDF5) pictures here.*convert it"):
            read_image(data)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_several_frames_are_refused_unless_one_is_named_or_all_are(kind: str):
    first, *rest = [Image.fromarray(frame) for frame in FRAMES]
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    data = saved(first, kind, save_all=True, append_images=rest, **options)
    with pytest.raises(ImageError, match=r"3 frames or pages.*--frame N.*--all-frames"):
        read_image(data)
    for i in (2, 0, 1):
        assert np.abs(read_image(data, frame=i).astype(int) - FRAMES[i]).max() <= 1
    assert [int(frame.rgb.mean()) // 30 for frame in read_frames(data, Reading())] == [0, 2, 4]
    for wrong in (3, -1):
        with pytest.raises(ImageError, match=f"frame {wrong}: the file has 3"):
            read_image(data, frame=wrong)


def test_a_single_frame_is_frame_0():
    data = saved(Image.fromarray(RGB))
    np.testing.assert_array_equal(read_image(data, frame=0), RGB)
    assert len(list(read_frames(data, Reading()))) == 1


def test_thumbnails_and_masks_are_no_pages():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_image(buffer.getvalue()), RGB)


def test_a_tiff_of_many_pages_takes_no_time():
    """Twenty thousand pages share three megabytes of metadata, which Pillow would read again for each of them."""
    size, count, blob = 16 * 16, 20000, 3 << 20
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, size)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + struct.pack(
        "<HHII", 700, 1, blob, 8
    )
    start, page = 8 + blob, 2 + len(entries) + 4
    places = [start + page * (i + 1) for i in range(count - 1)] + [0]
    pages = b"".join(struct.pack("<H", len(tags) + 1) + entries + struct.pack("<I", place) for place in places)
    began = time.perf_counter()
    with pytest.raises(ImageError, match="20000 frames or pages"):
        read_image(b"II*\0" + struct.pack("<I", start) + bytes(blob) + pages)
    assert time.perf_counter() - began < 5


def test_an_icon_s_sizes_are_one_picture():
    assert read_image(saved(Image.fromarray(RGB).resize((32, 32)), "ICO", sizes=[(16, 16), (32, 32)])).shape == (
        32,
        32,
        3,
    )


def test_a_photo_s_preview_is_no_frame():
    """Cameras write it behind the photo, as the MPO format has it."""
    data = saved(Image.fromarray(RGB), "MPO", save_all=True, append_images=[Image.fromarray(RGB[::2, ::2].copy())])
    np.testing.assert_array_equal(read_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_views_of_equal_rank_are_several_pictures():
    """A stereo camera's two, both marked as one of a pair."""
    data = bytearray(saved(Image.fromarray(RGB), "MPO", save_all=True, append_images=[Image.fromarray(RGB)]))
    header = data.index(b"MPF\0") + 4
    at = header + 50  # the first entry, behind a table of three
    assert struct.unpack_from("<I", data, at) == (0x030000,)
    for entry in (at, at + 16):
        struct.pack_into("<I", data, entry, 0x020002)
    with pytest.raises(ImageError, match="2 frames"):
        read_image(bytes(data))
    assert read_image(bytes(data), frame=1).shape == RGB.shape


# Metadata


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"gAMA", b"\0\0"),
        chunk(b"cHRM", b"\0" * 7),
        chunk(b"sRGB", b""),
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", bytes(4)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20))),
        chunk(b"zTXt", b"Comment\0\0" + b"not deflated"),
        chunk(b"iTXt", b"no separators"),
        chunk(b"tEXt", b"Comment\0x", check=0),
        chunk(b"tIME", b""),
        chunk(b"eXIf", b"neither II nor MM"),
        chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 30),
        chunk(b"iCCP", b"name\0\0" + b"not deflated"),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(b"no profile")),
        chunk(b"iCCP", b""),
        chunk(b"bKGD", b""),
        chunk(b"hIST", b""),
        chunk(b"sBIT", b"\xff" * 9),
        chunk(b"raNd", b"x" * 1000),
        b"".join(chunk(b"tEXt", b"Comment\0" + b"x" * (1 << 20)) for _ in range(70)),
    ],
    ids=range(20),
)
def test_a_png_s_odd_ancillary_data_never_stops_it(extra: bytes):
    np.testing.assert_array_equal(read_image(png_with(extra)), RGB)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nothing", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + b"\xff" * 12]
)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_odd_exif_data_never_stops_a_picture(kind: str, exif: bytes):
    plain = Image.fromarray(SMOOTH)
    np.testing.assert_array_equal(
        read_image(saved(plain, kind, exif=b"Exif\0\0" + exif)), read_image(saved(plain, kind))
    )


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        (0xE0, b"JFIF\0"),
        (0xE0, b""),
        (0xE1, b"Exif\0\0"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"MPF\0"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
        (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x20abc"),
        (0xEE, b"Adobe"),
    ],
)
def test_a_jpeg_s_odd_segments_never_stop_it(marker: int, content: bytes):
    plain = saved(Image.fromarray(SMOOTH), "JPEG")
    segment = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content
    np.testing.assert_array_equal(read_image(plain[:2] + segment + plain[2:]), read_image(plain))


def tiff_with(tag: int, kind: int, count: int, value: int) -> bytes:
    """An uncompressed TIFF of RGB with one tag more."""
    pixels, (height, width, _) = RGB.tobytes(), RGB.shape
    at = 8 + len(pixels)
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, at + 126), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    entries += [(tag, kind, count, value)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" + struct.pack("<I", at) + pixels + struct.pack("<H", len(entries)) + table + bytes(4)
    return head + struct.pack("<3H", 8, 8, 8) + bytes(30)


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 7, 9, 12, 13, 16, 99])
@pytest.mark.parametrize("tag", [269, 270, 271, 306, 700, 33723, 34377, 34675, 34665, 34853, 65000])
def test_a_tiff_s_odd_tags_never_stop_it(tag: int, kind: int):
    assert (read_image(tiff_with(65000, 7, 4, 0)) == RGB).all()
    for count, value in ((1, 7), (1000, 8), (2, 2000), (1 << 20, 99999999), ((1 << 32) - 1, 0)):
        for keep in (False, True):
            found = read_picture(tiff_with(tag, kind, count, value), Reading(keep_profile=keep, keep_metadata=keep))
            np.testing.assert_array_equal(found.rgb, RGB)


def test_an_opened_tiff_of_odd_tags_is_no_raw_error():
    as_rgb(Image.open(io.BytesIO(tiff_with(34675, 2, 40, 8))))
    with pytest.raises(ImageError, match="damaged"):
        as_rgb(Image.open(io.BytesIO(tiff_with(700, 3, 2, 8))))


def test_what_lies_behind_a_png_s_pixels_says_nothing_of_its_colours():
    data = saved(Image.fromarray(SMOOTH))
    late = data[:-12] + chunk(b"gAMA", struct.pack(">I", 100000)) + data[-12:]
    np.testing.assert_array_equal(read_image(late), SMOOTH)


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"PLTE"])
def test_damage_of_the_picture_itself_is_still_told(name: bytes):
    data = bytearray(saved(Image.fromarray(RGB).quantize(8)))
    data[data.index(name) + 5] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        read_image(bytes(data))


def test_a_trns_that_is_needed_and_damaged_is_told():
    data = saved(Image.fromarray(RGB))
    with pytest.raises(ImageError, match=r"damaged|transparency"):
        read_image(data[:33] + chunk(b"tRNS", b"\0") + data[33:])


def test_a_critical_chunk_that_nobody_knows_is_refused():
    plain = saved(Image.fromarray(RGB))
    for data in (png_with(chunk(b"ABCD", b"123")), plain[:8] + chunk(b"CgBI", bytes(4)) + plain[8:]):
        with pytest.raises(ImageError, match=r"chunk (ABCD|CgBI)"):
            read_image(data)
    with pytest.raises(ImageError, match="damaged"):
        read_image(plain.replace(b"IDAT", b"IDAU"))


def test_what_is_left_out_is_said():
    def notes(data: bytes) -> list[str]:
        found = list[str]()
        read_image(data, note=found.append)
        return found

    exif, plain = Image.Exif(), Image.fromarray(SMOOTH)
    exif[0x010E], exif[0x0112] = "a description of some length", 1
    for kind in ("JPEG", "WEBP", "PNG"):
        assert notes(saved(plain, kind, exif=exif)) == ["left out: EXIF data"]
        assert notes(saved(plain, kind, exif=exif_6())) == []  # it is applied
    assert notes(saved(plain, "JPEG", comment=b"mine", xmp=b"<x:xmpmeta/>")) == ["left out: XMP data, a comment"]
    assert notes(png_with(chunk(b"tEXt", b"Comment\0mine"))) == ["left out: a comment"]
    assert notes(png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>"))) == ["left out: XMP data"]
    assert notes(saved(plain, "TIFF", description="of the picture")) == ["left out: EXIF data"]
    assert notes(tiff_with(33723, 7, 40, 8)) == ["left out: IPTC data"]
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x:xmpmeta/>"
    jp2 = imagecodecs.jpeg2k_encode(RGB, codecformat="jp2", reversible=True)
    boxed = jp2 + b"".join(struct.pack(">I", 8 + len(box)) + b"uuid" + box for box in (xmp, b"JpgTiffExif->JP2II*\0"))
    assert {"left out: EXIF data, XMP data"} <= {note.removesuffix(", a comment") for note in notes(boxed)}
    assert notes(saved(plain)) == notes(saved(plain, "JPEG")) == notes(saved(plain, "TIFF")) == []


# Colours

DISPLAY_P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)  # x, y of red, green and blue


def profile(
    gamma: float = 2.2, primaries: tuple[float, ...] = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06), grey: bool = False
) -> bytes:
    """A small ICC profile, version 2: a matrix and a gamma, or a gamma alone for grey."""
    xy = np.array(primaries).reshape(3, 2)
    columns = (np.column_stack([xy, 1 - xy.sum(1)]) / xy[:, 1:]).T
    white = np.array([0.9505, 1, 1.089])
    columns = columns * np.linalg.solve(columns, white)
    adapt = np.array([[1.0479, 0.0229, -0.0502], [0.0296, 0.9904, -0.0171], [-0.0092, 0.0151, 0.7517]])
    columns = adapt @ columns

    def xyz(v: NDArray[np.float64]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(float(c) * 65536)) for c in v)

    curve = b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(gamma * 256)) + b"\0\0"
    text = b"made here\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": xyz(np.array([0.9642, 1, 0.8249])),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        for i, name in enumerate("rgb"):
            tags[f"{name}XYZ".encode()], tags[f"{name}TRC".encode()] = xyz(columns[:, i]), curve
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    size = at + len(body)
    head = (
        struct.pack(">I", size)
        + b"lcms\x02\x40\0\0mntr"
        + (b"GRAY" if grey else b"RGB ")
        + b"XYZ "
        + bytes(12)
        + b"acsp"
    )
    head = head.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


P3, LINEAR, GREY = profile(), profile(1.0, (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)), profile(1.0, grey=True)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def shown(rgb: NDArray[np.uint8], icc: bytes) -> NDArray[np.uint8]:
    image = Image.fromarray(rgb)
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), 1, outputMode="RGB")
    assert converted is not None
    return np.asarray(converted)


@pytest.mark.parametrize("icc", [P3, LINEAR], ids=["P3", "linear"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_is_honoured_in_every_container(kind: str, icc: bytes):
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95}, "JPEG": {"quality": 95}}.get(kind, {})
    data, notes = saved(Image.fromarray(SMOOTH), kind, icc_profile=icc, **options), list[str]()
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    got = read_image(data, note=notes.append)
    assert np.abs(got.astype(int) - shown(stored, icc)).max() <= 1
    assert np.abs(got.astype(int) - stored).mean() > 3
    assert len(notes) == 1
    assert "made here" in notes[0]
    kept = read_picture(data, KEEPING)
    np.testing.assert_array_equal(kept.rgb, stored)
    assert kept.metadata.profile == icc


def test_profiles_that_pillow_does_not_look_for_are_honoured():
    jp2 = bytearray(saved(Image.fromarray(SMOOTH), "JPEG2000", irreversible=False))
    at = jp2.index(b"colr") - 4
    box = struct.pack(">I", 11 + len(P3)) + b"colr\2\0\0" + P3
    outer = jp2.index(b"jp2h") - 4
    struct.pack_into(">I", jp2, outer, struct.unpack_from(">I", jp2, outer)[0] + len(box) - 15)
    jp2[at : at + 15] = box
    plain = saved(Image.fromarray(SMOOTH), "BMP")
    rows = plain[54:]
    head = struct.pack("<I", 124) + plain[18:54] + struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0) + b"DEBM" + bytes(48)
    head += struct.pack("<4I", 4, 124 + len(rows), len(P3), 0)
    assert len(head) == 124
    bmp = b"BM" + struct.pack("<IHHI", 14 + 124 + len(rows) + len(P3), 0, 0, 14 + 124) + head + rows + P3
    for data in (bytes(jp2), bmp):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), SMOOTH)
        assert np.abs(read_image(data).astype(int) - shown(SMOOTH, P3)).max() <= 1
        assert np.abs(as_rgb(Image.open(io.BytesIO(data))).astype(int) - shown(SMOOTH, P3)).max() <= 1
        assert read_picture(data, KEEPING).metadata.profile == P3


def test_a_grey_picture_s_profile_is_honoured():
    data = saved(Image.fromarray(SMOOTH[..., 0]), icc_profile=GREY)
    got = read_image(data)
    assert (got == got[:, :, :1]).all()
    assert (
        abs(int(read_image(saved(Image.new("L", (2, 2), 55), icc_profile=GREY))[0, 0, 0]) - 128) <= 2
    )  # 0.216 of the light


def test_transparency_and_turns_go_with_a_profile():
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = Image.fromarray(SMOOTH).convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(np.arange(32) < 16, 255, 0).astype(np.uint8)[None].repeat(24, 0)))
    got = read_image(saved(clear, icc_profile=P3, exif=exif), (1, 2, 3))
    expected = shown(SMOOTH, P3).copy()
    expected[:, 16:] = (1, 2, 3)
    assert np.abs(got.astype(int) - np.rot90(expected, -1)).max() <= 1


@pytest.mark.parametrize(
    "icc", [SRGB, b"", b"no profile", profile(grey=True)], ids=["sRGB", "none", "damaged", "grey's"]
)
def test_what_is_srgb_or_says_nothing_changes_nothing(icc: bytes):
    notes = list[str]()
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(RGB), icc_profile=icc), note=notes.append), RGB)
    assert read_picture(saved(Image.fromarray(RGB), icc_profile=icc), KEEPING).metadata == NOTHING
    assert notes == []


def test_a_png_s_gamma_and_primaries_are_honoured():
    gamma = chunk(b"gAMA", struct.pack(">I", 100000))
    got = read_image(png_with(gamma, rgb=SMOOTH))
    assert np.abs(got.astype(int) - shown(SMOOTH, LINEAR)).max() <= 2
    p3 = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    primaries = chunk(b"cHRM", b"".join(struct.pack(">I", round(v * 100000)) for v in p3))
    got = read_image(png_with(chunk(b"gAMA", struct.pack(">I", 45455)), primaries, rgb=SMOOTH))
    assert np.abs(got.astype(int) - SMOOTH).mean() > 3
    assert np.abs(got.astype(int) - shown(SMOOTH, P3)).mean() < 2  # but for sRGB's curve, which is nearly that gamma
    kept = read_picture(png_with(gamma, primaries), KEEPING)
    np.testing.assert_array_equal(kept.rgb, RGB)
    assert kept.metadata.colours == gamma[8:12] + primaries[8:40]


@pytest.mark.parametrize(
    "extra",
    [
        [chunk(b"gAMA", struct.pack(">I", 45455))],
        [chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100000))],
        [chunk(b"cICP", bytes([1, 13, 0, 1]))],
        [chunk(b"cICP", bytes([1, 13, 0, 1])), chunk(b"iCCP", b"x\0\0" + zlib.compress(P3))],
    ],
)
def test_a_png_that_says_srgb_is_left_alone(extra: list[bytes]):
    np.testing.assert_array_equal(read_image(png_with(*extra)), RGB)
    assert read_picture(png_with(*extra), KEEPING).metadata == NOTHING


def test_code_points_are_honoured_and_high_range_is_refused():
    got = read_image(png_with(chunk(b"cICP", bytes([12, 13, 0, 1])), rgb=SMOOTH))
    assert np.abs(got.astype(int) - SMOOTH).mean() > 3
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(ImageError, match=rf"high dynamic range \({name}\)"):
            read_image(png_with(chunk(b"cICP", bytes([9, transfer, 0, 1]))))
    avif = imagecodecs.avif_encode(SMOOTH, level=95, primaries=9, transfer=16)
    with pytest.raises(ImageError, match="PQ"):
        read_image(avif)


# Pictures in Python


def exif_6() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.fromarray(SMOOTH).quantize(16),
        lambda: Image.open(io.BytesIO(saved(Image.fromarray(SMOOTH).quantize(16)))),
        lambda: Image.fromarray(SMOOTH).convert("YCbCr"),
        lambda: Image.fromarray(SMOOTH).convert("HSV"),
        lambda: Image.fromarray(SMOOTH[..., 0] > 100),
        lambda: Image.fromarray(SMOOTH[..., 0]),
    ],
    ids=["palette", "opened", "YCbCr", "HSV", "bits", "grey"],
)
def test_a_pillow_picture_gives_what_is_shown(make: Any):
    np.testing.assert_array_equal(as_rgb(make()), np.asarray(make().convert("RGB")))


def test_a_pillow_picture_is_upright_and_in_srgb():
    opened = Image.open(io.BytesIO(saved(Image.fromarray(SMOOTH), exif=exif_6(), icc_profile=P3)))
    assert np.abs(as_rgb(opened).astype(int) - np.rot90(shown(SMOOTH, P3), -1)).max() <= 1


@pytest.mark.parametrize("mode", ["LAB", "CMYK", "RGBA", "LA", "PA", "I", "F", "I;16"])
def test_a_pillow_picture_that_can_t_be_shown_so_is_refused(mode: str):
    with pytest.raises(ImageError):
        as_rgb(Image.new(mode, (4, 3)))


@pytest.mark.parametrize(
    "data",
    [
        imagecodecs.jpeg2k_encode(DEEP, codecformat="jp2", reversible=True),
        imagecodecs.avif_encode(DEEP >> 6, bitspersample=10, level=100),
        imagecodecs.png_encode(DEEP),
    ],
    ids=["jp2", "avif", "png"],
)
def test_an_opened_picture_s_depth_is_its_file_s(data: bytes):
    with pytest.raises(ImageError, match="bits a channel"):
        as_rgb(Image.open(io.BytesIO(data)))


def test_a_damaged_pillow_picture_is_an_image_error():
    with pytest.raises(ImageError, match="damaged"):
        as_rgb(Image.open(io.BytesIO(saved(Image.fromarray(RGB))[:-200])))
