"""A decoder finds its model by the fingerprint in the file; where it can't, it says where it looked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError, UnknownModelError
from ddpmcodec.models import UNet, UNetConfig, load_model, read_model_info, save_model
from ddpmcodec.models.library import add_model, find_kept, known_models, model_of, remove_model
from ddpmcodec.models.places import EMBEDDED, file_name, find_model, folders
from tests.cli.test_cli import assert_refused, run

TINY = UNetConfig(channels=(8,), groups=4, heads=2, embedding=8, frequencies=4, window=16)


def made(path: Path, curve: ErrorCurve | None, name: str, seed: int = 0) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return save_model(path, UNet(TINY), curve, name)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folders of models that a variable names, and the user's own; none is there yet."""
    named = [tmp_path / "one", tmp_path / "two"]
    monkeypatch.setenv("DDPMCODEC_MODELS", ":".join(map(str, named)))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.chdir(tmp_path)
    return [*named, tmp_path / "share" / "ddpmcodec" / "models"]


@pytest.fixture
def stream(kept: list[Path], curve: ErrorCurve, picture: NDArray[np.uint8]) -> Path:
    """A stream of a model that lies where nothing is looked for."""
    made(Path("mine.safetensors"), curve, "mine")
    Path("s.bin").write_bytes(ddpmcodec.encode(picture[:16, :16], model="mine.safetensors", plan_steps=2))
    return Path("s.bin")


def test_the_folders_are_those_of_the_variable_and_the_user_s(kept: list[Path], monkeypatch: pytest.MonkeyPatch):
    assert folders() == kept
    monkeypatch.delenv("DDPMCODEC_MODELS")
    assert folders() == kept[2:]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_command_finds_the_model_in_every_place(stream: Path, kept: list[Path], place: int):
    expected = ddpmcodec.decode(stream.read_bytes(), model="mine.safetensors")
    kept[place].mkdir(parents=True)
    Path("mine.safetensors").rename(kept[place] / "renamed.safetensors")
    assert run("decode", stream, "-o", "out.png", "-q").exit_code == 0
    assert np.array_equal(np.asarray(Image.open("out.png")), expected)
    info = json.loads(run("info", stream, "--json").stdout)
    assert (info["model"], info["steps"]) == ("mine", 2)
    assert json.loads(run("verify", stream, "--json").stdout)[0]["steps"] == [2]
    assert run("truncate", stream, "-o", "short.bin", "--steps", 1, "-q").exit_code == 0
    data = stream.read_bytes()
    assert np.array_equal(ddpmcodec.decode(data), expected)
    assert ddpmcodec.verify(data).model == "mine"
    assert ddpmcodec.truncate(data, steps=1) == Path("short.bin").read_bytes()
    *_, last = ddpmcodec.Receiver(data).receive()
    assert last.n == 2
    assert load_model("renamed").name == "mine"


def test_a_model_that_is_nowhere_is_named_with_every_place(stream: Path, kept: list[Path]):
    mark = read_model_info("mine.safetensors").fingerprint
    for command in (("decode", stream, "-o", "out.png"), ("truncate", stream, "-o", "out.bin", "--steps", 1)):
        refused = run(*command)
        assert_refused(refused, mark[:8])
        said = refused.stderr.replace("\n", "")
        assert all(str(folder) in said for folder in kept)
        assert "come with ddpmcodec" in said
        assert not Path(command[3]).exists()
    info = json.loads(run("info", stream, "--json").stdout)
    assert info["width"] == 16
    assert "unknown" in info["model"]
    checked = run("verify", stream)
    assert checked.exit_code == 0
    assert "check only" in checked.stdout
    with pytest.raises(UnknownModelError, match=mark[:8]):
        ddpmcodec.decode(stream.read_bytes())
    with pytest.raises(UnknownModelError):
        model_of("0" * 8)


def test_what_is_no_codec_is_passed_over(stream: Path, kept: list[Path], curve: ErrorCurve):
    kept[0].mkdir()
    (kept[0] / "a.safetensors").write_bytes(b"weights of another program")
    made(kept[0] / "b.safetensors", None, "untold")
    add_model("mine.safetensors")
    assert {info.name for info in known_models()} == {"cifar10-small", "photo-small", "mine"}
    assert (kept[0] / "mine.safetensors").is_file()  # the first folder is where they go


