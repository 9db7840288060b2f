"""Grey stays grey: one flag, one plane, fewer bits, in every way that a picture can be coded and decoded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.codec.reconstruction import flow, sample
from ddpmcodec.codec.sender import Sender
from ddpmcodec.io.images import is_grey
from ddpmcodec.models import CodecModel, load_model
from tests.cli.test_cli import run

OPTIONS = {"plan_steps": 6, "channel": "trellis:8"}


@pytest.fixture(scope="module")
def grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(32, 32, 3), with equal colours."""
    return np.repeat(picture[..., 1:2], 3, axis=2)


def rmse(picture: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.sqrt(np.mean((picture.astype(float) - other) ** 2)))


def test_the_header_says_so_where_all_colours_are_equal(grey: NDArray[np.uint8], tiny_model: CodecModel):
    nearly = grey.copy()
    nearly[3, 4, 2] ^= 1
    for shown, expected in ((grey, True), (grey[..., 0], True), (grey[..., :1], True), (nearly, False)):
        data = ddpmcodec.encode(shown, model=tiny_model, steps=1, **OPTIONS)
        assert ddpmcodec.read_header(data).grey == expected


@pytest.mark.parametrize("name", ["tiny_model", "coloured_model"])
def test_every_step_gives_one_plane_in_three_colours(
    name: str, grey: NDArray[np.uint8], request: pytest.FixtureRequest
):
    model = request.getfixturevalue(name)
    data = ddpmcodec.encode(grey, model=model, **OPTIONS)
    items = list(ddpmcodec.decode_progressive(data, model=model))
    assert len(items) == 6
    for item in items:
        assert item.image.shape == (32, 32, 3)
        assert is_grey(item.image)
    streamed = list(ddpmcodec.decode_stream([data[i : i + 1] for i in range(len(data))], model=model))
    for item, other in zip(items, streamed, strict=True):
        assert np.array_equal(item.image, other.image)
    for way in (sample(3), flow(4)):
        assert is_grey(ddpmcodec.decode(data, 2, model=model, reconstruct=way))


def test_a_batch_of_both_kinds_is_what_each_is_alone(
    grey: NDArray[np.uint8], picture: NDArray[np.uint8], tiny_model: CodecModel
):
    shown = [grey, picture, 255 - grey, picture[::-1]]
    alone = [ddpmcodec.encode(p, model=tiny_model, **OPTIONS) for p in shown]
    assert ddpmcodec.encode_batch(shown, model=tiny_model, **OPTIONS) == alone
    for steps in (None, 2):
        together = ddpmcodec.decode_batch(alone, steps, model=tiny_model)
        assert [is_grey(p) for p in together] == [True, False, True, False]
        for found, data in zip(together, alone, strict=True):
            assert np.array_equal(found, ddpmcodec.decode(data, steps, model=tiny_model))


def test_streams_of_both_kinds_and_other_lengths_decode_together(
    grey: NDArray[np.uint8], picture: NDArray[np.uint8], tiny_model: CodecModel
):
    datas = [
        ddpmcodec.encode(p, model=tiny_model, steps=n, **OPTIONS)
        for p, n in ((grey, 2), (picture, 5), (grey, 4), (picture, 1))
    ]
    for found, data in zip(ddpmcodec.decode_batch(datas, model=tiny_model), datas, strict=True):
        assert np.array_equal(found, ddpmcodec.decode(data, model=tiny_model))


def test_grey_pictures_of_an_archive_are_what_they_are_alone(
    grey: NDArray[np.uint8], picture: NDArray[np.uint8], tiny_model: CodecModel
):
    of_grey = ddpmcodec.encode_archive([grey, 255 - grey], model=tiny_model, batch=1, **OPTIONS)
    assert ddpmcodec.read_archive(of_grey).header.grey
    assert all(is_grey(item.image) for item in ddpmcodec.decode_archive(of_grey, model=tiny_model))
    mixed = [picture, grey, picture[::-1], 255 - grey, grey[::-1]]
    for batch in (1, 3, 64):
        data = ddpmcodec.encode_archive(mixed, model=tiny_model, batch=batch, **OPTIONS)
        archive = ddpmcodec.read_archive(data)
        alone = [ddpmcodec.encode(p, model=tiny_model, **OPTIONS) for p in mixed]
        assert [archive.stream(i) for i in range(5)] == alone
        found = [item.image for item in ddpmcodec.decode_archive(data, model=tiny_model, batch=2)]
        assert [is_grey(p) for p in found] == [False, True, False, True, True]


