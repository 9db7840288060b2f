from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.eval.data import load_tiles as load_tiles_of_eval
from ddpmcodec.io.datasets import load_cifar10, load_images, load_tiles, named_pictures, source_of
from ddpmcodec.io.places import Remote

TILES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """TILES as a mosaic of two rows of three."""
    path = tmp_path / "mosaic.png"
    Image.fromarray(TILES.reshape(2, 3, 8, 8, 3).swapaxes(1, 2).reshape(16, 24, 3)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.png (11x10) before c.bmp (8x8) by name, and what is no picture."""
    path = tmp_path / "folder"
    (path / "deeper.png").mkdir(parents=True)
    Image.fromarray(np.pad(TILES[0], ((1, 1), (1, 2), (0, 0)))).save(path / "b.png")
    Image.fromarray(TILES[1]).save(path / "c.bmp")
    (path / "labels.txt").write_text("cat, dog")
    (path / "._b.png").write_text("what a Mac leaves behind")
    return path


def test_a_mosaic_is_cut_row_by_row(mosaic: Path):
    np.testing.assert_array_equal(load_images(mosaic, 8), TILES)
    np.testing.assert_array_equal(load_images(str(mosaic), 8, limit=4), TILES[:4])
    np.testing.assert_array_equal(load_tiles_of_eval(mosaic, 2, 8), load_tiles(mosaic, 2, 8))


def test_a_folder_gives_its_pictures_by_name_and_their_middles(folder: Path):
    found = [(file.name, picture.shape) for file, picture in named_pictures(folder)]
    assert found == [("b.png", (10, 11, 3)), ("c.bmp", (8, 8, 3))]
    assert len(list(named_pictures(folder, limit=1))) == 1
    np.testing.assert_array_equal(load_images(folder, 8), TILES[:2])
    np.testing.assert_array_equal(load_images(folder, 8, limit=1), TILES[:1])


def test_transparent_pixels_become_white(tmp_path: Path):
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_images(tmp_path, 8) == 255).all()


def test_bad_pictures_are_refused_by_name(folder: Path, mosaic: Path, tmp_path: Path):
    with pytest.raises(DdpmCodecError, match=r"24x16: expected a mosaic of 7x7 tiles"):
        load_images(mosaic, 7)
    with pytest.raises(DdpmCodecError, match=r"c\.bmp is 8x8: expected at least 9x9"):
        load_images(folder, 9)
    with pytest.raises(DdpmCodecError, match="limit of 0"):
        load_images(folder, 8, limit=0)
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(DdpmCodecError, match=r"a\.png: .*not a picture"):
        load_images(folder, 8)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(DdpmCodecError, match="holds no picture"):
        load_images(tmp_path / "empty", 8)
    with pytest.raises(DdpmCodecError, match="not found: expected a folder"):
        next(named_pictures(tmp_path / "nowhere"))
    with pytest.raises(DdpmCodecError, match="cifar10-test"):
        load_images(tmp_path / "nowhere", 8)


def test_an_unreadable_file_is_named(mosaic: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DdpmCodecError, match=r"can't read .*mosaic\.png: Permission denied"):
        load_images(mosaic, 8)


def stand_in(monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None) -> list[tuple[str, bool]]:
    """Puts a torchvision in place whose CIFAR-10 has six pictures, red ones to train; returns its calls."""
    calls = []

    def cifar10(root: str, train: bool, download: bool) -> SimpleNamespace:
        assert download
        sys.stdout.write("Files already downloaded and verified\n")
        calls.append((root, train))
        if failure is not None:
            raise failure
        return SimpleNamespace(data=np.full((6, 32, 32, 3), (255 * train, 0, 0), np.uint8))

    datasets = ModuleType("torchvision.datasets")
    datasets.CIFAR10 = cifar10  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    return calls


@pytest.mark.parametrize(("name", "red"), [("cifar10", 255), ("cifar10-train", 255), ("cifar10-test", 0)])
def test_cifar10_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys, name: str, red: int):
    calls = stand_in(monkeypatch)
    monkeypatch.setenv("DDPMCODEC_DATA", str(tmp_path / "new" / "place"))
    images: NDArray[np.uint8] = load_images(Path(name), 32, limit=5)
    assert images.shape == (5, 32, 32, 3)
    assert (images[..., 0] == red).all()
    assert calls == [(str(tmp_path / "new" / "place"), red > 0)]
    assert capsys.readouterr().out == ""


def test_cifar10_is_kept_in_the_cache_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    calls = stand_in(monkeypatch)
    monkeypatch.delenv("DDPMCODEC_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    load_cifar10(train=True)
    assert calls == [(str(tmp_path / ".cache" / "ddpmcodec"), True)]


def test_a_folder_of_that_name_comes_first(monkeypatch: pytest.MonkeyPatch, folder: Path):
    monkeypatch.chdir(folder.parent)
    folder.rename("cifar10")
    np.testing.assert_array_equal(load_images("cifar10", 8), TILES[:2])


@pytest.mark.parametrize("failure", [OSError("no route to host"), RuntimeError("File not found or corrupted.\nSorry")])
def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception):
    stand_in(monkeypatch, failure)
    monkeypatch.setenv("DDPMCODEC_DATA", str(tmp_path))
    with pytest.raises(DdpmCodecError, match=r"(no route|corrupted\.).*try again"):
        load_images("cifar10", 32)


def test_cifar10_without_torchvision_or_of_another_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DdpmCodecError, match=r"ddpmcodec\[cifar10\]"):
        load_images("cifar10-test", 32)
    with pytest.raises(DdpmCodecError, match="32x32"):
        load_images("cifar10-test", 64)


def test_frames_of_a_training_picture_are_advised_on_without_options_that_training_lacks(tmp_path: Path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"moving\.gif: the file holds 2 frames.*files of their own") as caught:
        list(named_pictures(tmp_path))
    assert "--frame" not in str(caught.value)


def test_a_source_that_can_t_be_asked_for_is_named(monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Remote) -> bool:
        raise PermissionError(13, "Access denied", self.url)

    monkeypatch.setattr(Remote, "exists", refuse)
    with pytest.raises(DdpmCodecError, match="can't read memory://photos: Access denied"):
        source_of("memory://photos")


def test_folders_and_locked_files_without_a_suffix_are_no_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch):
    expected = len(load_images(str(folder), 8, None))
    (folder / "inside").mkdir()
    (folder / "locked").write_bytes((folder / "b.png").read_bytes())
    real = Path.open

    def opened(self: Path, *given: Any, **options: Any) -> Any:
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(self, *given, **options)

    monkeypatch.setattr(Path, "open", opened)
    assert len(load_images(str(folder), 8, None)) == expected
