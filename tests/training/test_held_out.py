"""Pictures kept from training, and the bound on them."""

from __future__ import annotations

import math
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.training import HeldOut, training_images
from ddpmcodec.training.held_out import is_held_out, level_errors

CPU = torch.device("cpu")


def pictures(count: int, side: int = 16) -> NDArray[np.uint8]:
    """(count, side, side, 3) of plain colours."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), np.uint8)
    return np.broadcast_to(colours, (count, side, side, 3)).copy()


def says_nothing(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """ε̂ = 0, whose ε-MSE is 1 at every level."""
    return torch.zeros_like(x_t)


def test_about_one_in_sixteen_by_name_alone():
    names = [f"picture-{i}.png" for i in range(3000)]
    held = [name for name in names if is_held_out(name)]
    assert 3000 / 16 * 0.8 < len(held) < 3000 / 16 * 1.2
    assert [name for name in names if is_held_out(name)] == held
    assert 3000 / 256 * 0.5 < sum(is_held_out(name, 256) for name in names) < 3000 / 256 * 2
    assert all(is_held_out(name) for name in names if is_held_out(name, 256))


def test_the_bound_of_a_network_that_says_nothing():
    held_out = HeldOut.of(pictures(3), 8, -4.0, 8.0)
    assert held_out is not None
    assert held_out.bound(says_nothing, CPU) == pytest.approx(12 / 2 / math.log(2), rel=0.05)


def test_at_most_64_middles_evenly_taken():
    images = [np.full((9 + i % 3, 12, 3), i, np.uint8) for i in range(130)]
    held_out = HeldOut.of(images, 9, 0.0, 1.0)
    assert held_out is not None
    assert held_out.crops.shape == (64, 9, 9, 3)
    assert list(held_out.crops[:3, 0, 0, 0]) == [0, 2, 4]
    assert HeldOut.of(images, 11, 0.0, 1.0).crops.shape[0] == 43  # type: ignore[union-attr]
    assert HeldOut.of(images, 13, 0.0, 1.0) is None


def test_errors_through_a_smaller_picture():
    """A network that knows plain colours' x_0 exactly has no error at any size; one that says nothing has that
    of x_t.
    """
    images = pictures(2)
    x_0 = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    def knows(x_t: Tensor, log_snr: Tensor) -> Tensor:
        small = x_0[:, :, : x_t.shape[2], : x_t.shape[3]]
        signal, noise = (torch.sigmoid(v * log_snr).sqrt()[:, None, None, None] for v in (1, -1))
        return (x_t - signal * small) / noise

    for factor in (1, 2, 4):
        assert level_errors(knows, images, np.array([-2.0, 3.0]), CPU, factor).max() < 1e-5
    # ε̂ = 0 at 1/k of the size: what is left of the noise after averaging k² pixels (x̂_0 isn't clipped at this level)
    grey = np.full((4, 16, 16, 3), 128, np.uint8)
    whole, half = (level_errors(says_nothing, grey, np.array([6.0]), CPU, k)[0] for k in (1, 2))
    assert whole == pytest.approx(1, rel=0.1)
    assert half < 0.4 * whole  # a quarter, less what enlarging smooths


class TestSources:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir()
        for i, picture in enumerate(pictures(40)):
            Image.fromarray(picture[: 8 + i % 5]).save(folder / f"{i}.png")
        return folder

    def test_a_folder_is_divided(self, folder: Path):
        whole = training_images([str(folder)], 8)
        assert (len(whole.training), len(whole.held_out)) == (40, 0)
        parts = training_images([str(folder)], 8, hold_out=True)
        expected = sum(is_held_out(f"{i}.png") for i in range(40))
        assert expected > 0
        assert (len(parts.training), len(parts.held_out)) == (40 - expected, expected)

    def test_archives_hold_the_same_pictures(self, folder: Path, tmp_path: Path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped, tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tarred:
            for file in sorted(folder.iterdir()):
                zipped.write(file, f"deep/{file.name}")
                tarred.add(file, f"deep/{file.name}")
            zipped.writestr("deep/README.txt", "no picture")
        expected = training_images([str(folder)], 8, hold_out=True)
        for name in ("a.zip", "a.tar.gz"):
            found = training_images([str(tmp_path / name)], 8, hold_out=True)
            for a, b in ((found.training, expected.training), (found.held_out, expected.held_out)):
                assert len(a) == len(b)
                assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))

    def test_several_sources(self, folder: Path, tmp_path: Path):
        Image.fromarray(pictures(1, 32)[0]).save(tmp_path / "mosaic.png")
        found = training_images([str(folder), str(tmp_path / "mosaic.png")], 8)
        assert len(found.training) == 40 + 16

    @pytest.mark.parametrize(("name", "words"), [("a.zip", "a.zip"), ("b.zip", "no picture"), ("c.zip", r"x\.png")])
    def test_bad_archives(self, tmp_path: Path, name: str, words: str):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("x.png", b"no picture" * 100)
        data = bytearray((tmp_path / "a.zip").read_bytes())
        data[60] ^= 255
        (tmp_path / "a.zip").write_bytes(data)
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr("x.txt", b"")
        with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
            archive.writestr("x.png", b"no picture")
        with pytest.raises(DdpmCodecError, match=words):
            training_images([str(tmp_path / name)], 8)
