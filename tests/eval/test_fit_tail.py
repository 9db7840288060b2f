"""`python -m ddpmcodec.eval.studies.fit_tail`, in small: what it makes is a tail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.eval.studies import fit_tail
from ddpmcodec.lossless import distribution, network
from ddpmcodec.models import CodecModel
from ddpmcodec.training.held_out import is_held_out


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Weights fitted to a few tiles and photographs, in the package's place."""
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (64, 160, 3), np.uint8)).save(tmp_path / "tiles.png")
    photos = tmp_path / "photos"
    photos.mkdir()
    names = [f"{i}.png" for i in range(400)]
    held = next(n for n in names if is_held_out(n))
    for name in (held, *[n for n in names if not is_held_out(n)][:2]):
        Image.fromarray(random.integers(0, 256, (70, 64, 3), np.uint8)).save(photos / name)
    path = tmp_path / "weights.npz"
    data = [f"cifar10-small={tmp_path / 'tiles.png'}", f"photo-small={photos}"]
    fit_tail.main(["--data", *data, "--tiles", "8", "--crops", "1", "--epochs", "0.1", "-o", str(path)])
    caches = network.layers, distribution.tables
    for module in (network, distribution):
        monkeypatch.setattr(module, "WEIGHTS", path)
    for cache in caches:
        cache.cache_clear()
    yield path
    for cache in caches:
        cache.cache_clear()


def test_whole_numbers_of_the_package_s_shapes(weights: Path, monkeypatch: pytest.MonkeyPatch):
    shipped = Path(network.__file__).with_name("weights.npz")
    with np.load(weights) as made, np.load(shipped) as expected:
        assert {k: v.shape for k, v in made.items()} == {k: v.shape for k, v in expected.items()}
        assert all(v.dtype.kind == "i" for v in made.values())


def test_pictures_come_back_by_it(weights: Path, model: CodecModel, picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(picture, model=model, plan_steps=8, lossless=True)
    assert np.array_equal(ddpmcodec.decode(data, model=model), picture)


def test_what_is_checked_on_is_held_out(weights: Path, capsys: pytest.CaptureFixture[str]):
    photos = [weights.parent / "photos"]
    chosen = fit_tail.choose("photo-small", photos, 8, 2, 0)
    assert (len(chosen.train), len(chosen.check)) == (4, 2)
    assert chosen.train.shape[1:] == (fit_tail.CROP, fit_tail.CROP, 3)
