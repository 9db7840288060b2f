"""What a command says when it is interrupted, or when memory runs out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.cli.start import _Room
from ddpmcodec.codec import decoding, encoding
from tests.cli.test_cli import assert_refused, run

PICTURE = Path(__file__).parents[2] / "docs" / "astronaut-32.png"


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory, picture: NDArray[Any]) -> Path:
    path = tmp_path_factory.mktemp("mishaps") / "s.bin"
    path.write_bytes(ddpmcodec.encode(picture, plan_steps=3))
    return path


def interrupted(items: Iterator[Any]) -> Iterator[Any]:
    yield next(items)
    yield next(items)
    raise KeyboardInterrupt


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two steps of whatever is decoded or encoded."""
    for module, name in ((decoding, "decode_progressive"), (decoding, "decode_stream"), (encoding, "encode_stream")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, original=original, **k: interrupted(original(*a, **k)))


@pytest.mark.usefixtures("ctrl_c")
class TestInterrupted:
    def test_nothing_was_written(self, stream: Path, tmp_path: Path):
        result = run("decode", stream, "-o", tmp_path / "out.png")
        assert result.exit_code == 130
        assert result.stderr.splitlines() == ["interrupted; nothing was written"]
        assert list(tmp_path.iterdir()) == []

    def test_frames_that_are_there_are_named(self, stream: Path, tmp_path: Path):
        result = run("decode", stream, "-o", tmp_path / "out.png", "--frames", tmp_path / "f")
        assert [p.name for p in sorted((tmp_path / "f").iterdir())] == ["step-001.png", "step-002.png"]
        last = tmp_path / "f" / "step-002.png"
        assert f"interrupted; what was written stays: 2 files, the last one {last}" in result.stderr

    def test_a_watched_picture_is_named(self, stream: Path, tmp_path: Path):
        result = run("decode", stream, "-o", tmp_path / "out.png", "--watch", "-q")
        assert result.stderr.splitlines() == [f"interrupted; what was written stays: {tmp_path / 'out.png'}"]

    def test_bytes_on_stdout_are_told_of(self):
        result = run("encode", PICTURE, "-o", "-", "--plan-steps", 6, "-q")
        assert result.stdout_bytes
        assert result.stderr.splitlines() == ["interrupted; what was written stays: bytes on stdout"]

    def test_the_next_command_begins_anew(self, stream: Path, tmp_path: Path):
        run("decode", stream, "-o", tmp_path / "out.png", "--watch")
        result = run("decode", stream, "-o", tmp_path / "other.png")
        assert "nothing was written" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 5.00 GiB for an array"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        ImportError("libopenblas.so: failed to map segment from shared object"),
    ],
)
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_out_of_memory_says_what_needs_less(
    command: str, error: Exception, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ddpmcodec.codec.reverse_chain.gaussian", fail)
    result = run(command, PICTURE if command == "encode" else stream, "-o", tmp_path / "out.png", "-q")
    assert_refused(result, "out of memory", str(error).splitlines()[0], "smaller picture")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory that Linux keeps")
@pytest.mark.parametrize("command", ["encode", "decode"])
@pytest.mark.parametrize("megabytes", [30, 50, 110, 300, 540, 590, 740])  # without a look at the limit 740 hung
def test_a_process_of_little_memory_says_so(command: str, megabytes: int, stream: Path, tmp_path: Path):
    source = PICTURE if command == "encode" else stream
    import resource

    done = subprocess.run(
        [sys.executable, "-m", "ddpmcodec", command, str(source), "-o", str(tmp_path / "out.png"), "-q"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20)),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: out of memory: the limit is {megabytes} MB (ulimit -v)")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("megabytes", "refused", "let"),
    [(63, ["typer", "numpy", "torch"], ["os"]), (1023, ["torch", "ddpmcodec.training.trainer"], ["typer", "numpy"])],
)
def test_each_library_has_its_least_memory(megabytes: int, refused: list[str], let: list[str]):
    room = _Room(megabytes << 20)
    for name in refused:
        with pytest.raises(ddpmcodec.DdpmCodecError, match=f"the limit is {megabytes} MB .*raise it"):
            room.find_spec(name)
    for name in let:
        assert room.find_spec(name) is None


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory that Linux keeps")
@pytest.mark.parametrize(("limited", "own", "threads"), [(True, None, "1"), (True, "3", "3"), (False, None, "None")])
def test_openblas_starts_no_threads_where_memory_is_limited(limited: bool, own: str | None, threads: str):
    """It can't be interrupted while it waits for one that it couldn't start, and its own interrupt isn't Ctrl-C."""
    import resource

    most = 4 << 30 if limited else resource.RLIM_INFINITY
    code = "import atexit, os, sys; atexit.register(lambda: print(os.environ.get('OPENBLAS_NUM_THREADS')))\n"
    code += "from ddpmcodec.cli.start import program; sys.argv = ['ddpmcodec', '--version']; program()"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment | ({"OPENBLAS_NUM_THREADS": own} if own else {}),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY)),
    )
    assert done.stdout.splitlines()[-1] == threads


@pytest.mark.parametrize("place", ["PIL.ImageFile.ImageFile.load", "torch.nn.Module.load_state_dict"])
def test_memory_is_to_blame_and_not_the_file(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError if "PIL" in place else RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(place, fail)
    assert_refused(run("encode", PICTURE, "-o", tmp_path / "out.bin", "-q"), "out of memory", "smaller picture")


def test_other_runtime_errors_are_bugs_as_before(stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("ddpmcodec.codec.reverse_chain.gaussian", fail)
    result = run("decode", stream, "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert "This is a bug" in result.stderr
