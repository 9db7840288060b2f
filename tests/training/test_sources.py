"""Strangers' training data: what can't be used is named, and left out only where that is asked for; other data is
noticed.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.training import TrainingImages, training_images
from tests.cli.test_cli import assert_refused, run

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them without a suffix, and what is none."""
    path = tmp_path / "data"
    path.mkdir()
    Image.fromarray(PICTURES[0]).save(path / "a.png")
    Image.fromarray(PICTURES[1]).save(path / "b", "JPEG")
    (path / "LICENSE").write_text("\nwords")
    (path / ".hidden").write_bytes((path / "a.png").read_bytes())
    return path


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as zipped:
        for file in sorted(folder.iterdir()):
            zipped.write(file, f"deep/{file.name}")
    return tmp_path / "data.zip"


def test_pictures_without_a_suffix_count(folder: Path, archive: Path):
    for source in (folder, archive):
        found = training_images([str(source)], 16).training
        assert [p.shape for p in found] == [(20, 24, 3)] * 2
        np.testing.assert_array_equal(found[0], PICTURES[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [("broken.png", "not a picture"), ("deep.png", "16 bits"), ("small.png", "24x10: expected at least")],
)
def test_what_can_t_be_used_is_named_and_left_out_only_if_asked(folder: Path, tmp_path: Path, name: str, words: str):
    bad = {
        "broken.png": lambda path: path.write_bytes(b"no picture"),
        "deep.png": lambda path: Image.fromarray(PICTURES[0, :, :, 0].astype(np.uint16)).save(path),
        "small.png": lambda path: Image.fromarray(PICTURES[0, :10]).save(path),
    }
    bad[name](folder / name)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as zipped:
        for file in sorted(folder.iterdir()):
            zipped.write(file, file.name)
    for source in (folder, tmp_path / "data.zip"):
        with pytest.raises(DdpmCodecError, match=words) as caught:
            training_images([str(source)], 16)
        assert str(source) in str(caught.value)
        assert name in str(caught.value)
        said = list[str]()
        assert len(training_images([str(source)], 16, skip=said.append).training) == 2
        (why,) = said
        assert name in why


def test_a_digest_tells_pictures_apart_and_not_their_names():
    def digest(pictures: list[np.ndarray]) -> str:
        return TrainingImages(pictures, 16, 0).digest

    whole = digest(list(PICTURES))
    assert digest([p.copy() for p in PICTURES]) == whole == TrainingImages(PICTURES, 16, 1).digest
    changed = PICTURES.copy()
    changed[2] = 255 - changed[2]
    for other in (list(PICTURES[::-1]), list(changed), [p[:-1] for p in PICTURES], list(PICTURES[:3])):
        assert digest(other) != whole


def test_a_run_goes_on_with_its_own_pictures_only(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ddpmcodec.models import UNetConfig
    from ddpmcodec.training import Preset, Recipe
    from ddpmcodec.training import recipe as recipes
    from ddpmcodec.training.report import Reporter

    tiny = UNetConfig(channels=(8,), groups=4, heads=2, embedding=8, frequencies=4, window=16)
    monkeypatch.setattr(recipes, "presets", lambda: {"cifar10-small": Preset(tiny, Recipe(batch=4, warmup=2))})
    monkeypatch.setattr("ddpmcodec.training.report.plot_losses", lambda directory: None)
    monkeypatch.setattr(Reporter, "_save_samples", lambda self: None)
    train = ("train", "-o", tmp_path / "run", "--data", folder, "--all", "-q")
    (folder / "c.png").write_bytes(b"no picture")
    assert_refused(run(*train, "--steps", 1), "c.png")
    first = run(*train, "--steps", 1, "--skip-unusable")
    assert first.exit_code == 0, first.output
    assert "left out: " in first.stderr
    assert "c.png" in first.stderr
    (folder / "c.png").unlink()
    assert run(*train, "--steps", 2, "--resume").exit_code == 0
    Image.fromarray(PICTURES[3]).save(folder / "a.png")
    assert_refused(run(*train, "--steps", 3, "--resume"), "other pictures", "--data")
