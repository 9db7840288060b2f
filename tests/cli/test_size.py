"""Large pictures: how long they take is said before, and very large ones wait for consent."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddpmcodec
from ddpmcodec.codec.estimate import estimate
from ddpmcodec.models import CodecModel
from tests.cli.test_cli import assert_refused, names, run

FAST = ("--plan-steps", 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a picture of 1,200 pixels; 1,000 are much and 1,100 very much."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ddpmcodec.cli.size._SAY", 1000)
    monkeypatch.setattr("ddpmcodec.cli.size.ASK_PIXELS", 1100)
    Image.new("RGB", (40, 30)).save("large.png")
    Image.new("RGB", (35, 30)).save("middle.png")
    Image.new("RGB", (10, 10)).save("small.png")
    Path("large.bin").write_bytes(ddpmcodec.encode(np.zeros((30, 40, 3), np.uint8), plan_steps=2))
    return tmp_path


def test_streams_of_a_folder_and_of_a_page_need_consent(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ddpmcodec.cli.whole_folders.ASK_PIXELS", 1100)
    Path("coded").mkdir()
    Path("coded/large.ddpc").write_bytes(Path("large.bin").read_bytes())
    refused = run("decode", "coded", "-o", "back", "--jobs", 1)
    assert (refused.exit_code, (folder / "back").exists()) == (2, False)
    assert "only begun with --yes" in refused.stderr
    assert run("decode", "coded", "-o", "back", "--jobs", 1, "--yes").exit_code == 0
    assert_refused(run("view", "large.bin", "-o", "x.html"), "40x30: about", "--yes")
    assert not Path("x.html").exists()
    assert run("view", "large.bin", "-o", "x.html", "--yes").exit_code == 0


def test_a_very_large_picture_needs_consent(folder: Path):
    before = names(folder)
    for command in (("encode", "large.png", "-o", "x.bin", *FAST), ("decode", "large.bin", "-o", "x.png")):
        for quiet in ((), ("-q",)):
            assert_refused(run(*command, *quiet), "40x30: about", "seconds", "GB of memory", "--yes")
    assert names(folder) == before
    agreed = run("encode", "large.png", "-o", "x.bin", *FAST, "--yes")
    assert agreed.exit_code == 0, agreed.output
    assert "40x30: about" in agreed.stderr
    assert run("decode", "large.bin", "-o", "x.png", "-y", "-q").stderr == ""


def test_many_pictures_are_weighed_together(folder: Path):
    encode = ("encode", *["small.png"] * 12, "-o", "x.ddpc", *FAST)
    assert_refused(run(*encode), "12 pictures of 10x10: about", "GB of memory", "--yes")
    assert not Path("x.ddpc").exists()
    assert run(*encode, "--yes", "-q").exit_code == 0
    assert_refused(run("decode", "x.ddpc", "-o", "out"), "12 pictures of 10x10: about", "--yes")
    assert not Path("out").exists()
    assert run("decode", "x.ddpc", "-o", "out", "--yes", "-q").exit_code == 0
    assert len(names(Path("out"))) == 12
    assert run("decode", "x.ddpc", "-o", "one.png", "--index", 3, "-q").stderr == ""


def test_a_stream_that_arrives_is_weighed_once_its_header_is_there(folder: Path):
    watch = ("decode", "-", "-o", "x.png", "--watch")
    data = Path("large.bin").read_bytes()
    assert_refused(run(*watch, stdin=data), "40x30: about", "--yes")
    assert not Path("x.png").exists()
    agreed = run(*watch, "--yes", stdin=data)
    assert agreed.exit_code == 0, agreed.output
    assert "40x30: about" in agreed.stderr
    assert_refused(run(*watch, stdin=data[:9]), "ends inside the header")


def test_a_large_one_is_told_of_and_a_small_one_isn_t(folder: Path):
    assert "35x30: about" in run("encode", "middle.png", "-o", "x.bin", *FAST).stderr
    assert "about" not in run("encode", "small.png", "-o", "x.bin", *FAST).stderr


def test_the_estimate_is_right_to_a_factor(model: CodecModel):
    """Of the encoder; a busy machine may be slower in one half than in the other."""
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    expected = estimate(model, 96, 128, plan_steps=5, encoding=True)
    start = time.perf_counter()
    ddpmcodec.encode(picture, model=model, plan_steps=5)
    assert 0.2 < expected.seconds / (time.perf_counter() - start) < 5


def test_an_estimate_grows_with_what_is_done(tiny_model: CodecModel, monkeypatch: pytest.MonkeyPatch):
    ticks = itertools.count()
    monkeypatch.setattr(
        "ddpmcodec.codec.estimate.time.perf_counter", lambda: float(next(ticks))
    )  # a busy machine's aren't even
    few = estimate(tiny_model, 300, 400, steps=2, plan_steps=8, encoding=False)
    assert estimate(tiny_model, 3000, 4000, steps=2, plan_steps=8, encoding=False).memory > 5 * (
        few.memory - (500 << 20)
    )
    assert 0.5 * 64 * 2**20 * 3 * 4 < estimate(tiny_model, 8192, 8192, steps=1, encoding=False).memory < 16 * 2**30
    assert few.seconds < estimate(tiny_model, 300, 400, plan_steps=8, encoding=True).seconds


ASKED = """
import sys
from ddpmcodec.cli import size
size._SAY, size.ASK_PIXELS = 1000, 1100
from ddpmcodec.cli.start import program
sys.argv = ["ddpmcodec", "encode", "large.png", "-o", sys.argv[1], "--plan-steps", "2"]
program()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are POSIX's")
@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 2)])
def test_a_terminal_is_asked(folder: Path, answer: bytes, code: int):
    keys, screen = pty.openpty()
    command = [sys.executable, "-c", ASKED, "asked.bin"]
    process = subprocess.Popen(command, stdin=screen, stdout=screen, stderr=screen)
    os.close(screen)
    os.write(keys, answer)
    said = b""
    try:
        while piece := os.read(keys, 1 << 16):
            said += piece
    except OSError:
        pass
    os.close(keys)
    assert process.wait(120) == code, said
    assert b"Begin?" in said
    assert Path("asked.bin").exists() == (code == 0)