def test_a_file_that_takes_another_s_place_is_read_anew(kept: list[Path], curve: ErrorCurve):
    kept[0].mkdir()
    before = made(kept[0] / "a.safetensors", curve, "a")
    assert model_of(before[:8]).name == "a"
    after = made(kept[0] / "a.safetensors", curve, "b", seed=1)
    assert model_of(after[:8]).name == "b"
    with pytest.raises(UnknownModelError):
        model_of(before[:8])


def test_a_folder_is_no_codec_yet(tmp_path: Path):
    (tmp_path / "pipeline").mkdir()
    with pytest.raises(ModelError, match=r"is a folder.*ddpmcodec plan .*pipeline --data"):
        find_model(tmp_path / "pipeline")


def test_models_are_added_shown_and_removed(kept: list[Path], curve: ErrorCurve):
    mark = made(Path("mine.safetensors"), curve, "mine")
    made(Path("other.safetensors"), curve, "mine", seed=1)
    made(Path("network.safetensors"), None, "network")
    assert run("models", "add", "mine.safetensors").exit_code == 0
    assert run("models", "add", "mine.safetensors", "-q").exit_code == 0  # it is there
    assert_refused(run("models", "add", "other.safetensors"), "--name")
    assert_refused(run("models", "add", "network.safetensors"), "ddpmcodec plan")
    assert_refused(run("models", "add", "nothing.safetensors"), "not found")
    assert run("models", "add", "other.safetensors", "--name", "other").exit_code == 0
    assert_refused(run("models", "show", "mine"), "give one's fingerprint")
    shown = json.loads(run("models", "show", mark[:8], "--json").stdout)
    assert (shown["name"], shown["fingerprint"], shown["window"]) == ("mine", mark, 16)
    assert mark[:8] in run("models", "list").stdout
    listed = json.loads(run("models", "list", "--json").stdout)
    assert [m["name"] for m in listed["models"]] == ["cifar10-small", "photo-small", "mine", "mine"]
    assert listed["folders"] == [str(folder) for folder in kept]
    assert run("models", "remove", "other").exit_code == 0
    assert_refused(run("models", "remove", "other"), "models list")
    assert_refused(run("models", "remove", "cifar10-small"), "comes with ddpmcodec")
    assert_refused(run("models", "remove", "mine.safetensors"), "none of the folders")
    assert find_kept("mine").path == kept[0] / "mine.safetensors"
    assert run("models", "show", "photo-small").exit_code == 0
    remove_model(mark[:10])
    assert not list(kept[0].iterdir())


def test_plan_puts_a_codec_where_streams_find_it(kept: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ddpmcodec.cli.plan._draw", lambda curve, picture: True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)).save("mosaic.png")
    made(Path("network.safetensors"), None, "a/b name")
    before = Path("network.safetensors").read_bytes()
    done = run("plan", "network.safetensors", "--data", "mosaic.png", "--limit", 2, "--spacing", 1.0, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["model"] == str(kept[0] / "a-b name.safetensors")
    assert Path("network.safetensors").read_bytes() == before
    assert run("encode", "mosaic.png", "-o", "m.bin", "--model", "a-b name", "--plan-steps", 2, "-q").exit_code == 0
    assert run("decode", "m.bin", "-o", "m.png", "-q").exit_code == 0
    again = run("plan", "network.safetensors", "--data", "mosaic.png", "--limit", 2, "--spacing", 1.0, "-q")
    assert_refused(again, "--overwrite")


@pytest.mark.parametrize("name", ["../../etc", "..", "", "a/b", "a\x00b", ".hidden"])
def test_a_name_never_leaves_the_folder(name: str):
    found = file_name(name)
    assert Path(found).name == found
    assert not found.startswith(".")


def test_an_embedded_name_is_embedded(kept: list[Path], curve: ErrorCurve):
    kept[0].mkdir()
    made(kept[0] / "cifar10-small.safetensors", curve, "false")
    assert find_model("cifar10-small").parent == EMBEDDED
    with pytest.raises(ModelError, match="models list"):
        find_model("nonesuch")
