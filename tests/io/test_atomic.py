from __future__ import annotations

import os
from pathlib import Path

import pytest

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
