"""The study of processes and threads: the same pictures each way, and files that must be the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddpmcodec.eval.studies import jobs
from ddpmcodec.eval.studies.jobs import Way


def copied(photos: Path, target: Path, way: Way) -> dict[str, float]:
    target.mkdir()
    for path in photos.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return {"command_seconds": 2.0 * way.threads, "seconds": float(way.jobs)}


def test_each_way_takes_its_turns(tmp_path: Path):
    result = jobs.study(tmp_path, cores=2, times=3, share=0.02, run=copied)
    assert result["sets"].keys() == jobs.SETS.keys()
    for found in result["sets"].values():
        assert found["pictures"] >= 4
        assert list(found["ways"]) == ["1 x 1", "1 x 2", "2 x 1"]
        assert found["ways"]["1 x 2"] == {
            "command_seconds": [4.0] * 3,
            "seconds": [1.0] * 3,
            "median_command_seconds": 4.0,
            "median_seconds": 1.0,
            "same_files": found["pictures"],
        }
    assert jobs.ways(1) == [Way(1, 1)]


def test_other_files_are_noticed(tmp_path: Path):
    def other(photos: Path, target: Path, way: Way) -> dict[str, float]:
        seconds = copied(photos, target, way)
        (target / "0000.png").write_bytes(bytes([way.jobs]))
        return seconds

    found = jobs.study(tmp_path / "a", cores=2, times=1, share=0.02, run=other)["sets"]["32x32"]
    assert found["ways"]["2 x 1"]["same_files"] == found["pictures"] - 1

    def fewer(photos: Path, target: Path, way: Way) -> dict[str, float]:
        seconds = copied(photos, target, way)
        (target / "0000.png").unlink() if way.jobs == 2 else None
        return seconds

    with pytest.raises(AssertionError, match="2 x 1 makes other files"):
        jobs.study(tmp_path / "b", cores=2, times=1, share=0.02, run=fewer)
