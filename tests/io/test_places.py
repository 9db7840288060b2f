"""Places: local paths stay what they are, and URLs answer as paths do, with every failure an OSError."""

from __future__ import annotations

import errno
import importlib
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.places import Remote, is_url, place_of


class Disk(LocalFileSystem):  # type: ignore[misc]
    """Stands for a server with directories: writes in pieces, and breaks in the middle of what is called broken."""

    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("disk://")

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        with open(path, "wb") as file:
            file.write(value[:1])
            if value == b"broken":
                raise ConnectionError("the line went dead\nand more")
            file.write(value[1:])


@pytest.fixture
def memory() -> Iterator[Remote]:
    place = place_of(f"memory://{uuid.uuid4().hex}")
    assert isinstance(place, Remote)
    yield place
    for name in place.files(recursive=True):
        (place / name).unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Remote:
    fsspec.register_implementation("disk", Disk, clobber=True)
    return Remote(f"disk://{tmp_path}/out")


@pytest.mark.parametrize("name", ["a.png", "/a/b.png", "-", "C:/a.png", "C://a.png", "s3:/a", "a::b", "x/s3://a"])
def test_paths_are_paths(name: str):
    assert not is_url(name)
    assert place_of(name) == Path(name)


def test_a_local_file_s_url_is_its_path():
    assert place_of("file:///a/b%20c.png") == Path("/a/b c.png")
    assert place_of("FILE://localhost/a/b#1?.png") == Path("/a/b#1?.png")
    for wrong in ("file://a.png", "file://a/b.png", "file://"):
        with pytest.raises(DdpmCodecError, match="three slashes"):
            place_of(wrong)


def test_what_nobody_opens_is_said():
    with pytest.raises(DdpmCodecError, match="nope"):
        place_of("nope://a/b")


def test_files_are_written_listed_read_and_removed(memory: Remote):
    for name in ("a.png", "deep/b.png", "deep/er/c.png"):
        (memory / name).write_bytes(name.encode())
    assert memory.files(recursive=True) == [PurePosixPath(n) for n in ("a.png", "deep/b.png", "deep/er/c.png")]
    assert list(memory.iterdir()) == [memory / "a.png"]
    assert memory.is_dir()
    assert (memory / "deep").is_dir()
    assert (memory / Path("deep", "b.png")).is_file()
    assert (memory / "deep/b.png").read_bytes() == b"deep/b.png"
    with (memory / "deep/b.png").open("rb") as file:
        assert file.read(4) == b"deep"
    (memory / "a.png").unlink()
    assert not (memory / "a.png").exists()
    assert pickle.loads(pickle.dumps(memory / "x")) == memory / "x"


def test_names_are_those_of_paths(memory: Remote):
    file = memory / "deep" / "b.tar.gz"
    assert (file.name, file.suffix, file.parent) == ("b.tar.gz", ".gz", memory / "deep")
    assert str(Remote("memory://a/") / "b") == "memory://a/b"


def test_failures_are_the_system_s(memory: Remote):
    with pytest.raises(FileNotFoundError) as missing:
        (memory / "none").read_bytes()
    assert missing.value.filename == str(memory / "none")
    with pytest.raises(OSError, match="Read only"):
        Remote("data://x").write_bytes(b"x")


def test_a_file_appears_whole_where_there_are_directories(disk: Remote, tmp_path: Path):
    file = disk / "de[ep]/*a.bin"
    file.write_bytes(b"first")
    with pytest.raises(OSError, match="the line went dead: "):
        file.write_bytes(b"broken")
    assert [path.name for path in (tmp_path / "out/de[ep]").iterdir()] == ["*a.bin"]
    assert file.read_bytes() == b"first"
    file.write_bytes(b"second")
    assert file.read_bytes() == b"second"


