"""Classical codecs: files come back, cost less as they get worse, and payload counts coded data and nothing else."""

from __future__ import annotations

import dataclasses
import io
import pickle
import sys

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.data import shipped_picture
from ddpmcodec.eval.rd import payload
from ddpmcodec.eval.rd.baselines import BASELINES, Baseline, available, measure, parse_baselines

LOSSY = [b for b in BASELINES if not b.lossless]
LOSSLESS = [b for b in BASELINES if b.lossless]
BY_NAME = {b.name: b for b in BASELINES}


def here(baseline: Baseline) -> Baseline:
    """The baseline, or a skipped test where it isn't available."""
    if reason := available(baseline):
        pytest.skip(reason)
    return baseline


def saved(image: NDArray[np.uint8], kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def thinned(baseline: Baseline, count: int) -> Baseline:
    """With `count` of its settings, first and last among them."""
    chosen = np.linspace(0, len(baseline.settings) - 1, count).round().astype(int)
    return dataclasses.replace(baseline, settings=tuple(baseline.settings[i] for i in chosen))


@pytest.fixture(scope="module")
def tiles() -> list[NDArray[np.uint8]]:
    """Four pictures of 32 × 32, cut from the astronaut."""
    half = shipped_picture(256)
    return [np.ascontiguousarray(half[y : y + 32, x : x + 32]) for y, x in ((0, 0), (32, 96), (96, 64), (160, 160))]


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """(101, 150, 3): sides that no block size divides."""
    return shipped_picture(256)[:101, 30:180]


@pytest.fixture(scope="module")
def files(tiles: list[NDArray[np.uint8]]) -> dict[str, bytes]:
    """A picture in each format that is available, by the baseline's name."""
    return {b.name: b.encode(tiles[0], b.settings[-1]) for b in BASELINES if available(b) is None}


@pytest.mark.parametrize("baseline", LOSSY, ids=lambda b: b.name)
def test_rate_and_error_trade(baseline: Baseline, tiles: list[NDArray[np.uint8]]) -> None:
    m = measure(thinned(here(baseline), 4), tiles)
    rate, payload_rate, mse = (a.mean(axis=1) for a in (m.file_bytes, m.payload_bytes, m.mse))
    assert np.all(np.diff(rate) > 0)
    assert np.all(np.diff(payload_rate) > 0)
    assert np.all(np.diff(mse) < 0)
    assert np.sqrt(mse[0]) > 15
    assert np.sqrt(mse[-1]) < 5


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: b.name)
def test_payload_is_part_of_the_file(
    baseline: Baseline, tiles: list[NDArray[np.uint8]], photo: NDArray[np.uint8]
) -> None:
    m = measure(thinned(here(baseline), min(2, len(baseline.settings))), [*tiles, photo])
    headers = m.file_bytes - m.payload_bytes
    assert np.all(m.payload_bytes > 0)
    assert np.all(headers > 0)
    assert np.ptp(headers) < 250  # only JPEG's tables and HEIC's parameter sets depend on the picture
    assert baseline.left_out.endswith(").")  # the whole sentence, with its source


