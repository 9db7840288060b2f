"""Full disks, vanished directories, killed processes: no partial file under the final name, and what can go on does."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.io.atomic import remove_leftovers, replacing, write_whole
from ddpmcodec.models import UNetConfig, save_model
from ddpmcodec.training import Preset, Recipe, Trainer, load_checkpoint
from ddpmcodec.training import recipe as recipes
from ddpmcodec.training.checkpoint import NAME
from ddpmcodec.training.report import Reporter
from tests.cli.test_cli import assert_refused, names, run
from tests.conftest import no_file_beyond

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, fork and resource limits are POSIX's")
TINY = UNetConfig(channels=(8,), groups=4, heads=2, embedding=8, frequencies=4, window=16)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, curve: ErrorCurve) -> Path:
    """A mosaic to train on, a picture, a tiny model, and the picture's stream."""
    folder = tmp_path_factory.mktemp("prepared")
    y, x = np.mgrid[:48, :64]
    mosaic = np.stack([2 * y + x, 3 * x, 255 - 2 * y], axis=-1).astype(np.uint8)
    Image.fromarray(mosaic).save(folder / "mosaic.png")
    Image.fromarray(mosaic[:16, :20]).save(folder / "in.png")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(folder / "m.safetensors", TINY.build(), curve, "tiny")
    options = ("--plan-steps", 3, "--channel", "trellis:8", "--model", folder / "m.safetensors", "-q")
    assert run("encode", folder / "in.png", "-o", folder / "x.bin", *options).exit_code == 0
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with all that; tiny training as the default, and nothing drawn, which takes most of short
    runs.
    """
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "presets", lambda: {"cifar10-small": Preset(TINY, Recipe(batch=4, warmup=2))})
    monkeypatch.setattr("ddpmcodec.training.report.plot_losses", lambda directory: None)
    monkeypatch.setattr(Reporter, "_save_samples", lambda self: None)
    monkeypatch.setattr("ddpmcodec.eval.rd.plots.draw_all", lambda result, output: None)
    monkeypatch.setattr("ddpmcodec.models.weights.frozen", lambda network: network)
    return tmp_path


CODE = ("--model", "m.safetensors", "-q")
ENCODE = ("encode", "in.png", "-o", "out/x.bin", "--plan-steps", 3, "--channel", "trellis:8", *CODE)
DECODE = ("decode", "x.bin", "-o", "out/x.png", *CODE)
TRAIN = ("train", "-o", "out", "--data", "mosaic.png", "--log-every", 1, "-q")
RD = ("rd", "--data", "mosaic.png", "-o", "out", "--channel", "none", "--plan-steps", 2, "--batch", 4, *CODE)


# Writing


@pytest.mark.parametrize("call", ["open", "replace"])
def test_a_fault_while_writing_leaves_the_old_file(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x.bin").write_bytes(b"old")

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            write_whole(tmp_path / "x.bin", b"new")
    assert names(tmp_path) == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() == b"old"


def test_an_error_in_the_middle_is_the_one_that_is_raised(tmp_path: Path):
    """Even where the directory went away meanwhile, so that there is nothing to clean."""
    (tmp_path / "gone").mkdir()

    def fail() -> None:
        with replacing(tmp_path / "gone" / "x.bin"):
            shutil.rmtree(tmp_path / "gone")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


@pytest.mark.parametrize("name", ["x" * 250 + ".bin", "x." + "y" * 240, ".hidden", "ünïcødé" * 15, "a*[b]?.png"])
def test_names_of_any_length(tmp_path: Path, name: str):
    write_whole(tmp_path / name, b"new")
    assert names(tmp_path) == [name]


def test_leftovers_of_the_dead_go_and_work_of_the_living_stays(tmp_path: Path):
    kept = [".x.bin", "x.partial-0.bin", ".git", "y.bin"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".dead.partial-00112233.bin").write_bytes(b"half")
    (tmp_path / ".dir.partial-00112233").mkdir()
    with replacing(tmp_path / "living.bin") as temporary:
        temporary.write_bytes(b"half")
        remove_leftovers(tmp_path)
        assert temporary.exists()
        temporary.write_bytes(b"whole")
    assert (tmp_path / "living.bin").read_bytes() == b"whole"
    assert names(tmp_path) == sorted([*kept, "living.bin", ".dir.partial-00112233"])
    remove_leftovers(tmp_path / "nowhere")


# Disks that are full


@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_no_room_for_the_output(folder: Path, command: tuple[object, ...]):
    (folder / "out").mkdir()
    with no_file_beyond(20):
        result = run(*command)
    assert_refused(result, "can't write out/x")
    assert names(folder / "out") == []


def test_no_room_for_a_checkpoint(folder: Path):
    assert run(*TRAIN, "--steps", 2).exit_code == 0
    good = (folder / "out" / NAME).read_bytes()
    with no_file_beyond(len(good) // 2):
        result = run(*TRAIN, "--steps", 4, "--resume")
    assert_refused(result, "can't write a checkpoint to out", "the one before is kept")
    assert (folder / "out" / NAME).read_bytes() == good
    assert not [n for n in names(folder / "out") if "partial" in n]
    assert run(*TRAIN, "--steps", 4, "--resume").exit_code == 0
    assert load_checkpoint(folder / "out").step == 4


def test_no_room_for_a_part_of_a_measurement(folder: Path):
    with no_file_beyond(600):
        assert_refused(run(*RD), "can't write out/parts/ideal-")
    assert names(folder / "out" / "parts") == ["options.json"]


# Directories that go away


def _when(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], None], call: int = 1) -> None:
    """`act` happens before the given call of a function."""
    real, calls = getattr(owner, name), [0]

    def watched(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            act()
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, watched)


@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_the_output_s_directory_goes_away(folder: Path, command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch):
    from ddpmcodec.codec.reverse_chain import ReverseChain

    (folder / "out").mkdir()
    _when(monkeypatch, ReverseChain, "advance", lambda: shutil.rmtree(folder / "out"), call=2)
    assert_refused(run(*command), "can't write out/x")
    assert not (folder / "out").exists()


def test_a_run_s_directory_goes_away(folder: Path, monkeypatch: pytest.MonkeyPatch):
    _when(monkeypatch, Trainer, "_train_step", lambda: shutil.rmtree(folder / "out"), call=2)
    assert_refused(run(*TRAIN, "--steps", 3), "can't write out/log.jsonl")


# Processes that are killed


def killed(work: Callable[[], Any], by: int) -> None:
    """Does the work in a copy of this process, which is expected to be killed by that signal."""
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            work()
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -by


def half_written(self: Path, data: bytes) -> None:
    """In place of Path.write_bytes: as far as a process comes that is killed then."""
    with self.open("wb") as file:
        file.write(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("when", "by"),
    [
        ("coding", signal.SIGKILL),
        ("coding", signal.SIGTERM),
        ("writing", signal.SIGKILL),
        ("renaming", signal.SIGKILL),
        ("renaming", signal.SIGTERM),
    ],
)
@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_killed_while_coding(folder: Path, command: tuple[object, ...], when: str, by: int):
    from ddpmcodec.codec.reverse_chain import ReverseChain

    (folder / "out").mkdir()

    def work() -> None:
        def die(*args: object) -> None:
            os.kill(os.getpid(), by)

        with pytest.MonkeyPatch.context() as patch:
            if when == "coding":
                _when(patch, ReverseChain, "advance", die, call=2)
            elif when == "writing":
                patch.setattr(Path, "write_bytes", lambda self, data: die(half_written(self, data)))
            else:
                patch.setattr(os, "replace", die)
            run(*command)

    killed(work, by)
    left = names(folder / "out")
    assert len(left) == (when != "coding")
    assert all(name.startswith(".x.partial-") for name in left)  # which no one takes for the output
    assert run(*command).exit_code == 0
    remove_leftovers(folder / "out")
    (done,) = names(folder / "out")
    assert not done.startswith(".")


@pytest.mark.parametrize("call", [1, 2])
def test_training_killed_while_it_saves(folder: Path, call: int):
    """The first file a save writes is the model, the second the checkpoint, which a resumed run goes on from."""
    assert run(*TRAIN, "--steps", 2).exit_code == 0
    before = {n: (folder / "out" / n).read_bytes() for n in names(folder / "out")}

    def work() -> None:
        with pytest.MonkeyPatch.context() as patch:
            # call 0 is the log, which a resumed run writes anew
            _when(patch, os, "replace", lambda: os.kill(os.getpid(), signal.SIGKILL), call=1 + call)
            run(*TRAIN, "--steps", 4, "--resume")

    killed(work, signal.SIGKILL)
    (left,) = [n for n in names(folder / "out") if n not in before]
    assert left.startswith((".model.partial-", ".checkpoint.partial-")[call - 1])
    assert ((folder / "out" / "model.safetensors").read_bytes() == before["model.safetensors"]) == (call == 1)
    assert load_checkpoint(folder / "out").step == 2
    assert run(*TRAIN, "--steps", 5, "--resume").exit_code == 0
    assert names(folder / "out") == sorted(before)
    assert load_checkpoint(folder / "out").step == 5


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_training_saves_when_it_is_told_to_end(folder: Path, by: int, monkeypatch: pytest.MonkeyPatch):
    _when(monkeypatch, Trainer, "_train_step", lambda: os.kill(os.getpid(), by), call=3)
    before = signal.signal(by, signal.SIG_DFL)  # these tests may themselves run under nohup
    try:
        result = run(*TRAIN, "--steps", 50)
        assert signal.getsignal(by) == signal.SIG_DFL
    finally:
        signal.signal(by, before)
    assert result.exit_code == 130, result.output
    assert load_checkpoint(folder / "out").step == 3


def test_training_under_nohup_ignores_the_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _when(monkeypatch, Trainer, "_train_step", lambda: os.kill(os.getpid(), signal.SIGHUP), call=1)
        assert run(*TRAIN, "--steps", 3).exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_measurement_killed_goes_on(folder: Path):
    def work() -> None:
        with pytest.MonkeyPatch.context() as patch:
            # call 1 is options.json; of three parts, the second dies
            _when(patch, os, "replace", lambda: os.kill(os.getpid(), signal.SIGKILL), call=3)
            run(*RD)

    killed(work, signal.SIGKILL)
    parts = folder / "out" / "parts"
    first, *others = names(parts)
    assert first.startswith(".ideal-000004.partial-")
    assert others == ["ideal-000000.npz", "options.json"]
    done = (parts / "ideal-000000.npz").stat().st_mtime_ns
    result = run(*RD)
    assert result.exit_code == 0, result.output
    assert names(parts) == ["ideal-000000.npz", "ideal-000004.npz", "ideal-000008.npz", "options.json"]
    assert (parts / "ideal-000000.npz").stat().st_mtime_ns == done
