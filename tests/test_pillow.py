"""The Pillow plugin: streams and archives as `Image.open` and `Image.save` know files."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageSequence, UnidentifiedImageError

import ddpmcodec
import ddpmcodec.pillow
from ddpmcodec.codec.metadata import to_fields
from ddpmcodec.errors import UnknownModelError
from ddpmcodec.io.colorimetry import adobe_rgb, profile_for
from ddpmcodec.io.metadata import Metadata
from ddpmcodec.models import CodecModel
from tests.io.test_exif import exif

STEPS = 5


@pytest.fixture(autouse=True)
def _tiny(tiny_model: CodecModel) -> Iterator[None]:
    """Every file is the cheating model's."""
    ddpmcodec.pillow.register_ddpmcodec(tiny_model)
    yield
    ddpmcodec.pillow.register_ddpmcodec()


@pytest.fixture(scope="module")
def stream(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> bytes:
    return ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS, fields={4: "häuser.png".encode()})


def test_opening_reads_the_header_alone(stream: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ddpmcodec.pillow.DdpmImageFile, "_codec", lambda _: pytest.fail("a model was loaded"))
    monkeypatch.setattr(ddpmcodec.pillow.DdpmImageFile, "_data", lambda _: pytest.fail("the file was read"))
    header = ddpmcodec.read_header(stream)
    opened = Image.open(io.BytesIO(stream[: len(header.to_bytes())]))
    assert (opened.size, opened.mode, opened.format) == ((32, 32), "RGB", "DDPM")
    assert opened.info == {"fingerprint": header.fingerprint, "lossless": False, "file_name": "häuser.png"}
    assert opened.get_format_mimetype() == "image/x-ddpmcodec"


def test_the_picture_is_the_decoded_one_and_frames_are_steps(
    stream: bytes, tiny_model: CodecModel, tmp_path: Path, prior_picture: NDArray[np.uint8]
):
    (tmp_path / "a.ddpc").write_bytes(stream)
    steps = [item.image for item in ddpmcodec.decode_progressive(stream, model=tiny_model)]
    with Image.open(tmp_path / "a.ddpc") as opened:
        np.testing.assert_array_equal(np.asarray(opened), steps[-1])
        assert opened.n_frames == STEPS + 1
        for n in (2, 1, 4, 0, STEPS, 3):
            opened.seek(n)
            assert opened.tell() == n
            np.testing.assert_array_equal(np.asarray(opened), steps[n - 1])
        for n in (-1, STEPS + 1):
            with pytest.raises(EOFError):
                opened.seek(n)
        kept = [np.asarray(frame.copy()) for frame in ImageSequence.Iterator(opened)]
        np.testing.assert_array_equal(kept, [steps[-1], *steps])
    np.testing.assert_array_equal(imageio.imread(tmp_path / "a.ddpc"), steps[-1])
    small = Image.open(tmp_path / "a.ddpc")
    small.thumbnail((8, 8))
    assert small.size == (8, 8)


def test_a_picture_that_was_only_opened_travels(stream: bytes, tiny_model: CodecModel):
    decoded = ddpmcodec.decode(stream, model=tiny_model)
    for other in (
        pickle.loads(pickle.dumps(Image.open(io.BytesIO(stream)))),
        copy.deepcopy(Image.open(io.BytesIO(stream))),
    ):
        other.load()
        assert np.array_equal(np.asarray(other), decoded)


