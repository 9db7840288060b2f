"""`model=` takes a name or a path, and gives the model that is there now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.models import CodecModel, UNet, UNetConfig, save_model
from ddpmcodec.models.cache import as_model

TINY = UNetConfig(channels=(8, 16), groups=4, heads=2, embedding=16, frequencies=4, window=8)


def save(path: Path, curve: ErrorCurve, name: str) -> str:
    return save_model(path, UNet(TINY), curve, name)


def test_a_model_is_loaded_once(tmp_path: Path, curve: ErrorCurve):
    save(tmp_path / "a.safetensors", curve, "a")
    assert as_model(tmp_path / "a.safetensors") is as_model(str(tmp_path / "a.safetensors"))
    assert as_model() is as_model("cifar10-small")


def test_a_model_s_own_self_is_taken_as_it_is(tiny_model: CodecModel):
    assert as_model(tiny_model) is tiny_model


@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_was_overwritten_is_loaded_again(tmp_path: Path, curve: ErrorCurve, in_place: bool):
    path = tmp_path / "model.safetensors"
    save(path, curve, "before")
    assert as_model(path).name == "before"
    if in_place:
        save(tmp_path / "other.safetensors", curve, "later!")
        path.write_bytes((tmp_path / "other.safetensors").read_bytes())
        os.utime(path, ns=(1, 1))  # as on a disk whose clock is coarse, or after a copy that keeps times
    else:
        save(path, curve, "later!")
    assert as_model(path).name == "later!"


def test_a_file_of_the_same_size_and_time_is_loaded_again(tmp_path: Path, curve: ErrorCurve):
    path = tmp_path / "model.safetensors"
    save(path, curve, "before")
    before = path.stat()
    assert as_model(path).name == "before"
    save(tmp_path / "other.safetensors", curve, "after!")
    assert (tmp_path / "other.safetensors").stat().st_size == before.st_size
    path.write_bytes((tmp_path / "other.safetensors").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` from trees with normalised times
    assert as_model(path).name == "after!"


def test_a_relative_path_is_that_of_the_current_directory(
    tmp_path: Path, curve: ErrorCurve, monkeypatch: pytest.MonkeyPatch
):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "model.safetensors", curve, name)
        monkeypatch.chdir(tmp_path / name)
        assert as_model("model.safetensors").name == name
