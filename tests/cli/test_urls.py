"""URLs in every command that reads or writes pictures and streams: what comes out is what local files give."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.eval.rd.pictures import load_pictures
from ddpmcodec.io.datasets import load_images
from ddpmcodec.io.places import Remote
from ddpmcodec.many.journal import NAME
from ddpmcodec.training import training_images
from tests.cli.test_cli import assert_refused, run

QUICK = ("--plan-steps", 2, "--channel", "trellis:8", "-q")
HOME = Remote("memory://home")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(":")]
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((16, 16)).save(buffer, "PNG")
    return buffer.getvalue()


def remote_files() -> dict[str, bytes]:
    return {str(name): (HOME / name).read_bytes() for name in HOME.files(recursive=True) if NAME not in name.parts}


def test_each_command_takes_urls(png: bytes, tmp_path: Path):
    (HOME / "a.png").write_bytes(png)
    Path("a.png").write_bytes(png)
    assert run("encode", "a.png", "-o", "a.bin", *QUICK).exit_code == 0
    assert run("encode", HOME / "a.png", "-o", HOME / "a.bin", *QUICK).exit_code == 0
    assert (HOME / "a.bin").read_bytes() == Path("a.bin").read_bytes()
    url = (tmp_path / "a.bin").as_uri()
    assert run("info", url).stdout == run("info", HOME / "a.bin").stdout == run("info", "a.bin").stdout
    assert run("verify", HOME / "a.bin", url).exit_code == 0
    assert run("truncate", HOME / "a.bin", "-o", HOME / "b.bin", "--steps", 1, "-q").exit_code == 0
    assert 0 < len((HOME / "b.bin").read_bytes()) < len((HOME / "a.bin").read_bytes())
    whole = ("decode", HOME / "a.bin", "-o", HOME / "back.png", "--frames", HOME / "frames", "--webp", HOME / "a.webp")
    assert run(*whole, "-q").exit_code == 0
    assert run("decode", url, "-o", (tmp_path / "back.png").as_uri(), "-q").exit_code == 0
    assert (HOME / "back.png").read_bytes() == Path("back.png").read_bytes()
    assert {"frames/step-001.png", "frames/step-002.png", "a.webp"} < remote_files().keys()
    assert_refused(run(*whole, "-q"), "2 results of an earlier run", "--overwrite")
    assert run(*whole, "-q", "--overwrite", "--steps", 1).exit_code == 0
    assert "frames/step-002.png" not in remote_files()
    page = ("view", HOME / "a.bin", "-o", HOME / "a.html", "--original", HOME / "a.png", "-q")
    assert run(*page).exit_code == 0
    assert b"a.bin" in (HOME / "a.html").read_bytes()


def test_what_is_trained_and_measured_on_may_be_urls(picture: NDArray[np.uint8], tmp_path: Path):
    """Folders, mosaics, and archives of pictures."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for i, name in enumerate(("photos/b.png", "photos/a.png", "photos/notes.txt", "set.png")):
            coded = io.BytesIO()
            Image.fromarray(np.roll(picture, i, 0)).save(coded, "PNG")
            for place in (HOME / name, tmp_path / name):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(coded.getvalue())
            archive.writestr(name, coded.getvalue())
    for place in (HOME, tmp_path):
        (place / "p.zip").write_bytes(packed.getvalue())
        (place / "set.names.txt").write_bytes(b"one\ntwo\nthree\nfour\n")
    for base in (HOME, tmp_path.as_uri()):
        for name in ("photos", "set.png", "p.zip"):
            ours, theirs = (training_images([f"{where}/{name}"], 16).training for where in (base, tmp_path))
            assert len(ours) == len(theirs) > 1
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert np.array_equal(load_images(f"{base}/photos", 16), load_images(tmp_path / "photos", 16))
        for name in ("photos", "set.png"):
            ours, theirs = (load_pictures(f"{where}/{name}", 16) for where in (base, tmp_path))
            assert (ours.names, ours.source, ours.digest()) == (theirs.names, theirs.source, theirs.digest())
    lost = HOME / "lost"
    for command in (
        ("nll", "--data", lost),
        ("rd", "--data", lost, "-o", "out"),
        ("plan", "cifar10-small", "--data", lost),
    ):
        assert_refused(run(*command), str(lost), "not found")
    assert_refused(run("rd", "--data", "nosuch://a/b", "-o", "out"), "nosuch")