@pytest.mark.parametrize("baseline", LOSSLESS, ids=lambda b: b.name)
def test_lossless_is_exact(baseline: Baseline, tiles: list[NDArray[np.uint8]], photo: NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (17, 40, 3), np.uint8)
    assert not measure(here(baseline), [*tiles, photo, noise]).mse.any()


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: b.name)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 64)])
def test_any_size(baseline: Baseline, size: tuple[int, int]) -> None:
    image = shipped_picture(128)[: size[0], : size[1]]
    settings = here(baseline).settings
    middle = dataclasses.replace(baseline, settings=settings[len(settings) // 2 :][:1])
    assert measure(middle, [image]).dims == image.size


def test_measures_every_image_at_every_setting(tiles: list[NDArray[np.uint8]], photo: NDArray[np.uint8]) -> None:
    calls: list[str] = []
    baseline = dataclasses.replace(BY_NAME["jpeg"], settings=(10, 50, 90))

    def brightness(image: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
        calls.append("similarity")
        return abs(float(image.mean()) - float(decoded.mean()))

    m = measure(baseline, [tiles[0], photo], on_image=lambda: calls.append("image"), similarity=brightness)
    assert calls == ["similarity", "image"] * 6
    assert list(m.settings) == [10, 50, 90]
    assert list(m.dims) == [3072, photo.size]
    for array in (m.file_bytes, m.payload_bytes, m.mse, m.similarity):
        assert array.shape == (3, 2)
    file = baseline.encode(photo, 50)
    assert m.file_bytes[1, 1] == len(file)
    assert m.mse[1, 1] == np.mean((baseline.decode(file).astype(np.float64) - photo) ** 2)
    assert np.all(m.similarity < 5)
    assert np.isnan(measure(baseline, tiles[:1]).similarity).all()


def test_false_claims_are_found(tiles: list[NDArray[np.uint8]]) -> None:
    liar = dataclasses.replace(BY_NAME["jpeg"], lossless=True)
    with pytest.raises(DdpmCodecError, match=r"JPEG 4:2:0 at quality 1, image 0 of 32x32: expected a lossless"):
        measure(liar, tiles)
    cropping = dataclasses.replace(BY_NAME["png"], decode=lambda data: BY_NAME["png"].decode(data)[1:])
    with pytest.raises(DdpmCodecError, match=r"PNG.*shape"):
        measure(cropping, tiles)


def test_codec_that_fails(tiles: list[NDArray[np.uint8]]) -> None:
    wide = np.zeros((1, 20000, 3), np.uint8)  # WebP has 14 bits for a side
    with pytest.raises(DdpmCodecError, match="WebP at quality 0, image 1 of 20000x1"):
        measure(thinned(BY_NAME["webp"], 1), [tiles[0], wide])


def test_names() -> None:
    assert [b.name for b in parse_baselines("webp, jpeg,webp")] == ["webp", "jpeg"]
    assert parse_baselines("all") == list(BASELINES)
    assert parse_baselines("none") == parse_baselines("") == []
    assert len({b.name for b in BASELINES}) == len({b.label for b in BASELINES}) == len(BASELINES)
    assert [b.name for b in pickle.loads(pickle.dumps(BASELINES))] == [b.name for b in BASELINES]  # for other processes
    with pytest.raises(DdpmCodecError, match=r"'bpg'.*'all', 'none'.*jpeg, .*heic-lossless"):
        parse_baselines("jpeg,bpg")


@pytest.mark.parametrize(
    ("name", "module"), [("jxl", "imagecodecs"), ("jpegls", "imagecodecs"), ("heic", "pillow_heif")]
)
def test_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    reason = available(BY_NAME[name])
    assert reason is not None
    assert "isn't installed: pip install 'ddpmcodec[eval]'" in reason


def test_format_that_was_left_out_of_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.init()
    monkeypatch.delitem(PIL.Image.SAVE, "AVIF", raising=False)
    reason = available(BY_NAME["avif"])
    assert reason is not None
    assert "pip install -U 'Pillow>=11.3'" in reason
    assert available(BY_NAME["jpeg"]) is None


def test_payload_passes_over_metadata(photo: NDArray[np.uint8]) -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "a description of some length " * 20
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("Comment", "a comment of some length " * 20)
    for count, kind, metadata in (
        (payload.jpeg, "JPEG", {"comment": b"\xff\xda a comment with a marker in it", "exif": exif}),
        (payload.webp, "WEBP", {"exif": exif}),
        (payload.png, "PNG", {"pnginfo": text}),
    ):
        plain, more = saved(photo, kind), saved(photo, kind, **metadata)
        assert len(more) > len(plain)
        assert count(more) == count(plain) < len(plain)
    assert payload.j2k(saved(photo, "JPEG2000")) == payload.j2k(saved(photo, "JPEG2000", no_jp2=True))


def test_payload_is_the_coded_data(photo: NDArray[np.uint8]) -> None:
    data = saved(photo, "JPEG")
    scan = data.rindex(b"\xff\xda")
    assert payload.jpeg(data) == len(data) - scan - 2 - int.from_bytes(data[scan + 2 : scan + 4], "big") - 2
    progressive = saved(photo, "JPEG", progressive=True)
    assert progressive.count(b"\xff\xda") > 1
    assert 0.7 < payload.jpeg(progressive) / payload.jpeg(data) < 1.1
    restarts = saved(photo, "JPEG", restart_marker_blocks=1)
    assert payload.jpeg(restarts) > payload.jpeg(data) + 2 * 60
    tiled = saved(photo, "JPEG2000", tile_size=(64, 64))
    assert payload.j2k(tiled) < len(tiled) - 6 * 14


def test_jxl_payload_begins_with_the_frame_header() -> None:
    baseline, frames = here(BY_NAME["jxl"]), set()
    for (height, width), header in {
        (32, 32): 4,
        (33, 33): 5,
        (33, 34): 6,
        (600, 3): 6,
        (600, 600): 5,
        (3, 9000): 7,
    }.items():
        data = baseline.encode(np.full((height, width, 3), 90, np.uint8), 1.0)
        assert len(data) - payload.jxl(data) == header
        frames.add(data[header : header + 4])
    assert len(frames) == 1  # they begin alike, whatever the size in front of them


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: b.name)
def test_payload_of_something_else(baseline: Baseline, files: dict[str, bytes]) -> None:
    others = [data for name, data in files.items() if BY_NAME[name].payload != baseline.payload]
    for data in [b"", b"\xff", bytes(40), b"not a picture at all, but 40 bytes of text", *others]:
        with pytest.raises(DdpmCodecError):
            baseline.payload(data)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "j2k", "jpegls", "avif", "heic"])
def test_payload_of_a_file_cut_short(name: str, files: dict[str, bytes]) -> None:
    if name not in files:
        pytest.skip(f"{name} isn't available")
    for length in range(0, len(files[name]) - 1, 7):
        with pytest.raises(DdpmCodecError):
            BY_NAME[name].payload(files[name][:length])
