"""Ray Data on this machine: two workers make what the folder command makes, though one is killed in the middle.

Opt-in: runs where `pip install 'ddpmcodec[ray]'` was done.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.many.coding import Coded, Decoding, Encoding
from ddpmcodec.many.folder import decoding_work, encoding_work
from tests.cli.test_cli import run

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'ddpmcodec[ray]'")
pytest.importorskip("ray.data")
from ddpmcodec.ray import decode_dataset, encode_dataset, run_on_ray  # noqa: E402

OPTIONS = {"plan_steps": 2}


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Two workers' worth of cores, whatever the machine has."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path, picture: NDArray[np.uint8]) -> Path:
    """Nine pictures of two sizes, and a broken one."""
    (tmp_path / "photos").mkdir()
    for i in range(9):
        size = (16, 16) if i % 3 else (24, 8)
        Image.fromarray(np.roll(picture, i, 0)).resize(size).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"none")
    return tmp_path / "photos"


@dataclass(frozen=True)
class KilledOnce:
    """Encoding during which the system kills the worker, the first time that it codes a batch."""

    marker: str
    coding: Encoding = field(default_factory=lambda: Encoding(options=OPTIONS))

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        if not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.coding(sources, wanted)


def read(folder: Path) -> Any:
    return ray.data.read_binary_files([str(path) for path in sorted(folder.iterdir())], include_paths=True)


def test_a_dataset_is_coded_as_the_folder_is_though_a_worker_is_killed(photos: Path, tmp_path: Path):
    coding = KilledOnce(str(tmp_path / "marker"))
    rows = encode_dataset(read(photos), coding, workers=2, num_cpus=0.5).take_all()  # type: ignore[arg-type]
    assert (tmp_path / "marker").exists()
    assert sorted(Path(row["path"]).name for row in rows) == sorted(path.name for path in photos.iterdir())
    (broken,) = (row for row in rows if row["error"])
    assert Path(broken["path"]).name == "broken.png"
    work = encoding_work(photos, tmp_path / "out", Encoding(options=OPTIONS), recursive=False, overwrite=False)
    list(work.run(1))
    streams = {Path(row["path"]).name: row["stream"] for row in rows if not row["error"]}
    assert {f"{name}.ddpc": data for name, data in streams.items()} == {
        path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.ddpc")
    }
    decoded = decode_dataset(ray.data.from_items(rows), workers=1, num_cpus=0.5).take_all()
    assert {Path(row["path"]).name for row in decoded if row["error"]} == {"broken.png"}
    assert sum(bool(row["png"]) for row in decoded) == len(streams) == 9


def test_a_folder_on_ray_is_the_folder_on_one_machine(photos: Path, tmp_path: Path):
    def run(folder: str, coder: Any) -> dict[str, bytes]:
        work = encoding_work(photos, tmp_path / folder, Encoding(options=OPTIONS), recursive=False, overwrite=False)
        done = list(work.run(2, coder) if coder else work.run(1))
        assert [item.file for item in done if item.error] == ["broken.png"]
        assert len(done) == 10
        return streams(tmp_path / folder)

    def killed(tasks: Any, coding: Encoding, workers: int) -> Any:
        return run_on_ray(tasks, KilledOnce(str(tmp_path / "marker"), coding), workers)

    assert run("ray", killed) == run("here", None)
    assert (tmp_path / "marker").exists()
    back = decoding_work(tmp_path / "ray", tmp_path / "back", Decoding(), recursive=False, overwrite=False)
    assert sum(done.error is None for done in back.run(2, run_on_ray)) == 9


def test_the_command_line_takes_urls(photos: Path, tmp_path: Path):
    options = ("--plan-steps", 2, "--channel", "trellis:8", "-q")
    assert run("encode", photos, "-o", tmp_path / "here", "--jobs", 1, *options).exit_code == 2
    ray_on = ("--engine", "ray", "--jobs", 2)
    there = run("encode", photos.as_uri(), "-o", (tmp_path / "there").as_uri(), *ray_on, *options)
    assert there.exit_code == 2
    assert "broken.png" in there.stderr
    assert streams(tmp_path / "there") == streams(tmp_path / "here")
    (photos / "broken.png").unlink()
    nothing_left = run("encode", photos, "-o", tmp_path / "there", *ray_on, *options)
    assert nothing_left.exit_code == 0, nothing_left.output


def streams(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.ddpc")}
