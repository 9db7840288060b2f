"""Directories of results: a run's pictures are never mixed with another's, and nothing else in them is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.cli.archive_names import safe_png_name
from tests.cli.test_cli import assert_refused, names, run

MINE = ("notes.txt", "step-1.png", "0001.png", "step-001.png.bak", "x00000.png")


@pytest.fixture(scope="module")
def coded(picture: NDArray[np.uint8]) -> dict[str, bytes]:
    pair = [picture, picture[::-1].copy()]
    return {
        "two.ddpc": ddpmcodec.encode_archive(pair, plan_steps=2),
        "one.ddpc": ddpmcodec.encode_archive(pair[:1], plan_steps=2),
        "solid.ddpc": ddpmcodec.encode_archive(pair, plan_steps=2, solid=2),
        "s.bin": ddpmcodec.encode(picture, plan_steps=2),
    }


@pytest.fixture
def folder(coded: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; out/ in it has files of the user's."""
    monkeypatch.chdir(tmp_path)
    for name, data in coded.items():
        Path(name).write_bytes(data)
    Path("out").mkdir()
    for name in MINE:
        (tmp_path / "out" / name).write_text("mine")
    return tmp_path / "out"


def test_an_archive_s_pictures_never_join_another_s(folder: Path):
    assert run("decode", "two.ddpc", "-o", "out", "-q").exit_code == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert_refused(
        run("decode", "one.ddpc", "-o", "out", "-q"), "2 results of an earlier run", "00000.png", "--overwrite"
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert run("decode", "one.ddpc", "-o", "out", "--overwrite", "-q").exit_code == 0
    assert names(folder) == sorted(["00000.png", *MINE])
    assert all((folder / name).read_text() == "mine" for name in MINE)


def test_frames_never_join_another_run_s(folder: Path):
    frames = ("--frames", "out", "-q")
    assert run("decode", "s.bin", "-o", "x.png", *frames).exit_code == 0
    assert_refused(run("decode", "s.bin", "-o", "x.png", "--steps", 1, *frames), "2 results", "--overwrite")
    assert run("decode", "s.bin", "-o", "x.png", "--steps", 1, "--overwrite", *frames).exit_code == 0
    assert names(folder) == sorted(["step-001.png", *MINE])


def test_what_fails_before_its_first_picture_removes_nothing(folder: Path):
    assert run("decode", "s.bin", "-o", "x.png", "--frames", "out", "-q").exit_code == 0
    before = names(folder)
    assert_refused(
        run("decode", "s.bin", "-o", "x.png", "--steps", 9, "--frames", "out", "--overwrite", "-q"), "9 steps"
    )
    assert names(folder) == before


@pytest.mark.parametrize("steps", [-1, 0, 3, 1 << 70])
@pytest.mark.parametrize(
    "options", [("two.ddpc",), ("two.ddpc", "--index", 1), ("solid.ddpc",), ("solid.ddpc", "--index", 1)]
)
def test_steps_that_an_archive_doesn_t_hold_are_refused(folder: Path, options: tuple[object, ...], steps: int):
    target = "new.png" if "--index" in options else "new"
    assert_refused(run("decode", *options, "-o", target, "--steps", steps, "-q"), f"{steps} steps were asked for")
    assert not Path(target).exists()


@pytest.mark.parametrize("name", ["two.ddpc", "solid.ddpc"])
def test_where_part_of_an_archive_will_do_fewer_steps_than_asked_for_are_told_of(folder: Path, name: str):
    more, all_of_them = (
        run("decode", name, "-o", f"new-{n}", "--allow-partial", "--steps", n, "--debug") for n in (3, 2)
    )
    assert more.exit_code == all_of_them.exit_code == 0, more.output
    assert "warning: 3 steps were asked for; decoded all that pictures with fewer have: 0-1" in more.stderr
    assert "warning" not in all_of_them.stderr


@pytest.mark.parametrize("source", ["out/00000.png", "out/00007.png"])
def test_a_source_is_never_overwritten_as_a_result(folder: Path, coded: dict[str, bytes], source: str):
    Path(source).write_bytes(coded["two.ddpc"])
    assert_refused(run("decode", source, "-o", "out", "--overwrite", "-q"), "one file")
    assert Path(source).read_bytes() == coded["two.ddpc"]


def test_a_slash_at_the_end_says_directory(folder: Path):
    assert run("decode", "one.ddpc", "-o", "new.png/", "-q").exit_code == 0
    assert names(Path("new.png")) == ["00000.png"]
    assert_refused(run("decode", "s.bin", "-o", "nodir/", "-q"), "it is a directory")
    assert_refused(run("decode", "s.bin", "-o", "nodir.png/", "-q"), "it is a directory")
    assert not Path("nodir").exists()


def test_an_archive_s_pictures_have_their_names_again(folder: Path, picture: NDArray[np.uint8]):
    for name in ("one.png", "two.jpg"):
        Image.fromarray(picture).save(name)
    encode = ("encode", "one.png", "two.jpg", "--plan-steps", 2, "-q", "--names")
    assert run(*encode, "-o", "named.ddpc").exit_code == 0
    assert run("decode", "named.ddpc", "-o", "out", "-q").exit_code == 0
    assert names(folder) == sorted(["one.png", "two.jpg.png", *MINE])
    assert_refused(run("decode", "named.ddpc", "-o", "out", "-q"), "2 results of an earlier run")
    assert run("decode", "named.ddpc", "-o", "out", "--overwrite", "-q").exit_code == 0
    assert_refused(run("encode", "one.png", "-o", "x.bin", "--names"), "--names is for archives")


@pytest.mark.parametrize("name", ["", "..", ".", "a/..", "con", "NUL.png", "\x00", "/", ".hidden", " ", "..\\.."])
def test_names_that_could_do_harm_are_none(name: str, folder: Path, picture: NDArray[np.uint8]):
    safe = safe_png_name(name)
    assert safe is None or (safe == "_.png" and name == "\x00")
    Path("bad.ddpc").write_bytes(ddpmcodec.encode_archive([picture], names=[name], plan_steps=2))
    assert run("decode", "bad.ddpc", "-o", "new", "-q").exit_code == 0
    assert names(Path("new")) == [safe or "00000.png"]


def test_names_are_made_safe():
    assert safe_png_name("../../etc/passwd") == "passwd.png"
    assert safe_png_name("C:\\pictures\\a.PNG") == "a.png"
    assert safe_png_name('a<b>:"c|?*.jpg') == "a_b___c___.jpg.png"
    assert len(str(safe_png_name("ä" * 300)).encode()) <= 210
