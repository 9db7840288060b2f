from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddpmcodec.io import atomic
from ddpmcodec.io.atomic import write_whole


def test_bytes_are_on_the_disk_before_the_name_is_and_the_name_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        status = os.fstat(handle)
        what = "directory" if os.path.samestat(status, tmp_path.stat()) else f"{status.st_size} bytes"
        events.append(("sync", what))
        fsync(handle)

    def replaced(source: Path, target: Path) -> None:
        events.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_whole(tmp_path / "x.bin", bytes(1234))
    assert events == [("sync", "1234 bytes"), ("rename", "x.bin"), ("sync", "directory")]


def test_a_disk_that_can_t_be_synced_is_an_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "x.bin").write_bytes(b"old")

    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "x.bin", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() == b"old"


@pytest.fixture
def _windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system without fcntl, which renames no open file."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)
        importlib.reload(atomic)
        assert atomic.fcntl is None
        replace = os.replace
        opened = set[int]()
        patch.setattr(os, "open", lambda *given, of=os.open: (opened.add(handle := of(*given)), handle)[1])
        patch.setattr(os, "close", lambda handle, of=os.close: (opened.discard(handle), of(handle))[1])

        def renamed(source: Path, target: Path) -> None:
            assert not opened, "it is still open"
            replace(source, target)

        patch.setattr(os, "replace", renamed)
        yield
        assert not opened
    importlib.reload(atomic)
    assert atomic.fcntl is not None


@pytest.mark.skipif(atomic.fcntl is None, reason="this is such a system")
@pytest.mark.usefixtures("_windows")
def test_without_locks_files_are_closed_before_they_are_renamed_and_leftovers_stay(tmp_path: Path):
    (tmp_path / "x.bin").write_bytes(b"old")
    atomic.write_whole(tmp_path / "x.bin", b"new")
    assert (tmp_path / "x.bin").read_bytes() == b"new"
    with pytest.raises(KeyError), atomic.replacing(tmp_path / "x.bin"):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]
    leftover = tmp_path / ".x.partial-0123.bin"
    leftover.write_bytes(b"another process may be writing it")
    atomic.remove_leftovers(tmp_path)
    assert leftover.exists()


@pytest.mark.skipif(atomic.fcntl is None, reason="leftovers stay here")
def test_leftovers_are_removed_unless_they_are_being_written(tmp_path: Path):
    dead = tmp_path / ".x.partial-0123.bin"
    dead.write_bytes(b"")
    with atomic.replacing(tmp_path / "y.bin") as temporary:
        atomic.remove_leftovers(tmp_path)
        assert not dead.exists()
        assert temporary.exists()