def test_a_draft_is_an_earlier_frame_and_good_enough(stream: bytes, tiny_model: CodecModel):
    levels = ddpmcodec.read_info(stream, tiny_model).log_snr
    frames = []
    for size in ((32, 32), (16, 16), (4, 4), (8, 1), (1, 1)):
        opened = Image.open(io.BytesIO(stream))
        drafted = opened.draft(None, size)
        assert drafted == (None if size == (32, 32) else ("RGB", (0, 0, 32, 32)))
        assert opened.size == (32, 32)
        frames.append(opened.tell())
        if frames[-1]:
            np.testing.assert_array_equal(np.asarray(opened), ddpmcodec.decode(stream, frames[-1], model=tiny_model))
            needed = levels[-1] - 2 * np.log(min(32 / size[0], 32 / size[1]))
            assert [level >= needed for level in levels].index(True) + 1 == frames[-1]
    assert frames[0] == 0
    assert frames[1] >= frames[3] >= frames[2] >= frames[4] > 0
    assert len(set(frames)) > 3
    opened.load()
    assert opened.draft(None, (2, 2)) is None  # too late: it is there
    small, all_of_it = Image.open(io.BytesIO(stream)), Image.open(io.BytesIO(stream)).resize((8, 8))
    small.thumbnail((8, 8))
    assert small.size == (8, 8)
    assert small.tell() < STEPS
    difference = np.asarray(small).astype(float) - np.asarray(all_of_it)
    assert np.mean(difference**2) ** 0.5 < 6
    cut = Image.open(io.BytesIO(stream[:-9]))
    assert cut.draft(None, (2, 2)) is None
    with pytest.raises(OSError, match="cut or damaged"):
        cut.load()


def test_a_grey_picture_is_grey(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(prior_picture[..., 0], model=tiny_model, plan_steps=STEPS)
    opened = Image.open(io.BytesIO(data))
    assert opened.mode == "L"
    np.testing.assert_array_equal(np.asarray(opened), ddpmcodec.decode(data, model=tiny_model)[..., 0])


def test_saving_takes_the_options_of_encode(tiny_model: CodecModel, prior_picture: NDArray[np.uint8], tmp_path: Path):
    picture = Image.fromarray(prior_picture)
    picture.save(tmp_path / "a.ddpc", plan_steps=STEPS, lossless=True, optimize=True)
    options = {"model": tiny_model, "plan_steps": STEPS}
    assert (tmp_path / "a.ddpc").read_bytes() == ddpmcodec.encode(prior_picture, lossless=True, **options)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.ddpc")), prior_picture)
    buffer = io.BytesIO()
    picture.save(buffer, "DDPM", target_bytes=150, plan_steps=STEPS)
    assert len(buffer.getvalue()) <= 150
    with pytest.raises(OSError, match="quality of 1000"):
        picture.save(buffer, "DDPM", quality=1000)
    with pytest.raises(OSError, match="transparency"):
        picture.convert("RGBA").save(tmp_path / "b.ddpc")
    assert not (tmp_path / "b.ddpc").exists()


def test_an_archive_s_frames_are_its_pictures(tiny_model: CodecModel, prior_picture: NDArray[np.uint8], tmp_path: Path):
    pictures = [prior_picture, prior_picture[::-1].copy()]
    first, second = map(Image.fromarray, pictures)
    first.save(tmp_path / "two.ddpc", save_all=True, append_images=[second], lossless=True, plan_steps=STEPS)
    assert (tmp_path / "two.ddpc").read_bytes() == ddpmcodec.encode_archive(
        pictures, model=tiny_model, lossless=True, plan_steps=STEPS
    )
    with Image.open(tmp_path / "two.ddpc") as opened:
        assert opened.n_frames == 2
        np.testing.assert_array_equal([np.asarray(frame.copy()) for frame in ImageSequence.Iterator(opened)], pictures)


def test_a_cut_file_is_an_error_unless_it_is_asked_for(
    stream: bytes, tiny_model: CodecModel, monkeypatch: pytest.MonkeyPatch
):
    cut = stream[:-20]
    with pytest.raises(OSError, match=r"cut or damaged.*LOAD_TRUNCATED_IMAGES") as found:
        Image.open(io.BytesIO(cut)).load()
    assert "allow_partial" not in str(found.value)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    shown = ddpmcodec.decode(cut, model=tiny_model, allow_partial=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(cut))), shown)


@pytest.mark.parametrize("size", [0, 3, 7, 9])
def test_what_is_no_header_is_no_picture(stream: bytes, size: int):
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(stream[:size]))


def test_another_model_s_file_says_so(picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(picture, plan_steps=2)
    with pytest.raises(OSError, match="fingerprint starts"):
        Image.open(io.BytesIO(data)).load()
    ddpmcodec.pillow.register_ddpmcodec()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), ddpmcodec.decode(data))


