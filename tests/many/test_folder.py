"""Folders: every picture its own result, whatever is broken beside it, however often the run is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.cli.speech import tell_interrupted
from ddpmcodec.many.batches import Sized, in_batches, sized_picture
from ddpmcodec.many.coding import Coded, Encoding
from ddpmcodec.many.folder import Done, Work, encoding_work
from ddpmcodec.many.journal import NAME, digest
from ddpmcodec.many.listing import coded_name, picture_name, pictures_in
from ddpmcodec.many.pool import Task, run_tasks
from tests.cli.test_cli import run

QUICK = ("--plan-steps", 2, "--jobs", 1, "-q")
GOOD = ["a.jpg", "a.png", "deep/er/a.png", "deep/wide.bmp", "one.webp", "two.png"]
BROKEN = ["cut.png", "none.jpg"]


@pytest.fixture
def photos(tmp_path: Path, picture: NDArray[np.uint8]) -> Path:
    """A tree of pictures of three sizes, two of them broken, and files that are none."""
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    sizes = {"deep/wide.bmp": (24, 8), "one.webp": (8, 24)}
    for i, name in enumerate(GOOD):
        Image.fromarray(np.roll(picture, i, 0)).resize(sizes.get(name, (16, 16))).save(folder / name)
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "none.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    (folder / "empty").write_bytes(b"")
    (folder / ".hidden.png").write_bytes(b"mine")
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != NAME}


def test_a_folder_goes_there_and_back(photos: Path, tmp_path: Path):
    done = run("encode", photos, "-o", "out", "-r", *QUICK, "--json")
    assert done.exit_code == 2
    said = json.loads(done.stdout)
    assert (said["done"], said["before"]) == (6, 0)
    assert [item["file"] for item in said["failed"]] == BROKEN
    assert "damaged" in said["failed"][0]["error"]
    assert "empty" in said["failed"][1]["error"]
    lines = done.stderr.splitlines()
    assert lines[0] == "error: 2 files could not be encoded:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == BROKEN
    assert sorted(tree(tmp_path / "out")) == sorted(f"{name}.ddpc" for name in GOOD)
    assert run("decode", "out", "-o", "back", "-r", "--jobs", 1, "-q").exit_code == 0
    back = tree(tmp_path / "back")
    assert sorted(back) == ["a.jpg.png", "a.png", "deep/er/a.png", "deep/wide.bmp.png", "one.webp.png", "two.png"]
    for name in back:
        stream = tmp_path / "out" / f"{name if name in GOOD else name.removesuffix('.png')}.ddpc"
        shown = np.asarray(Image.open(tmp_path / "back" / name).convert("RGB"))
        assert np.abs(shown.astype(int) - ddpmcodec.decode(stream.read_bytes())).max() <= 1  # in a batch, or alone


def test_a_link_to_nowhere_is_a_broken_picture(photos: Path):
    (photos / "lost.png").symlink_to("nowhere.png")
    done = run("encode", photos, "-o", "out", "-r", *QUICK)
    assert done.exit_code == 2
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()[1:]] == sorted([*BROKEN, "lost.png"])
    assert "No such file" in done.stderr


def test_an_interrupted_run_says_what_is_done(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    original = Work.run

    def interrupted(work: Work, jobs: int | None = None) -> Iterator[Done]:
        for item in original(work, jobs):
            yield item
            if item.error is None:
                raise KeyboardInterrupt

    monkeypatch.setattr(Work, "run", interrupted)
    for so_far in ("1 file", "2 files"):
        done = run("encode", photos, "-o", "out", *QUICK)
        assert done.exit_code == 130
        assert done.stderr == f"interrupted; {so_far} encoded so far; the same command goes on from there\n"
    tell_interrupted()  # as the program does in the end
    assert capsys.readouterr().err == ""


def test_without_recursive_only_the_folder_itself(photos: Path, tmp_path: Path):
    assert run("encode", photos, "-o", "out", *QUICK).exit_code == 2
    assert sorted(tree(tmp_path / "out")) == ["a.jpg.ddpc", "a.png.ddpc", "one.webp.ddpc", "two.png.ddpc"]
    inside = pictures_in(photos, recursive=True, leave_out=photos / "deep")
    assert [str(path) for path in inside] == ["a.jpg", "a.png", "cut.png", "none.jpg", "one.webp", "two.png"]


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_run_that_was_killed_goes_on_and_leaves_what_it_would_have_left(photos: Path, tmp_path: Path, stop: int):
    coding = Encoding(options={"plan_steps": 2})

    def work(folder: str):
        return encoding_work(photos, tmp_path / folder, coding, recursive=True, overwrite=False)

    assert sum(done.error is None for done in work("whole").run(1)) == 6
    killed = work("killed").run(1)
    while len(tree(tmp_path / "killed")) < stop:
        next(killed)
    killed.close()
    (tmp_path / "killed" / NAME).open("a").write('{"file":"two.p')  # what a process leaves that dies while it writes
    again = work("killed")
    assert again.finished == len(tree(tmp_path / "killed"))
    assert [done.file for done in again.run(1) if done.error is not None] == BROKEN
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
    last = work("killed")
    assert (last.finished, last.files) == (6, 2)


def test_done_is_what_the_contents_say(photos: Path, tmp_path: Path, picture: NDArray[np.uint8]):
    out = tmp_path / "out"
    assert run("encode", photos, "-o", "out", *QUICK).exit_code == 2
    first = tree(out)
    (out / "a.png.ddpc").write_bytes(first["a.png.ddpc"][:-1])  # damaged since
    Image.fromarray(picture).resize((16, 16)).rotate(90).save(photos / "two.png")  # changed since
    os.utime(photos / "a.jpg")  # only touched
    said = json.loads(run("encode", photos, "-o", "out", *QUICK, "--json").stdout)
    assert (said["done"], said["before"]) == (1, 2)
    assert [item["file"] for item in said["failed"]] == ["a.png", *BROKEN]
    assert "no result of an earlier run" in said["failed"][0]["error"]
    assert run("encode", photos, "-o", "out", *QUICK, "--overwrite").exit_code == 2
    mended = tree(out)
    assert mended["a.jpg.ddpc"] == first["a.jpg.ddpc"]
    assert mended["two.png.ddpc"] != first["two.png.ddpc"]
    assert ddpmcodec.verify(mended["a.png.ddpc"]).size == len(mended["a.png.ddpc"])


def test_results_of_other_options_are_kept(photos: Path, tmp_path: Path):
    assert run("encode", photos, "-o", "out", *QUICK).exit_code == 2
    before = tree(tmp_path / "out")
    other = run("encode", photos, "-o", "out", *QUICK, "--quality", 20)
    assert other.exit_code == 2
    assert "4 results of other options" in other.stderr
    assert tree(tmp_path / "out") == before
    assert run("encode", photos, "-o", "out", *QUICK, "--quality", 20, "--overwrite").exit_code == 2
    assert tree(tmp_path / "out").keys() == before.keys()
    assert not tree(tmp_path / "out").items() & before.items()


def test_a_frame_or_a_background_for_the_pictures_that_failed_is_no_other_option(photos: Path, tmp_path: Path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (16, 16), (255, 0, 0, 128)).save(photos / "clear.png")
    first = json.loads(run("encode", photos, "-o", "out", *QUICK, "--json").stdout)
    failed = {item["file"]: item["error"] for item in first["failed"]}
    assert sorted(failed) == sorted([*BROKEN, "clear.png", "moving.gif"])
    assert "--frame 0" in failed["moving.gif"]
    assert "by itself" in failed["moving.gif"]
    before = tree(tmp_path / "out")
    for more, name in ((("--frame", 0), "moving.gif"), (("--frame", 0, "--flatten", "white"), "clear.png")):
        said = json.loads(run("encode", photos, "-o", "out", *QUICK, "--json", *more).stdout)
        assert said["done"] == 1
        assert said["before"] == len(before)
        before = before | {f"{name}.ddpc": (tmp_path / "out" / f"{name}.ddpc").read_bytes()}
        assert tree(tmp_path / "out") == before


def test_what_is_no_result_is_never_replaced(photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png.ddpc").write_text("mine")
    done = run("encode", photos, "-o", "out", *QUICK)
    assert "a.png.ddpc is there" in done.stderr
    assert (out / "a.png.ddpc").read_text() == "mine"
    assert (out / "a.jpg.ddpc").exists()
    for arguments, word in {
        ("encode", photos, "-o", photos / "notes.txt"): "is a file",
        ("encode", photos, "-o", "-"): "into a folder",
        ("encode", photos, "-o", "x.bin"): "called like a file",
        ("encode", photos, photos / "a.png", "-o", "x"): "name it alone",
        ("encode", photos, "-o", "x", "--archive"): "--archive",
        ("encode", photos, "-o", "x", "--quality", 500): "quality",
        ("encode", photos / "a.png", "-o", "x", "--jobs", 2): "--jobs is for folders",
        ("decode", photos, "-o", "x"): "no coded picture",
        ("decode", photos, "-o", "x", "--index", 0): "single files",
        ("encode", tmp_path / "out", "-o", "x"): "no picture",
    }.items():
        refused = run(*arguments)
        assert refused.exit_code == 2
        assert word in refused.stderr
    assert not (tmp_path / "x").exists()


def test_broken_streams_are_listed_too(photos: Path, tmp_path: Path):
    assert run("encode", photos, "-o", "out", *QUICK).exit_code == 2
    out = tmp_path / "out"
    whole = (out / "a.png.ddpc").read_bytes()
    (out / "a.png.ddpc").write_bytes(whole[:-4])
    (out / "b.png.ddpc").write_bytes(b"none")
    shutil.copy(out / "a.jpg.ddpc", out / "a.jpg.png.ddpc")
    done = run("decode", "out", "-o", "back", "--jobs", 1, "-q")
    assert done.exit_code == 2
    listed = [line.split(":")[0].strip() for line in done.stderr.splitlines()]
    assert listed == ["error", "a.jpg.png.ddpc", "a.png.ddpc", "b.png.ddpc"]
    assert sorted(tree(tmp_path / "back")) == ["a.jpg.png", "one.webp.png", "two.png"]


def test_more_steps_than_a_stream_has_are_its_error_and_where_all_fail_there_is_no_folder(photos: Path, tmp_path: Path):
    run("encode", photos, "-o", "out", *QUICK)
    stream = tmp_path / "out" / "a.png.ddpc"
    stream.write_bytes(ddpmcodec.truncate(stream.read_bytes(), steps=1))
    done = run("decode", "out", "-o", "back", "--steps", 2, "--jobs", 1, "-q")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "error: 1 file could not be decoded:",
        "  a.png.ddpc: 2 steps were asked for; this stream has 1 to 1",
    ]
    assert sorted(tree(tmp_path / "back")) == ["a.jpg.png", "one.webp.png", "two.png"]
    assert run("decode", "out", "-o", "none", "--steps", 3, "--jobs", 1, "-q").exit_code == 2
    assert not (tmp_path / "none").exists()


def test_no_two_pictures_have_one_name():
    names = [PurePath("a.png"), PurePath("a.jpg"), PurePath("x/a.png"), PurePath("a"), PurePath("a.PNG")]
    assert len({coded_name(name) for name in names}) == len(names)
    back = [picture_name(coded_name(name)).as_posix() for name in names]
    assert back == ["a.png", "a.jpg.png", "x/a.png", "a.png", "a.PNG"]
    assert picture_name(PurePath(".png.ddpc")).name == ".png.png"


def test_batches_are_of_one_size_and_don_t_depend_on_the_order(tmp_path: Path, picture: NDArray[np.uint8]):
    files = [Sized(Path(f"{i:02d}"), (8, 8) if i % 3 else None, 64 if i % 3 else 0) for i in range(20)]
    batches = in_batches(files, at_a_time=4)
    assert batches == in_batches(files[::-1], at_a_time=4)
    assert sorted(file for batch in batches for file in batch) == files
    assert all(len(batch) == 1 or (len({f.kind for f in batch}) == 1 and len(batch) <= 4) for batch in batches)
    assert [len(b) for b in in_batches([Sized(Path(f"{i}"), (1,), 1 << 19) for i in range(5)])] == [2, 2, 1]
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(picture[:16]).save(tmp_path / "turned.jpg", exif=turned)
    assert sized_picture(Path("turned"), tmp_path / "turned.jpg").kind == (32, 16)
    assert sized_picture(Path("none"), b"none").kind is None


@dataclass(frozen=True)
class Deadly:
    """Stands for a coding during which the system kills the process: the first time, or every time for some files."""

    marker: Path

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        if b"deadly" in sources or (b"once" in sources and not self.marker.exists()):
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [Coded(source, source=digest(source)) for source in sources]


def test_a_process_that_dies_costs_no_file(tmp_path: Path):
    for name in ("one", "once", "deadly", "two"):
        (tmp_path / name).write_text(name)
    paths = [(tmp_path / name,) for name in ("one", "once", "deadly", "two")]
    found = dict(run_tasks([Task(path, (True,)) for path in paths], Deadly(tmp_path / "marker"), 2))
    results = {task.paths[0].name: coded[0] for task, coded in found.items()}
    assert {name: coded.result for name, coded in results.items() if coded.error is None} == {
        "one": b"one",
        "once": b"once",
        "two": b"two",
    }
    assert "ended by the system, twice" in str(results["deadly"].error)


def test_processes_make_what_one_makes(photos: Path, tmp_path: Path):
    coding = Encoding(options={"plan_steps": 2})
    for folder, jobs in (("one", 1), ("two", 2)):
        work = encoding_work(photos, tmp_path / folder, coding, recursive=True, overwrite=False)
        assert sum(done.error is None for done in work.run(jobs)) == 6
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize(
    ("sides", "cores", "jobs"),
    [((32, 40), 2, 1), ((32, 40), 4, 4), ((32, 200), 2, 2), ((200, 210), 2, 2), ((32,), 4, 1)],
)
def test_processes_where_they_are_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sides: tuple[int, ...], cores: int, jobs: int
):
    (tmp_path / "in").mkdir()
    for i in range(60 if len(sides) > 1 else 3):
        side = sides[i % len(sides)]
        Image.new("RGB", (side, side), (i, 2 * i, 3)).save(tmp_path / "in" / f"{i}.png")
    monkeypatch.setattr("ddpmcodec.many.folder.usable_cores", lambda: cores)
    asked = list[int]()

    def watched(tasks: Sequence[Task], coding: object, count: int) -> Iterator[tuple[Task, list[Coded]]]:
        asked.append(count)
        return iter([])

    work = encoding_work(tmp_path / "in", tmp_path / "out", Encoding(), recursive=False, overwrite=False)
    assert list(work.run(run_tasks=watched)) == []
    assert asked == [min(jobs, len(work.batches))]
