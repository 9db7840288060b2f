from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

import ddpmcodec
from ddpmcodec.cli.app import app
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.models import UNetConfig, save_model

STEPS = 5


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory, picture: NDArray[np.uint8]) -> Path:
    """Four tiles: the astronaut, turned."""
    folder = tmp_path_factory.mktemp("mosaic")
    tiles = [np.rot90(picture, k) for k in range(4)]
    Image.fromarray(np.concatenate(tiles, axis=1)).save(folder / "tiles.png")
    (folder / "tiles.names.txt").write_text("".join(f"astronaut/{k}.png\n" for k in range(4)))
    return folder / "tiles.png"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, curve: ErrorCurve) -> Path:
    """A model file whose network is small, and untrained: nothing here depends on what it predicts."""
    torch.manual_seed(0)
    config = UNetConfig(channels=(8, 16), groups=4, heads=2, embedding=16, frequencies=8)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(path, config.build(), curve, "small", "nothing")
    return path


@pytest.fixture(scope="module")
def measured(
    small: Path, mosaic: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Result]:
    """A whole measurement of two batches: its directory, its results and what the command said."""
    output = tmp_path_factory.mktemp("rd") / "out"
    options = (
        "--plan-steps",
        STEPS,
        "--batch",
        2,
        "--baselines",
        "jpeg,png",
        "--channel",
        "trellis:8,trellis",
        "--table4",
    )
    done = run("rd", "--model", small, "--data", mosaic, *options, "-o", output)
    assert done.exit_code == 0, done.output
    return output, json.loads((output / "results.json").read_text()), done


def test_results_are_whole(measured: tuple[Path, dict[str, Any], Result], small: Path) -> None:
    output, result, done = measured
    assert result["pictures"] == [f"astronaut/{k}.png" for k in range(4)]
    assert set(result["curves"]) == {"ideal", "real-trellis", "real-trellis8"}
    assert set(result["baselines"]) == {"jpeg", "png"}
    assert result["plan_steps"] == STEPS
    assert result["fingerprint"] == ddpmcodec.load_model(small).fingerprint
    assert {"command", "versions", "git_commit", "seed"} <= set(result)
    for curve in result["curves"].values():
        assert all(len(values) == STEPS for values in curve.values())
    for name in ("rmse", "psnr", "bits-trellis", "bits-trellis8"):
        with Image.open(output / f"{name}.png") as plot:
            assert plot.width > 800
        assert (output / f"{name}.svg").read_text().startswith("<?xml")
    for words in ("Table 4", "BD-rate", "PNG", "payload ÷ ideal"):
        assert words in done.stdout


def test_every_point_is_in_the_table(measured: tuple[Path, dict[str, Any], Result]) -> None:
    output, result, _ = measured
    rows = list(csv.DictReader((output / "results.csv").read_text().splitlines()))
    points = sum(len(c.get("steps", c.get("setting"))) for c in (result["curves"] | result["baselines"]).values())
    assert len(rows) == points
    last = next(r for r in rows if r["curve"] == "real-trellis" and r["point"] == str(STEPS))
    assert float(last["file_bits_per_dim"]) == pytest.approx(
        result["curves"]["real-trellis"]["file_bits_per_dim"][-1], rel=1e-5
    )


def test_rates_are_bytes_of_files(
    measured: tuple[Path, dict[str, Any], Result], small: Path, picture: NDArray[np.uint8]
) -> None:
    _, result, _ = measured
    sizes = [len(ddpmcodec.encode(np.rot90(picture, k).copy(), model=small, plan_steps=STEPS)) for k in range(4)]
    rate = result["curves"]["real-trellis"]["file_bits_per_dim"][-1]
    assert rate == pytest.approx(
        8 * np.mean(sizes) / 3072, rel=0.005
    )  # in batches floats differ, and so may a bit count


