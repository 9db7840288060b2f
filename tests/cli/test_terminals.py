"""The program as a process: what its stdin, stdout and stderr are, what they can show, and what the system refuses."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from tests.cli.test_cli import assert_refused, names, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors and terminals are POSIX's")
PROGRAM = f"{sys.executable} -m ddpmcodec"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, picture: NDArray[np.uint8]) -> Path:
    path = tmp_path_factory.mktemp("terminals")
    Image.fromarray(picture).save(path / "in.png")
    (path / "s.bin").write_bytes(ddpmcodec.encode(picture, plan_steps=2))
    return path


def shell(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a shell makes of a line that says `ddpmcodec`."""
    return subprocess.run(
        ["bash", "-c", command.replace("ddpmcodec", PROGRAM)],
        cwd=folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("ddpmcodec decode s.bin -o - -q > /dev/full", "No space left"),
        ("ddpmcodec encode in.png -o /dev/full --plan-steps 2 -q", "No space left"),
        ("ddpmcodec info s.bin > /dev/full", "No space left"),
        ("ddpmcodec --help > /dev/full", "No space left"),
        ("ddpmcodec models list > /dev/full", "can't write to stdout: No space left"),
        ("ddpmcodec --version > /dev/full", "No space left"),
        ("ddpmcodec --version >&-", "closed"),
        ("ddpmcodec decode - -o x.png -q <&-", "stdin is closed"),
        ("ddpmcodec decode s.bin -o - -q >&-", "stdout is closed"),
        ("ddpmcodec info s.bin >&-", "closed"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_exit_code_2(folder: Path, command: str, word: str):
    before = names(folder)
    done = shell(folder, command)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2, lines
    assert [line[:7] for line in lines] == ["error: "]
    assert word in lines[0] or word.split()[-1] in lines[0]
    assert names(folder) == before


def test_an_output_is_never_taken_for_a_closed_stdout(folder: Path):
    """The file gets the least free number, which would be stdout's: what is printed there would end up in it."""
    done = shell(folder, "ddpmcodec encode in.png -o closed.bin --plan-steps 2 -v >&- 2>&-")
    assert done.returncode == 0
    assert (folder / "closed.bin").read_bytes() == (folder / "s.bin").read_bytes()


@pytest.mark.parametrize("command", ["encode", "decode", "info", "truncate", "nll"])
def test_names_that_lead_nowhere(folder: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    os.symlink("circle", "circle")
    source = folder / ("in.png" if command == "encode" else "s.bin")
    rest = {"truncate": ["--steps", 1], "nll": ["--data", "circle"]}.get(command, [])
    for name in ("circle", "x" * 300, "x/" * 3000 + "x"):
        if command not in ("info", "nll"):
            assert_refused(run(command, source, "-o", name, *rest, "-q"), "can't write")
        where = ["-o", "new.png"] if command not in ("info", "nll") else []
        if command != "nll":
            assert_refused(run(command, name, *where, *rest), "can't read")
        model = ["--model", name] if command != "nll" else [name]
        assert_refused(run(command, *([source] if command != "nll" else []), *where, *model, *rest), name)


def test_any_error_of_the_system_is_told_as_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "disk")

    monkeypatch.setattr("ddpmcodec.codec.decoding.decode_progressive", fail)
    assert_refused(run("decode", folder / "s.bin", "-o", tmp_path / "x.png", "-q"), "disk: Input/output error")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_can_t_be_shown_is_a_question_mark(folder: Path, encoding: str):
    """Help has dots and dashes, tables Greek letters, and file names anything."""
    shown = shell(
        folder,
        "ddpmcodec encode -h && cp s.bin $'\\u65e5\\xff.bin' && ddpmcodec verify *.bin && ddpmcodec info s.bin"
        " && ddpmcodec decode $'\\u65e5\\xff.bin' -o $'\\u65e5\\xff.txt'",
        PYTHONIOENCODING=encoding,
        LC_ALL="C.UTF-8",
    )
    said = shown.stdout.decode(encoding) + shown.stderr.decode(encoding)
    assert "Traceback" not in said
    assert "?" in said
    assert shown.returncode == 2
    assert "Pillow can't write .txt" in shown.stderr.decode(encoding)


def test_piped_tables_are_as_wide_as_they_need(folder: Path, tmp_path: Path):
    long = tmp_path / ("long name " * 12)
    long.mkdir()
    (long / "s.bin").write_bytes((folder / "s.bin").read_bytes()[:-1])
    for columns in ("20", "80"):
        lines = run("info", folder / "s.bin").stdout.splitlines()
        assert any("cumulative bits" in line and "prior" in line for line in lines), columns
        rows = [line for line in lines if "coloured" in line or "white" in line]
        assert len(rows) == 2


def test_tables_are_not_folded_in_a_pipe(folder: Path):
    done = shell(folder, "ddpmcodec info s.bin | cat", COLUMNS="20")
    assert b"cumulative bits  prior" in done.stdout


def on_a_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what a terminal shows of the program's stdout and stderr."""
    shown, screen = pty.openpty()
    command = [sys.executable, "-m", "ddpmcodec", *arguments]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=folder, stdin=screen, stdout=screen, stderr=screen, env=environment)
    os.close(screen)
    said = b""
    try:
        while piece := os.read(shown, 1 << 16):
            said += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(shown)
    return process.wait(120), said.decode("ascii")


def test_pictures_and_streams_aren_t_written_to_a_terminal(folder: Path):
    for output in ("-", "/dev/stdout"):
        code, said = on_a_terminal(folder, "encode", "in.png", "-o", output, "-q")
        assert code == 2
        assert "terminal" in said


def test_a_terminal_of_few_letters_shows_progress(folder: Path):
    code, said = on_a_terminal(folder, "encode", "in.png", "-o", "seen.bin", "--plan-steps", "2")
    assert code == 0, said
    assert "2 steps" in said
    assert (folder / "seen.bin").read_bytes() == (folder / "s.bin").read_bytes()


EARLY = """
import sys
name = sys.argv[1]
class Interrupting:
    def find_spec(self, found, *_):
        if found == name:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from ddpmcodec.cli.start import program
sys.argv[1:] = ["encode", "in.png", "-o", "early.bin"]
program()
"""


@pytest.mark.parametrize("imported", ["typer", "torch"])
def test_ctrl_c_before_anything_has_begun(folder: Path, imported: str):
    command = [sys.executable, "-c", EARLY, imported]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["interrupted; nothing was written"]
    assert not (folder / "early.bin").exists()


def test_ctrl_c_while_arguments_are_read(folder: Path):
    code = "import sys, typer.core\nfrom ddpmcodec.cli.start import program\n"
    code += "def interrupt(*_, **__): raise KeyboardInterrupt\ntyper.core.TyperGroup.resolve_command = interrupt\n"
    code += "sys.argv = ['ddpmcodec', 'encode', 'in.png', '-o', 'early.bin']\nprogram()"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["interrupted; nothing was written"]


def test_the_program_is_there_for_ctrl_c_before_anything_is_imported():
    code = "import sys; before = set(sys.modules); sys.modules.pop('typing', None); import ddpmcodec.cli.start; "
    code += "print(*sorted({name for name in sys.modules if name not in before or name == 'typing'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    others = [name for name in done.stdout.split() if not name.startswith("ddpmcodec") and name != "__future__"]
    assert others == []


def test_help_comes_before_torch_does(folder: Path):
    code = "import sys; from ddpmcodec.cli.app import app; app(['-h'], standalone_mode=False); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False).returncode == 0


@pytest.mark.parametrize("when", ["before the program runs", "when it is done"])
def test_ctrl_c_in_the_first_and_last_moments(folder: Path, when: str):
    first = "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    last = "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT)); sys.argv = ['ddpmcodec', '--version']"
    early = when == "before the program runs"
    # A job in the background has SIGINT ignored, and so have its children.
    code = "import atexit, os, signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from ddpmcodec.cli.start import program\n"
    code += f"{first if early else last}\nprogram()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == (130 if early else 0)
    assert done.stderr.splitlines() == (["interrupted; nothing was written"] if early else [])
