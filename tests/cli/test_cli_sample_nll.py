from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.models import UNet, UNetConfig, save_model
from tests.cli.test_cli import assert_refused, names, run
from tests.models.test_diffusers_adapter import saved, unet_of

WINDOW = 8


@pytest.fixture
def folder(tmp_path: Path, curve: ErrorCurve, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a tiny untrained model with and without an error curve, and pictures."""
    config = UNetConfig(
        channels=(8,), blocks=1, attention_levels=(), heads=1, groups=4, embedding=8, frequencies=4, window=WINDOW
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(config).eval()
    save_model(tmp_path / "tiny.safetensors", network, curve, "tiny")
    save_model(tmp_path / "bare.safetensors", network, None, "bare")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    for name, picture in zip("abc", pixels, strict=True):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{name}.png")
    Image.fromarray(pixels[0, :, :7]).save(tmp_path / "narrow.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


CHAIN = ["--timesteps", "21"]


def grid(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("model", ["tiny.safetensors", "bare.safetensors"])
def test_a_grid_of_samples(folder: Path, model: str):
    before = names(folder)
    result = run("sample", model, "-o", "grid.png", "--count", 5, *CHAIN)
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == b""
    assert "5 pictures of 8x8, 21 network calls each" in result.stderr
    assert names(folder) == sorted([*before, "grid.png"])
    pictures = grid("grid.png")
    assert pictures.shape == (2 * 8 + 2, 3 * 8 + 2 * 2, 3)
    assert (pictures[10:, 20:] == 255).all()  # the sixth place is empty


def test_the_seed_decides_the_pictures(folder: Path):
    def drawn(*options: object) -> np.ndarray:
        assert run("sample", "tiny.safetensors", "-o", "grid.png", "-q", "--count", 2, *CHAIN, *options).exit_code == 0
        return grid("grid.png")

    first = drawn("--seed", 7)
    np.testing.assert_array_equal(drawn("--seed", 7), first)
    assert not np.array_equal(drawn("--seed", 8), first)
    assert not np.array_equal(drawn("--seed", 7, "--variance", "beta"), first)
    np.testing.assert_array_equal(drawn("--seed", 7, "--variance", "beta-tilde"), first)
    assert not np.array_equal(drawn("--seed", 7, "--schedule", "cosine"), first)
    # DDIM with all its noise is ancestral sampling, up to rounding.
    every = drawn("--seed", 7, "--ddim-steps", 21, "--eta", 1)
    assert np.abs(every.astype(int) - first).max() <= 1


def test_size_is_width_by_height_and_stdout_takes_a_png(folder: Path):
    result = run("sample", "tiny.safetensors", "-o", "-", "--count", 1, "--size", "13x9", "--ddim-steps", 2, "-q")
    assert result.exit_code == 0
    assert Image.open(io.BytesIO(result.stdout_bytes)).size == (13, 9)
    assert result.stderr == ""


def test_an_interpolation_is_one_row(folder: Path):
    arguments = ["--interpolate", "pictures/a.png", "pictures/b.png", "--at-timestep", 1, "--count", 4]
    result = run("sample", "tiny.safetensors", "-o", "way.png", *arguments)
    assert result.exit_code == 0, result.output
    assert "1 network calls" in result.stderr
    way = grid("way.png")
    assert way.shape == (8, 4 * 12 + 3 * 2, 3)
    # At t = 1 there is hardly any noise: the ends are the pictures.
    for end, name in ((way[:, :12], "a"), (way[:, -12:], "b")):
        assert np.abs(end.astype(int) - grid(f"pictures/{name}.png")).mean() < 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonesuch"], "nonesuch"),
        (["tiny.safetensors", "-o", "nowhere/grid.png"], "does not exist"),
        (["tiny.safetensors", "-o", "grid.xyz"], ".xyz"),
        (["tiny.safetensors", "--count", "0"], "0 samples"),
        (["tiny.safetensors", "--size", "7x9"], "8x8"),
        (["tiny.safetensors", "--size", "9"], "WIDTHxHEIGHT"),
        (["tiny.safetensors", "--timesteps", "20"], "at least 21"),
        (["tiny.safetensors", "--timesteps", "1", "--schedule", "cosine"], "at least 2"),
        (["tiny.safetensors", "--schedule", "square"], "linear or cosine"),
        (["tiny.safetensors", "--variance", "gamma"], "beta-tilde"),
        (["tiny.safetensors", "--variance", "beta", "--ddim-steps", "5"], "--eta"),
        (["tiny.safetensors", "--eta", "0.5"], "--ddim-steps"),
        (["tiny.safetensors", "--eta", "2", "--ddim-steps", "5"], "eta 2"),
        (["tiny.safetensors", "--ddim-steps", "0"], "1 to 1000"),
        (["tiny.safetensors", "--ddim-steps", "1001"], "1 to 1000"),
        (["tiny.safetensors", "--seed", "-1"], "seed"),
        (["tiny.safetensors", "--device", "toaster"], "toaster"),
        (["tiny.safetensors", "--interpolate", "missing.png", "narrow.png"], "No such file"),
        (["tiny.safetensors", "--interpolate", "pictures/a.png", "narrow.png"], "one size"),
        (["tiny.safetensors", "--interpolate", "narrow.png", "narrow.png"], "8x8"),
        (["tiny.safetensors", "--interpolate", "pictures/a.png", "pictures/b.png", "--at-timestep", "0"], "1 to 1000"),
        (["tiny.safetensors", "--interpolate", "pictures/a.png", "pictures/b.png", "--count", "1"], "at least 2"),
        (["tiny.safetensors", "--interpolate", "pictures/a.png", "pictures/b.png", "--size", "9x9"], "--size"),
    ],
)
def test_sample_refuses(folder: Path, arguments: list[str], word: str):
    before = names(folder)
    output = [] if "-o" in arguments else ["-o", "grid.png"]
    assert_refused(run("sample", *arguments, *output, "-q"), word)
    assert names(folder) == before


def test_nll_reports_the_bound(folder: Path):
    arguments = ["nll", "tiny.safetensors", "--data", "pictures", *CHAIN]
    result = run(*arguments, "--json", "-o", "nll.json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    values = json.loads(result.stdout)
    assert values == json.loads((folder / "nll.json").read_text())
    assert (values["model"], values["images"], values["timesteps"]) == ("tiny", 3, 21)
    assert list(values["bits_per_dim"]) == ["beta", "beta-tilde", "analytic"]
    for parts in values["bits_per_dim"].values():
        assert parts["total"]["mean"] == pytest.approx(sum(parts[p]["mean"] for p in ("L_T", "chain", "decoder")))
        assert parts["total"]["error"] > 0
    assert [p["reverse_time"] for p in values["points"]] == [21 * i // 10 for i in range(10, 0, -1)]
    assert len(values["by_timestep"]["terms"]["analytic"]) == len(values["by_timestep"]["mse"]) == 21
    table = run(*arguments)
    assert table.exit_code == 0
    for name, parts in values["bits_per_dim"].items():
        assert f"rate, {name}" in table.stdout
        assert f"{parts['total']['mean']:.4f}" in table.stdout
    assert f"{values['points'][0]['root_mse']:.3f}" in table.stdout
    assert max(len(line) for line in table.stdout.splitlines()) <= 100
    assert run(*arguments, "-q").stdout == ""


def test_nll_of_one_picture_and_of_a_model_without_a_curve(folder: Path):
    result = run(
        "nll", "bare.safetensors", "--data", "pictures", "--limit", 1, *CHAIN, "--schedule", "cosine", "--json"
    )
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["images"] == 1
    assert list(values["bits_per_dim"]) == ["beta", "beta-tilde"]
    assert values["bits_per_dim"]["beta"]["total"]["error"] is None
    assert run("nll", "bare.safetensors", "--data", "pictures", "--limit", 1, *CHAIN).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--data", "missing"], "missing not found"),
        (["--data", "narrow.png"], "mosaic of 8x8"),
        (["--data", "pictures", "--limit", "0"], "limit of 0"),
        (["--data", "pictures", "--batch", "0"], "batches of 0"),
        (["--data", "pictures", "--seed", "-1"], "seed"),
        (["--data", "pictures", "--timesteps", "5"], "at least 21"),
        (["--data", "pictures", "-o", "nowhere/nll.json"], "does not exist"),
        (["--data", "pictures", "-o", "-"], "--json"),
    ],
)
def test_nll_refuses(folder: Path, arguments: list[str], word: str):
    before = names(folder)
    output = [] if "-o" in arguments else ["-o", "nll.json"]
    assert_refused(run("nll", "tiny.safetensors", *arguments, *output), word)
    assert names(folder) == before


def test_a_training_runs_directory_is_a_model(folder: Path):
    (folder / "run").mkdir()
    (folder / "bare.safetensors").rename(folder / "run" / "model.safetensors")
    result = run("sample", "run", "-o", "grid.png", "--count", 1, *CHAIN)
    assert result.exit_code == 0, result.output
    done = run("nll", "run", "--data", "pictures", "--json", *CHAIN)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["fingerprint"] is None


def test_a_diffusers_folder_is_a_model_and_brings_its_own_chain(tmp_path: Path):
    diffusers = pytest.importorskip("diffusers")
    saved(tmp_path / "theirs", unet_of(diffusers), diffusers.DDPMScheduler(num_train_timesteps=30))
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(tmp_path / "tiles.png")
    drawn = run("sample", tmp_path / "theirs", "-o", tmp_path / "grid.png", "--count", 1)
    assert "30 network calls" in drawn.stderr, drawn.output
    done = run("nll", tmp_path / "theirs", "--data", tmp_path / "tiles.png", "--json")
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert (values["timesteps"], values["schedule"]) == (30, "the model's own")
    other = run("nll", tmp_path / "theirs", "--data", tmp_path / "tiles.png", "--json", "--schedule", "cosine", *CHAIN)
    assert json.loads(other.stdout)["timesteps"] == 21
