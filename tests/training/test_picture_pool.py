from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.errors import DdpmCodecError, TrainingError
from ddpmcodec.io.datasets import named_pictures
from ddpmcodec.training import TrainingImages, training_images
from ddpmcodec.training.picture_pool import PicturePool
from tests.conftest import no_file_beyond

SIZES = [(9, 12), (8, 8), (40, 30), (8, 100)]
BYTES = sum(3 * h * w for h, w in SIZES)


def pictures() -> Iterator[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    for height, width in SIZES:
        yield random.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("in_memory", [BYTES, BYTES - 1, 300, 1], ids=["all", "all but a byte", "few", "none"])
def test_pictures_come_back(in_memory: int):
    pool, expected = PicturePool(pictures(), in_memory), list(pictures())
    assert len(pool) == 4
    for found in (list(pool), pool[:], [pool[i - 4] for i in range(4)]):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(pool[::-3][1], expected[0])
    with pytest.raises(IndexError):
        pool[4]
    with pytest.raises(ValueError, match="read-only"):
        pool[0][0, 0, 0] = 1


def test_a_turned_picture_is_its_pixels():
    turned = next(pictures()).swapaxes(0, 1)
    np.testing.assert_array_equal(PicturePool([turned])[0], turned)


def test_batches_do_not_depend_on_where_the_pictures_are():
    sources = list(pictures()), PicturePool(pictures()), PicturePool(pictures(), in_memory=1)
    batches = [TrainingImages(source, 8, 3).batch(5, 20) for source in sources]
    assert np.array_equal(batches[0], batches[1])
    assert np.array_equal(batches[0], batches[2])
    with pytest.raises(TrainingError, match="image 0 is 9x12x3"):
        TrainingImages(PicturePool(pictures()), 10, 3)


def test_no_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with no_file_beyond(1000), pytest.raises(TrainingError, match=r"3 pictures are 4116 bytes .*: set TMPDIR"):
        PicturePool(pictures(), 1)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(TrainingError, match=r"gone \(No such file"):
        PicturePool(pictures(), 1)


def test_a_folder_is_read_one_by_one(tmp_path: Path):
    for i, picture in enumerate(pictures()):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    source = training_images([str(tmp_path)], 8).training
    assert [p.shape[:2] for p in source] == SIZES
    (tmp_path / "1.png").write_bytes(b"no picture")
    reading = named_pictures(tmp_path)
    np.testing.assert_array_equal(next(reading)[1], next(pictures()))
    with pytest.raises(DdpmCodecError, match=r"1\.png"):
        next(reading)
