"""What runs no network starts no torch: `info`, `verify`, `truncate` and help answer at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ddpmcodec

HEAVY = ("torch", "scipy", "skimage", "matplotlib", "PIL")
PROGRAM = """
import sys
from ddpmcodec.cli.start import program
try:
    program()
finally:
    sys.__stderr__.write("".join(f"loaded {name}\\n" for name in HEAVY if name in sys.modules))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """one.bin of one model and large.bin of the other, set.ddpc, exact.bin."""
    folder = tmp_path_factory.mktemp("light")
    picture = np.full((8, 8, 3), (200, 90, 60), np.uint8)
    one = ddpmcodec.encode(picture, plan_steps=3)
    (folder / "one.bin").write_bytes(one)
    (folder / "large.bin").write_bytes(ddpmcodec.encode(picture, plan_steps=3, model="photo-small"))
    (folder / "exact.bin").write_bytes(ddpmcodec.encode(picture, plan_steps=3, lossless=True))
    (folder / "set.ddpc").write_bytes(ddpmcodec.pack_archive([one, one]))
    (folder / "solid.ddpc").write_bytes(ddpmcodec.encode_archive([picture, 255 - picture], plan_steps=3, solid=2))
    return folder


def loaded(folder: Path, *command: str, code: str = PROGRAM) -> list[str]:
    """Which of the heavy packages a command line loads."""
    code = code.replace("HEAVY", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("loaded")]


@pytest.mark.parametrize(
    "command",
    [
        "info one.bin",
        "info large.bin --json",
        "info exact.bin --model cifar10-small",
        "info set.ddpc",
        "info set.ddpc --index 1",
        "info solid.ddpc --index 1",
        "verify one.bin large.bin exact.bin set.ddpc solid.ddpc",
        "truncate one.bin -o short.bin --steps 2",
        "--help",
        "encode --help",
        "--version",
    ],
)
def test_what_runs_no_network_loads_no_torch(folder: Path, command: str):
    assert loaded(folder, *command.split()) == []


def test_coding_does(folder: Path):
    assert "loaded torch" in loaded(folder, "decode", "one.bin", "-o", "one.png")


def test_python_s_parsers_load_none_either(folder: Path):
    code = """
import sys
from pathlib import Path
import ddpmcodec
data = Path("one.bin").read_bytes()
info = ddpmcodec.read_info(data, ddpmcodec.read_model_info("cifar10-small"))
assert ddpmcodec.verify(data).steps == (info.steps,) == (3,)
assert ddpmcodec.read_header(ddpmcodec.truncate(data, steps=2)).width == 8
assert ddpmcodec.read_archive(ddpmcodec.pack_archive([data])).count == 1
sys.stderr.write("".join(f"loaded {name}\\n" for name in HEAVY if name in sys.modules))
"""
    assert loaded(folder, code=code) == []