def test_archives_take_urls(png: bytes):
    (HOME / "a.png").write_bytes(png)
    both = ("encode", HOME / "a.png", HOME / "a.png", "-o", HOME / "set.ddpc", *QUICK)
    assert run(*both).exit_code == 0
    assert run("decode", HOME / "set.ddpc", "-o", HOME / "pictures", "-q").exit_code == 0
    assert {"pictures/00000.png", "pictures/00001.png"} < remote_files().keys()
    assert_refused(run("decode", HOME / "set.ddpc", "-o", HOME / "pictures", "-q"), "2 results of an earlier run")


def test_folders_are_coded_from_url_to_url_and_gone_on_with(png: bytes, tmp_path: Path):
    for name in ("a.png", "deep/a.jpg", "deep/er/b.png", ".hidden/c.png"):
        (HOME / "photos" / name).write_bytes(png)
    (HOME / "photos/cut.png").write_bytes(png[:100])
    (tmp_path / "photos" / "deep" / "er").mkdir(parents=True)
    for name in ("a.png", "deep/a.jpg", "deep/er/b.png"):
        (tmp_path / "photos" / name).write_bytes(png)
    assert run("encode", "photos", "-o", "coded", "-r", "--jobs", 1, *QUICK).exit_code == 0
    encode = ("encode", HOME / "photos", "-o", HOME / "photos/coded", "-r", "--jobs", 1, *QUICK, "--json")
    first = run(*encode)
    assert first.exit_code == 2
    assert [item["file"] for item in json.loads(first.stdout)["failed"]] == ["cut.png"]
    before = remote_files()
    made = {name.removeprefix("photos/coded/"): data for name, data in before.items() if name.endswith(".ddpc")}
    assert made == {p.relative_to("coded").as_posix(): p.read_bytes() for p in Path("coded").rglob("*.ddpc")}
    (HOME / "photos/coded/a.png.ddpc").unlink()
    for times in range(3):  # the journal's parts become one, and say what they said
        again = json.loads(run(*encode).stdout)
        assert (again["done"], again["before"]) == ((1, 2) if times == 0 else (0, 3))
    assert remote_files() == before
    assert len((HOME / "photos/coded" / NAME).files(recursive=False)) <= 2
    assert_refused(run(*encode[:-1], "--quality", 20), "3 results of other options")
    (HOME / "photos/coded/a.png.ddpc").write_bytes(b"mine")
    assert "no result of an earlier run" in run(*encode).stderr
    assert run("decode", HOME / "photos/coded", "-o", "back", "-r", "--jobs", 1, "-q").exit_code == 2
    assert sorted(p.name for p in Path("back").rglob("*.png")) == ["a.jpg.png", "b.png"]
    uri = (tmp_path / "coded").as_uri()
    assert run("decode", uri, "-o", (tmp_path / "again").as_uri(), "-r", "--jobs", 1, "-q").exit_code == 0
    assert sorted(p.name for p in Path("again").rglob("*.png")) == ["a.jpg.png", "a.png", "b.png"]


def test_no_bucket_writes_outside_of_the_folder(png: bytes):
    fs, path = (HOME / "photos").opened()
    fs.pipe_file(f"{path}/../../up.png", png)
    fs.pipe_file(f"{path}//root.png", png)
    done = run("encode", HOME / "photos", "-o", "coded", "-r", "--jobs", 1, *QUICK)
    assert done.exit_code == 2
    assert done.stderr.count("leads out of the folder") == 2
    assert not list(Path().rglob("*.ddpc"))


def test_what_can_t_be_done_is_said_in_a_line(png: bytes):
    (HOME / "a.png").write_bytes(png)
    for arguments, words in {
        ("info", HOME / "none.bin"): ("can't read memory://home/none.bin", "no such file"),
        ("verify", HOME / "none.bin"): (),
        ("encode", "nope://a.png", "-o", "a.bin"): ("nope",),
        ("encode", "file://a.png", "-o", "a.bin"): ("three slashes",),
        ("encode", HOME / "a.png", "-o", HOME / "a.png"): ("are one file",),
        ("encode", HOME / "a.png", "-o", f"{HOME}/"): ("it is a directory",),
        ("encode", HOME / "a.png", "-o", "data://x"): ("Read only",),
        ("encode", HOME / "a.png", "-o", "a.bin", "--model", HOME / "m.safetensors"): ("m.safetensors",),
        ("encode", HOME / "none", "-o", HOME / "coded"): ("no such file",),
        ("join", "a", "b", "--at", 0, "-o", HOME / "m.safetensors"): ("URLs are for pictures and streams",),
        ("train", "-o", HOME / "run", "--data", "photos"): ("URLs are for pictures and streams",),
    }.items():
        refused = run(*arguments)
        assert refused.exit_code == 2, arguments
        assert all(word in refused.output for word in words), (arguments, refused.output)
        assert "Traceback" not in refused.output
