"""encode's options for strangers' pictures, and what it says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddpmcodec
from tests.cli.test_cli import assert_refused, names, run
from tests.io.test_reading import P3, saved

FAST = ("--plan-steps", 2)
FRAMES = [np.full((8, 9, 3), 50 + 60 * i, np.uint8) for i in range(3)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: anim.gif of three frames, p3.png with a profile, plain.png."""
    monkeypatch.chdir(tmp_path)
    first, *rest = [Image.fromarray(frame) for frame in FRAMES]
    first.save("anim.gif", save_all=True, append_images=rest)
    Path("p3.png").write_bytes(saved(Image.fromarray(np.full((8, 9, 3), (200, 60, 60), np.uint8)), icc_profile=P3))
    Image.fromarray(FRAMES[0]).save("plain.png")
    return tmp_path


def test_one_frame_or_all_of_them(folder: Path):
    before = names(folder)
    assert_refused(run("encode", "anim.gif", "-o", "x.bin", *FAST, "-q"), "3 frames", "--frame", "--all-frames")
    assert_refused(run("encode", "anim.gif", "-o", "x.bin", "--frame", 3, *FAST, "-q"), "frame 3")
    assert_refused(run("encode", "anim.gif", "plain.png", "-o", "x.bin", "--frame", 1, *FAST, "-q"), "--frame")
    assert names(folder) == before
    assert run("encode", "anim.gif", "-o", "one.bin", "--frame", 1, "--lossless", *FAST, "-q").exit_code == 0
    np.testing.assert_array_equal(ddpmcodec.decode(Path("one.bin").read_bytes()), FRAMES[1])
    assert (
        run("encode", "anim.gif", "plain.png", "-o", "all.ddpc", "--all-frames", "--lossless", *FAST, "-q").exit_code
        == 0
    )
    pictures = [item.image for item in ddpmcodec.decode_archive(Path("all.ddpc").read_bytes())]
    np.testing.assert_array_equal(pictures, [*FRAMES, FRAMES[0]])


def test_frames_of_other_sizes_are_named(folder: Path):
    Image.new("RGB", (5, 5)).save("small.png")
    said = run("encode", "anim.gif", "small.png", "-o", "all.ddpc", "--all-frames", *FAST, "-q")
    assert_refused(said, "small.png (frame 0) is 5x5", "anim.gif (frame 0) is 9x8")


def test_converted_colours_are_told_of(folder: Path):
    lossy = run("encode", "p3.png", "-o", "x.bin", *FAST)
    assert lossy.exit_code == 0, lossy.output
    assert "note: p3.png: colours converted to sRGB" in lossy.stderr
    assert "note" not in run("encode", "plain.png", "-o", "x.bin", *FAST).stderr
    assert_refused(run("encode", "p3.png", "-o", "y.bin", "--icc", "rgb", *FAST, "-q"), "--icc 'rgb'")
    assert not Path("y.bin").exists()
    assert run("encode", "p3.png", "-o", "y.bin", "--lossless", "--icc", "srgb", *FAST, "-q").exit_code == 0
    assert ddpmcodec.decode(Path("y.bin").read_bytes())[0, 0, 0] > 205
    assert not ddpmcodec.read_header(Path("y.bin").read_bytes()).fields
