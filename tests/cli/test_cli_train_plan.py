from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.cli.speech import tell_interrupted
from ddpmcodec.models import load_network, read_model_info
from ddpmcodec.models.places import EMBEDDED
from ddpmcodec.models.unet_config import UNetConfig
from ddpmcodec.training import Preset, Recipe, Trainer, load_checkpoint
from ddpmcodec.training import recipe as recipes
from tests.cli.test_cli import assert_refused, names, run

TINY = UNetConfig(channels=(8,), groups=4, heads=2, embedding=8, frequencies=4, window=16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a mosaic of 12 tiles, a folder of photographs, and a tiny network as the default
    preset.
    """
    small = Preset(TINY, Recipe(batch=4, warmup=2))
    monkeypatch.setattr(recipes, "presets", lambda: {"cifar10-small": small})
    y, x = np.mgrid[:48, :64]
    mosaic = np.stack([2 * y + x, 3 * x, 255 - 2 * y], axis=-1).astype(np.uint8)
    Image.fromarray(mosaic).save(tmp_path / "mosaic.png")
    (tmp_path / "photos").mkdir()
    Image.fromarray(mosaic[:30, :40]).save(tmp_path / "photos" / "a.png")
    Image.fromarray(mosaic[:16, :20]).save(tmp_path / "photos" / "b.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*options: object, data: str = "mosaic.png") -> Any:
    return run("train", "-o", "run", "--data", data, "--log-every", 1, *options)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_a_model_and_what_explains_it(folder: Path):
    result = train("--steps", 5, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["step"], report["images"], report["done"]) == (5, 20, True)
    assert names(folder / "run") == ["checkpoint.pt", "log.jsonl", "loss.png", "model.safetensors", "samples.png"]
    assert len(losses(folder)) == 5
    with Image.open(folder / "run" / "samples.png") as sheet:
        assert sheet.size == (4 * 16 + 6, 4 * 16 + 6)
    info = read_model_info(folder / "run" / "model.safetensors")
    assert info.measured is None
    assert info.name == "run"
    assert "5 steps, 20 images" in info.note


def test_photographs_of_several_sizes_and_several_sources(folder: Path):
    assert run("train", "-o", "run", "--data", "photos", "--data", "mosaic.png", "--steps", 2, "-q").exit_code == 0
    assert load_checkpoint(folder / "run").pictures == 14


def test_resume_goes_on(folder: Path):
    assert train("--steps", 2, "-q").exit_code == 0
    assert train("--resume", "--steps", 4, "-q").exit_code == 0
    assert load_checkpoint(folder / "run").step == 4
    assert len(losses(folder)) == 4


def test_a_resumed_run_drops_what_its_checkpoint_does_not_know(folder: Path):
    assert train("--steps", 3, "-q").exit_code == 0
    log = folder / "run" / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"step": 9, "loss": 0.5}) + '\n{"step": 10, "lo')
    assert train("--resume", "--steps", 4, "-q").exit_code == 0
    assert len(losses(folder)) == 4


def test_init_starts_from_a_model_s_weights(folder: Path):
    assert train("--steps", 2, "-q").exit_code == 0
    result = run(
        "train",
        "-o",
        "again",
        "--data",
        "mosaic.png",
        "--steps",
        1,
        "--init",
        "run/model.safetensors",
        "--lr",
        1e-9,
        "--muon-lr",
        1e-9,
    )
    assert result.exit_code == 0, result.output
    before, _ = load_network(folder / "run" / "model.safetensors")
    after = load_checkpoint(folder / "again").weights
    assert all(torch.allclose(v, after[k], atol=1e-3) for k, v in before.state_dict().items())
    assert_refused(
        run("train", "-o", "no", "--data", "mosaic.png", "--steps", 1, "--init", "cifar10-small"), "don't fit"
    )


def test_init_compares_architectures_not_only_shapes(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert train("--steps", 1, "-q").exit_code == 0
    again = ("train", "-o", "again", "--data", "mosaic.png", "--steps", 1, "-q", "--init", "run/model.safetensors")
    other = Preset(replace(TINY, groups=2, heads=1), Recipe(batch=4))
    monkeypatch.setattr(recipes, "presets", lambda: {"cifar10-small": other})
    assert_refused(run(*again), "don't fit", "heads is 2, here 1; groups is 4, here 2")
    levels = Preset(replace(TINY, min_log_snr=-6.0, dropout=0.1), Recipe(batch=4))
    monkeypatch.setattr(recipes, "presets", lambda: {"cifar10-small": levels})
    assert run(*again).exit_code == 0


def test_init_from_a_network_of_another_kind(folder: Path, monkeypatch: pytest.MonkeyPatch):
    info = type("Info", (), {"config": type("Config", (), {"architecture": "diffusers"})})
    monkeypatch.setattr("ddpmcodec.training.start.load_network", lambda model: (None, info))
    assert_refused(train("--steps", 1, "--init", "x.safetensors"), "diffusers")


def test_a_compiled_network_trains_alike(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """torch.compile with everything but the C++, which takes a minute to compile and need not be there."""
    assert train("--steps", 2, "-q").exit_code == 0
    plain = losses(folder)
    (folder / "run").rename(folder / "plain")
    calls, real = [], torch.compile

    def without_cpp(network: torch.nn.Module, **options: Any) -> Any:
        calls.append(network)
        return real(network, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", without_cpp)
    assert train("--steps", 2, "-q", "--compile").exit_code == 0
    assert len(calls) == 1
    assert losses(folder) == pytest.approx(plain, rel=1e-3)
    assert set(load_checkpoint(folder / "run").weights) == set(load_checkpoint(folder / "plain").weights)


def test_the_last_lines_say_what_to_do_next(folder: Path):
    result = train("--steps", 1)
    assert "step 1  loss" in result.stderr
    assert "ddpmcodec plan run --data mosaic.png" in result.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "steps or of minutes"),
        (("--steps", 1, "--minutes", 1), "one of the two"),
        (("--steps", 0), "positive"),
        (("--steps", 1, "--preset", "cifar100"), "cifar10-small"),
        (("--steps", 1, "--objective", "l2"), "vlb"),
        (("--steps", 1, "--schedule", "cosine"), "--objective simple"),
        (("--steps", 1, "--lr", -1), "lr"),
        (("--steps", 1, "--dropout", 2), "dropout"),
        (("--steps", 1, "--device", "cuda:99"), "cuda:99"),
        (("--steps", 1, "--save-minutes", 0), "--save-minutes"),
        (("--resume",), "no checkpoint"),
        (("--resume", "--lr", 0.1), "leave out --lr"),
        (("--steps", 1, "--init", "nothing.safetensors"), "not found"),
    ],
)
def test_bad_options_write_nothing(folder: Path, options: tuple[object, ...], word: str):
    assert_refused(train(*options), word)
    assert not (folder / "run" / "checkpoint.pt").exists()


def test_bad_data(folder: Path):
    assert_refused(train("--steps", 1, data="nothing.png"), "nothing.png")
    Image.fromarray(np.zeros((10, 16, 3), np.uint8)).save(folder / "photos" / "c.png")
    assert_refused(train("--steps", 1, data="photos"), "16x10")


def test_ctrl_c_saves_and_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = Trainer._train_step

    def interrupted(self: Trainer, goal: Any) -> None:
        real(self, goal)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "_train_step", interrupted)
    result = train("--steps", 50)
    assert result.exit_code == 130, result.output
    assert "--resume goes on" in result.stderr
    tell_interrupted()  # as the program does in the end: it has been said
    assert capsys.readouterr().err == ""
    assert "error" not in result.stderr
    assert load_checkpoint(folder / "run").step in (2, 3)


def test_a_log_damaged_by_a_crash_does_not_stop_a_resumed_run(folder: Path):
    assert train("--steps", 2, "-q").exit_code == 0
    with (folder / "run" / "log.jsonl").open("ab") as file:
        file.write(b'\xff\xfe{"step": 1}\n[3]\n{"step": 1}\n')
    assert train("--resume", "--steps", 3, "-q").exit_code == 0
    assert len(losses(folder)) == 3


def test_pictures_that_fail_are_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(directory: Path) -> None:
        raise RuntimeError("no such\nfont")

    with monkeypatch.context() as patch:
        patch.setattr("ddpmcodec.training.report.plot_losses", fail)
        patch.setattr("ddpmcodec.training.report.image_bytes", fail)
        result = train("--steps", 2)
    assert result.exit_code == 0, result.output
    assert "note: loss.png was not drawn: no such font" in result.stderr
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    warnings = [line["warning"] for line in lines if "warning" in line]
    assert len(warnings) == 2
    assert warnings[0].startswith("samples.png was not drawn: ")
    assert names(folder / "run") == ["checkpoint.pt", "log.jsonl", "model.safetensors"]
    assert train("--resume", "--steps", 3, "-q").exit_code == 0
    assert len(losses(folder)) == 3
    assert (folder / "run" / "loss.png").exists()


def test_another_number_of_processes_is_said(folder: Path):
    assert train("--steps", 2, "-q").exit_code == 0
    state = load_checkpoint(folder / "run")
    replace(state, processes=2, recipe=replace(state.recipe, batch=2)).save(folder / "run")
    result = train("--resume", "--steps", 3)
    assert result.exit_code == 0, result.output
    assert "the run had 2 processes, and goes on with 1, each 4 images a step" in result.stderr
    assert load_checkpoint(folder / "run").images == 12


def test_one_process_of_several_speaks(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    silent = train("--steps", 0)
    assert (silent.exit_code, silent.output) == (2, "")

    def fail(self: Trainer, goal: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Trainer, "_train_step", fail)
    assert_refused(train("--steps", 1), "out of memory")  # which only this one knows


_TWICE = """
import sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from ddpmcodec.cli.app import app
from ddpmcodec.training import Preset, Recipe, recipe
from ddpmcodec.training.processes import processes
from tests.cli.test_cli_train_plan import TINY
recipe.presets = lambda: {{"cifar10-small": Preset(TINY, Recipe(batch=4))}}
codes = []
with processes("cpu"):
    for _ in range(2):
        try:
            app(["train", "-o", "run", "--data", "mosaic.png", "--steps", "2", "--log-every", "1", "-q"])
        except SystemExit as end:
            codes.append(end.code)
        torch.distributed.barrier()  # the checkpoint is there
assert codes == [0, 2], codes
"""


def test_the_command_under_torchrun(folder: Path):
    """Two processes make one run; the second time, one of them says that it is there already."""
    (folder / "twice.py").write_text(_TWICE.format(root=str(Path(__file__).parents[2])))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "twice.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error")] == [
        "error: run already holds a run: add --resume to go on with it, or name another directory"
    ]
    assert len(losses(folder)) == 2
    state = load_checkpoint(folder / "run")
    assert (state.step, state.images, state.processes) == (2, 16, 2)


def test_a_run_is_not_overwritten(folder: Path):
    assert train("--steps", 1, "-q").exit_code == 0
    assert_refused(train("--steps", 1), "--resume")
    assert_refused(train("--resume"), "the run is done")
    assert_refused(train("--resume", "--steps", 3, data="photos"), "12 images, found 2")


def test_a_diverging_run_stops(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "ddpmcodec.training.step.denoising_errors",
        lambda net, x, level, eps: net(x, level).sum(dim=(1, 2, 3)) * torch.nan,
    )
    assert_refused(train("--steps", 1), "loss is nan at step 1")


class TestPlan:
    @pytest.fixture(autouse=True)
    def _trained(self, folder: Path) -> None:
        assert train("--steps", 2, "-q").exit_code == 0

    def test_makes_a_codec(self, folder: Path, picture: NDArray[np.uint8]):
        data, target = ("--data", "mosaic.png", "--limit", 8), ("-o", "run/codec.safetensors")
        result = run("plan", "run", *data, *target, "--name", "mine", "--json")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        info = read_model_info(folder / "run" / "codec.safetensors")
        assert read_model_info(folder / "run" / "model.safetensors").measured is None  # training's own, to be replaced
        assert (report["fingerprint"], info.name) == (info.fingerprint, "mine")
        assert info.curve.dims == 3 * 16 * 16
        assert [row["steps"] for row in report["plans"]] == [12, 20, 46, 100]
        ideal = [row["ideal_bits_per_dim"] for row in report["plans"]]
        assert sorted(ideal, reverse=True) == ideal  # more steps, fewer ideal bits
        assert (folder / "run" / "codec.plan.png").stat().st_size > 10_000
        model = ddpmcodec.load_model(folder / "run" / "codec.safetensors")
        data = ddpmcodec.encode(picture, model=model, plan_steps=3)
        assert ddpmcodec.decode(data, model=model).shape == picture.shape

    def test_writes_elsewhere_and_prints_a_table(self, folder: Path):
        before = (folder / "run" / "model.safetensors").read_bytes()
        result = run("plan", "run/model.safetensors", "--data", "mosaic.png", "--limit", 4, "-o", "codec.safetensors")
        assert result.exit_code == 0, result.output
        assert "ideal bits/dim" in result.stdout
        assert (folder / "run" / "model.safetensors").read_bytes() == before
        assert (folder / "codec.plan.png").exists()

    def test_without_a_plan_nothing_is_coded(self, folder: Path):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save("black.png")
        refused = run("encode", "black.png", "-o", "x.bin", "--model", "run/model.safetensors")
        assert_refused(refused, "ddpmcodec plan")

    def test_without_matplotlib(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        result = run("plan", "run", "--data", "mosaic.png", "--limit", 2, "-o", "run/codec.safetensors")
        assert result.exit_code == 0, result.output
        assert "matplotlib is not installed" in result.stderr

    def test_refused(self, folder: Path):
        assert_refused(run("plan", "nothing.safetensors", "--data", "mosaic.png"), "not found")
        embedded = EMBEDDED / "cifar10-small.safetensors"
        assert_refused(run("plan", "cifar10-small", "--data", "mosaic.png", "-o", embedded, "--overwrite"), "-o")
        assert_refused(run("plan", "run", "--data", "nothing.png"), "nothing.png")
        assert_refused(run("plan", "run", "--data", "mosaic.png", "-o", "no/such/place.safetensors"), "does not exist")
        assert_refused(run("plan", "run", "--data", "mosaic.png", "--device", "cuda:99"), "cuda:99")

    def test_a_network_that_predicts_no_numbers(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("ddpmcodec.models.unet.UNet.forward", lambda self, x, log_snr: x * torch.nan)
        assert_refused(run("plan", "run", "--data", "mosaic.png", "--limit", 2), "no finite numbers")
