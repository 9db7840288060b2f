"""Places: local paths stay what they are, and URLs answer as paths do, with every failure an OSError."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

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