class Refusing(MemoryFileSystem):  # type: ignore[misc]
    """Stands for a bucket's server that refuses what `refusals` has an error for, by the method's name."""

    protocol = "gs"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    refusals: ClassVar[dict[str, Exception]] = {}
    asked: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("gs://").rstrip("/")

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        self.asked.append(path)
        if "info" in self.refusals:
            raise self.refusals["info"]
        return {"name": path, "size": 0, "type": "directory"}

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        raise self.refusals["cat_file"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setitem(vars(importlib.import_module("fsspec.registry"))["_registry"], "gs", Refusing)
    monkeypatch.setattr(Refusing, "refusals", {})
    monkeypatch.setattr(Refusing, "asked", [])
    return Remote("gs://bucket/deep/a.bin")


def test_a_bucket_that_isn_t_there_is_told_of_before_anything_is_written(bucket: Remote):
    bucket.check_writable()
    assert Refusing.asked == ["bucket"], "a bucket is asked for, and no file in it"
    Refusing.refusals["info"] = FileNotFoundError("bucket")
    with pytest.raises(FileNotFoundError, match="no such file, folder or bucket") as missing:
        bucket.check_writable()
    assert missing.value.filename == "gs://bucket/deep/a.bin"


def test_who_may_write_may_not_be_let_look(bucket: Remote):
    Refusing.refusals["info"] = PermissionError("no right to list")
    bucket.check_writable()
    assert Refusing.asked == ["bucket"]


@pytest.mark.parametrize(
    ("raised", "number", "words"),
    [
        (NotImplementedError(), errno.ENOTSUP, "gs:// can't do that"),
        (PermissionError("no right\nand more"), errno.EACCES, "no right"),
        (OSError(errno.ENOSPC, "no room"), errno.ENOSPC, "no room"),
        (KeyError("token"), errno.EIO, "token"),
    ],
)
def test_every_failure_of_a_server_is_an_oserror_of_one_line(
    bucket: Remote, raised: Exception, number: int, words: str
):
    Refusing.refusals["cat_file"] = raised
    with pytest.raises(OSError) as caught:
        bucket.read_bytes()
    assert caught.value.errno == number
    assert words in str(caught.value.strerror)
    assert "\n" not in str(caught.value)
    assert caught.value.filename == bucket.url


@pytest.mark.parametrize("raised", [MemoryError(), DdpmCodecError("ours")])
def test_what_isn_t_the_server_s_stays_what_it_is(bucket: Remote, raised: Exception):
    Refusing.refusals["cat_file"] = raised
    with pytest.raises(type(raised)) as caught:
        bucket.read_bytes()
    assert caught.value is raised


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("gs://bucket/a", ": pip install 'ddpmcodec[gs]'"),
        ("s3a://b/a", ": pip install 'ddpmcodec[s3]'"),
        ("disk://x", ""),
    ],
)
def test_a_library_that_isn_t_there_is_named(url: str, advice: str, monkeypatch: pytest.MonkeyPatch):
    def missing(url: str) -> None:
        raise ImportError("please install the library\nor another")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(DdpmCodecError) as caught:
        place_of(url)
    assert str(caught.value) == f"{url} needs a library (please install the library){advice}"


def test_folders_are_made_where_there_are_any(disk: Remote, memory: Remote, tmp_path: Path):
    (disk / "deep" / "er").mkdir()
    (disk / "deep" / "er").mkdir()
    assert (tmp_path / "out" / "deep" / "er").is_dir()
    with pytest.raises(OSError, match="exists"):
        (disk / "deep").mkdir(exist_ok=False)
    (memory / "deep").mkdir()
    assert not memory.exists()


def test_a_server_that_only_copies_gets_the_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where nothing can be renamed, writing beside the place and copying would promise no more."""
    monkeypatch.setattr(Disk, "mv", AbstractFileSystem.mv)
    written: list[str] = []
    monkeypatch.setattr(Disk, "pipe_file", lambda self, path, value: written.append(path))
    fsspec.register_implementation("disk", Disk, clobber=True)
    Remote(f"disk://{tmp_path}/deep/a.bin").write_bytes(b"x")
    assert written == [f"{tmp_path}/deep/a.bin"]
    assert (tmp_path / "deep").is_dir()