def test_going_on_gives_the_same_and_does_nothing_twice(
    measured: tuple[Path, dict[str, Any], Result], small: Path, mosaic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddpmcodec.eval.rd import measure

    output, result, _ = measured
    gone = output / "parts" / "ideal-000002.npz"
    before = {f: f.stat().st_mtime_ns for f in (output / "parts").glob("*.npz")}
    gone.unlink()
    monkeypatch.setattr(measure, "real", None)  # called, it would fail
    options = (
        "--plan-steps",
        STEPS,
        "--batch",
        2,
        "--baselines",
        "jpeg,png",
        "--channel",
        "trellis:8,trellis",
        "--table4",
    )
    done = run("rd", "--model", small, "--data", mosaic, *options, "-o", output, "--json")
    assert done.exit_code == 0, done.output
    again = json.loads((output / "results.json").read_text())
    assert again["curves"] == result["curves"]
    changed = [f.name for f, time in before.items() if f.stat().st_mtime_ns != time]
    assert changed == ["ideal-000002.npz"]


def test_an_interruption_says_how_to_go_on(
    small: Path, mosaic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ddpmcodec.cli.speech import tell_interrupted
    from ddpmcodec.eval.rd import measure

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "ideal", interrupted)
    options = ("--model", small, "--data", mosaic, "--plan-steps", 3, "--limit", 1, "-o", tmp_path / "out")
    done = run("rd", *options)
    assert done.exit_code == 130
    assert "goes on from what is in" in done.stderr
    tell_interrupted()  # as the program does in the end: it has been said
    assert capsys.readouterr().err == ""
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["parts"]
    monkeypatch.undo()
    assert run("rd", *options, "--quiet").exit_code == 0
    assert (tmp_path / "out" / "results.json").exists()


def test_two_processes_measure_the_same(
    measured: tuple[Path, dict[str, Any], Result], small: Path, mosaic: Path, tmp_path: Path
) -> None:
    _, result, _ = measured
    torchrun = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "ddpmcodec.cli",
    )
    options = ("--plan-steps", STEPS, "--batch", 2, "--baselines", "jpeg", "-o", tmp_path / "out")
    command = [str(c) for c in (*torchrun, "rd", "--model", small, "--data", mosaic, *options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "out" / "results.json").read_text())
    for name in ("ideal", "real-trellis"):
        for key, values in two["curves"][name].items():
            np.testing.assert_allclose(values, result["curves"][name][key], rtol=1e-3, err_msg=f"{name} {key}")
    assert two["baselines"]["jpeg"] == result["baselines"]["jpeg"]
    assert done.stdout.count("equal RMSE") == 1  # one process reports


def test_a_folder_of_pictures_of_several_sizes(small: Path, tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(picture).resize((48, 40)).save(folder / "large.png")
    Image.fromarray(picture[:20]).save(folder / "small.png")
    done = run("rd", "--model", small, "--data", folder, "--plan-steps", 3, "-o", tmp_path / "out", "--quiet")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["pictures"] == ["large.png", "small.png"]
    assert result["published_shown"] == ""
    assert done.output == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--channel", "carrier-pigeon"), "carrier-pigeon"),
        (("--channel", ","), "channel"),
        (("--baselines", "gif"), "gif"),
        (("--data", "/nowhere"), "/nowhere"),
        (("--plan-steps", "100000"), "100000"),
        (("--model", "nothing"), "nothing"),
        (("--device", "abacus"), "abacus"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(
    options: tuple[str, ...], words: str, mosaic: Path, tmp_path: Path
) -> None:
    done = run("rd", "--data", mosaic, "-o", tmp_path / "out", *options)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def test_ideal_curves_alone(small: Path, mosaic: Path, tmp_path: Path) -> None:
    options = ("--model", small, "--data", mosaic, "--plan-steps", 3, "--channel", "none", "-o", tmp_path / "out")
    done = run("rd", *options)
    assert done.exit_code == 0, done.output
    assert "ideal, at RMSE" in done.stdout
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(result["curves"]) == {"ideal"}
    assert sorted(f.name for f in (tmp_path / "out").glob("*.png")) == ["psnr.png", "rmse.png"]
    refused = run("rd", *options, "--reconstruct", "sample")
    assert refused.exit_code == 2
    assert "--channel" in refused.stderr


def test_another_measurement_in_the_same_directory_is_refused(
    measured: tuple[Path, dict[str, Any], Result], mosaic: Path, tmp_path: Path
) -> None:
    output, _, _ = measured
    done = run("rd", "--data", mosaic, "--plan-steps", STEPS, "--seed", 1, "-o", output)
    assert done.exit_code == 2
    assert "another measurement: fingerprint, batch, seed differ" in done.stderr.replace("\n", " ")
    (tmp_path / "file").touch()
    done = run("rd", "--data", mosaic, "-o", tmp_path / "file")
    assert done.exit_code == 2
    assert "is a file" in done.stderr