def test_the_program_makes_an_archive_of_both_kinds(
    tmp_path: Path, grey: NDArray[np.uint8], picture: NDArray[np.uint8]
):
    for i, shown in enumerate((grey, picture, grey[::-1])):
        Image.fromarray(shown[:8, :8]).save(tmp_path / f"{i}.png")
    names = [tmp_path / f"{i}.png" for i in range(3)]
    done = run("encode", *names, "-o", tmp_path / "a.bin", "--plan-steps", 6, "--json")
    assert done.exit_code == 0, done.output
    assert run("decode", tmp_path / "a.bin", "-o", tmp_path / "out").exit_code == 0
    decoded = [Image.open(path) for path in sorted((tmp_path / "out").iterdir())]
    assert [shown.mode for shown in decoded] == ["L", "RGB", "L"]
    shown = [np.asarray(Image.open(name), float) for name in names]
    errors = [np.asarray(image.convert("RGB")) - source for image, source in zip(decoded, shown, strict=True)]
    assert json.loads(done.stdout)["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=0.1)


@pytest.mark.parametrize("size", [(32, 32), (5, 7), (1, 1), (33, 20)])
def test_lossless_grey_is_exact_and_shorter(size: tuple[int, int], grey: NDArray[np.uint8], tiny_model: CodecModel):
    shown = np.resize(grey[..., 0], size)[..., None].repeat(3, 2)
    data = ddpmcodec.encode(shown, model=tiny_model, lossless=True, **OPTIONS)
    assert np.array_equal(ddpmcodec.decode(data, model=tiny_model), shown)
    *_, last = ddpmcodec.decode_stream([data[:9], data[9:]], model=tiny_model)
    assert last.exact
    assert np.array_equal(last.image, shown)
    sender = Sender(shown, model=tiny_model, lossless=True, grey=False, **OPTIONS)
    for _ in sender.send():
        pass
    assert len(data) <= len(sender.files()[0])
    if size == (32, 32):
        assert len(data) < 0.6 * len(sender.files()[0])


def test_targets_count_the_grey_picture(grey: NDArray[np.uint8], tiny_model: CodecModel):
    data = ddpmcodec.encode(grey, model=tiny_model, target_rmse=40, **OPTIONS)
    assert rmse(ddpmcodec.decode(data, model=tiny_model), grey) <= 40
    small = ddpmcodec.encode(grey, model=tiny_model, target_bytes=60, **OPTIONS)
    assert 58 <= len(small) <= 60
    assert is_grey(ddpmcodec.decode(small, model=tiny_model))
    assert ddpmcodec.read_header(ddpmcodec.truncate(data, steps=1, model=tiny_model)).grey


def test_grey_takes_fewer_bits_for_the_same_luminance(picture: NDArray[np.uint8]):
    """One picture may have it the other way round by a per cent: a path through the chain is luck, too."""
    model, sizes, errors = load_model("cifar10-small"), {False: 0, True: 0}, {False: 0.0, True: 0.0}
    greys = [np.repeat(plane[..., None], 3, axis=2) for c in range(3) for plane in (picture[..., c], picture[..., c].T)]
    for kind in (False, True):
        sender = Sender(*greys, model=model, plan_steps=12, grey=kind)
        for _ in sender.send():
            pass
        for data, shown in zip(sender.files(), greys, strict=True):
            luma = np.rint(ddpmcodec.decode(data, model=model).mean(axis=2)).astype(np.uint8)
            sizes[kind] += len(data)
            errors[kind] += rmse(luma, shown[..., 0]) / len(greys)
    assert sizes[True] < 0.99 * sizes[False]
    assert errors[True] < errors[False] + 0.05


def test_the_program_writes_a_grey_png(tmp_path: Path, grey: NDArray[np.uint8]):
    Image.fromarray(grey[..., 0]).save(tmp_path / "in.png")
    assert run("encode", tmp_path / "in.png", "-o", tmp_path / "a.bin", "--target-bytes", 60).exit_code == 0
    assert run("decode", tmp_path / "a.bin", "-o", tmp_path / "out.png").exit_code == 0
    assert Image.open(tmp_path / "out.png").mode == "L"
    assert "grey True" in " ".join(run("info", tmp_path / "a.bin").stdout.split())
    assert run("encode", tmp_path / "in.png", "--lossless", "-o", tmp_path / "b.bin").exit_code == 0
    assert run("decode", tmp_path / "b.bin", "-o", tmp_path / "b.png").exit_code == 0
    shown = Image.open(tmp_path / "b.png")
    assert shown.mode == "L"
    assert np.array_equal(np.asarray(shown), grey[..., 0])