def test_what_a_stream_keeps_of_its_source_is_there(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    kept = Metadata(colours=adobe_rgb(), exif=exif(orientation=1), xmp=b"<x:xmpmeta/>")
    data = ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS, fields=to_fields(kept))
    opened = Image.open(io.BytesIO(data))
    assert opened.getexif()[0x010F] == "Maker"
    assert opened.info["xmp"] == kept.xmp
    assert opened.info["icc_profile"] == profile_for(adobe_rgb())


def test_saving_keeps_what_it_is_given(prior_picture: NDArray[np.uint8], tiny_model: CodecModel):
    source = io.BytesIO()
    Image.fromarray(prior_picture).save(source, "JPEG", exif=b"Exif\0\0" + exif(orientation=1))
    photo, buffer = Image.open(source), io.BytesIO()
    photo.save(buffer, "DDPM", plan_steps=STEPS)
    assert not Image.open(buffer).getexif()  # as other formats: only what is given
    shown = ddpmcodec.decode(ddpmcodec.encode(photo, model=tiny_model, plan_steps=STEPS), model=tiny_model)
    for given in (photo.info["exif"], photo.getexif()):
        for others in ({}, {"save_all": True, "append_images": [photo]}):
            buffer = io.BytesIO()
            photo.save(buffer, "DDPM", exif=given, xmp=b"<x:xmpmeta/>", plan_steps=STEPS, **others)
            opened = Image.open(buffer)
            assert opened.getexif()[0x010F] == "Maker"
            assert opened.info["xmp"] == b"<x:xmpmeta/>"
            assert np.abs(np.asarray(opened).astype(int) - shown).max() <= 1  # in a batch, or alone


def test_the_orientation_that_is_given_is_applied_once(prior_picture: NDArray[np.uint8]):
    tall, turn, buffer = Image.fromarray(prior_picture[:, :24]), Image.Exif(), io.BytesIO()
    turn[0x0112] = 6
    tall.save(buffer, "DDPM", exif=turn, lossless=True, plan_steps=STEPS)
    opened = Image.open(buffer)
    assert opened.getexif()[0x0112] == 1
    np.testing.assert_array_equal(np.asarray(opened), np.rot90(prior_picture[:, :24], -1))


@pytest.mark.parametrize(("given", "word"), [({"exif": b"none"}, "EXIF block"), ({"xmp": "text"}, "expected bytes")])
def test_what_is_no_metadata_is_refused(prior_picture: NDArray[np.uint8], tmp_path: Path, given: dict, word: str):
    with pytest.raises(OSError, match=word):
        Image.fromarray(prior_picture).save(tmp_path / "a.ddpc", plan_steps=STEPS, **given)
    assert not (tmp_path / "a.ddpc").exists()


def test_a_profile_that_is_given_says_the_colours(prior_picture: NDArray[np.uint8]):
    profile, buffer = profile_for(adobe_rgb()), io.BytesIO()
    Image.fromarray(prior_picture).save(buffer, "DDPM", icc_profile=profile, lossless=True, plan_steps=STEPS)
    assert Image.open(buffer).info["icc_profile"] == profile
    np.testing.assert_array_equal(np.asarray(Image.open(buffer)), prior_picture)


def test_frames_are_no_animation(stream: bytes):
    opened = Image.open(io.BytesIO(stream))
    assert opened.n_frames > 1
    assert not opened.is_animated


def test_frames_of_what_nobody_can_decode_are_an_error_of_pillow_s_kind(stream: bytes):
    ddpmcodec.pillow.register_ddpmcodec()
    opened = Image.open(io.BytesIO(stream))
    with pytest.raises(OSError, match="the stream was made with the model whose fingerprint starts 01234567") as caught:
        opened.n_frames  # noqa: B018
    assert isinstance(caught.value.__cause__, UnknownModelError)


def test_a_closed_picture_is_closed(stream: bytes):
    opened = Image.open(io.BytesIO(stream))
    opened.close()
    with pytest.raises(ValueError, match="Operation on closed image"):
        opened.load()


def test_what_no_archive_can_hold_is_an_error_of_pillow_s_kind(prior_picture: NDArray[np.uint8], tmp_path: Path):
    picture = Image.fromarray(prior_picture)
    with pytest.raises(OSError, match="quality") as caught:
        picture.save(tmp_path / "a.ddpc", save_all=True, append_images=[picture], quality=500)
    assert isinstance(caught.value.__cause__, ddpmcodec.DdpmCodecError)
