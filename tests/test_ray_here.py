"""The logic of `ddpmcodec.ray` without Ray: a stand-in delivers in any order, and lets workers die.

tests/test_ray.py has the same properties of Ray itself, where that is installed.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.many.batches import in_batches, sized_picture
from ddpmcodec.many.coding import Coded, Decoding, Encoding
from ddpmcodec.many.folder import decoding_work, encoding_work
from ddpmcodec.many.journal import digest
from ddpmcodec.many.pool import Task, work
from tests.tools.fake_ray import Cluster, Death, TaskError

OPTIONS = {"plan_steps": 2}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def ours(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`ddpmcodec.ray` on the stand-in; what was loaded of Ray itself comes back afterwards."""
    before = vars(ddpmcodec).get("ray")
    with monkeypatch.context() as patch:
        for name, module in cluster.modules().items():
            patch.setitem(sys.modules, name, module)
        patch.delitem(sys.modules, "ddpmcodec.ray", raising=False)
        yield importlib.import_module("ddpmcodec.ray")
        del sys.modules["ddpmcodec.ray"]
    vars(ddpmcodec).pop("ray", None)
    if before is not None:
        vars(ddpmcodec)["ray"] = before


@pytest.fixture
def data(ours: Any) -> Any:
    return sys.modules["ray.data"]


@pytest.fixture
def photos(tmp_path: Path, picture: NDArray[np.uint8]) -> Path:
    """Five pictures of two sizes, and a broken one."""
    (tmp_path / "photos").mkdir()
    for i in range(5):
        size = (16, 16) if i % 3 else (24, 8)
        Image.fromarray(np.roll(picture, i, 0)).resize(size).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"none")
    return tmp_path / "photos"


@dataclass(frozen=True)
class Reversing:
    """Stands for a coding: a file's result is its bytes backwards, and its source says with which files it came.

    It dies the first time that it is called, where there is a marker to keep that by; b"bad" is a broken file.
    """

    marker: Path | None = None
    error: type[Exception] | None = None

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        if self.error is not None:
            raise self.error("a bug")
        if self.marker is not None and not self.marker.exists():
            self.marker.touch()
            raise Death
        together = b"+".join(sources).decode()
        done = [Coded(source[::-1], source=together, notes=("one", "two")[: len(source) % 3]) for source in sources]
        return [Coded(error="bad") if source == b"bad" else one for source, one in zip(sources, done, strict=True)]


@dataclass(frozen=True)
class KilledOnce:
    """Encoding whose worker dies the first time that it codes a batch."""

    marker: Path
    coding: Encoding = field(default_factory=lambda: Encoding(options=OPTIONS))

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        if not self.marker.exists():
            self.marker.touch()
            raise Death
        return self.coding(sources, wanted)


class Company:
    """Stands for a coding: a file's result says with which files it came, in their order."""

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        return [Coded("".join(map(digest, sources)).encode())] * len(sources)


class Wanted:
    """Stands for a coding that fails on what isn't wanted, and gives back the rest."""

    asked: ClassVar[list[tuple[bytes, bool]]] = []

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        self.asked.extend(zip(sources, wanted, strict=True))
        return [Coded(s) if w else Coded(error="wasn't wanted") for s, w in zip(sources, wanted, strict=True)]


def tasks_in(folder: Path, *groups: str) -> list[Task]:
    """Tasks of files, one letter each; their content is their name, up to three times."""
    for name in "".join(groups):
        (folder / name).write_text(name * (1 + ord(name) % 3))
    return [Task(tuple(folder / name for name in group), (True,) * len(group)) for group in groups]


def test_each_task_comes_with_its_files_in_their_order(ours: Any, cluster: Cluster, tmp_path: Path):
    tasks = tasks_in(tmp_path, "abc", "d", "ef")
    (tmp_path / "e").write_bytes(b"bad")
    (tmp_path / "b").unlink()
    found = dict(ours.run_on_ray(tasks, Reversing(), 2))
    assert list(found) != tasks, "the stand-in delivers in another order"
    assert found == {task: work(Reversing(), task) for task in tasks}
    assert [[coded.error for coded in found[task]] for task in tasks] == [
        [None, "can't read it: No such file or directory", None],
        [None],
        ["bad", None],
    ]
    assert cluster.demands == [{"concurrency": 2, "num_cpus": 1}]
    assert cluster.actors == 2


def test_a_worker_has_one_thread(ours: Any, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    list(ours.run_on_ray(tasks_in(tmp_path, "a", "b"), Reversing(), 2))
    ours.decode_dataset(data.from_items([{"path": "a", "bytes": b"a"}]), Company(), workers=3).take_all()
    assert threads == [1] * 5


def test_a_dead_worker_s_task_is_done_again_and_no_other(ours: Any, cluster: Cluster, tmp_path: Path):
    tasks = tasks_in(tmp_path, "ab", "c", "d")
    found = list(ours.run_on_ray(tasks, Reversing(tmp_path / "marker"), 2))
    assert cluster.deaths == 1
    assert cluster.actors == 3
    assert sorted(task for task, _ in found) == sorted(tasks)
    assert dict(found) == dict(ours.run_on_ray(tasks, Reversing(), 1))


def test_a_bug_in_a_worker_ends_the_run(ours: Any, tmp_path: Path):
    with pytest.raises(TaskError, match="ZeroDivisionError: a bug"):
        list(ours.run_on_ray(tasks_in(tmp_path, "a"), Reversing(error=ZeroDivisionError), 1))


def test_a_cluster_is_started_only_where_there_is_work_and_none_runs(ours: Any, cluster: Cluster, tmp_path: Path):
    assert list(ours.run_on_ray([], Reversing(), 2)) == []
    assert cluster.starts == []
    tasks = tasks_in(tmp_path, "a")
    list(ours.run_on_ray(tasks, Reversing(), 1))
    (options,) = cluster.starts
    assert options["include_dashboard"] is False
    list(ours.run_on_ray(tasks, Reversing(), 1))
    assert len(cluster.starts) == 1, "the one that runs is used"
    assert cluster.context.enable_progress_bars is False


def test_a_folder_on_ray_is_the_folder_on_one_machine(ours: Any, cluster: Cluster, photos: Path, tmp_path: Path):
    def streams(folder: str, **options: Any) -> dict[str, bytes]:
        folder_s = encoding_work(photos, tmp_path / folder, Encoding(options=OPTIONS), recursive=False, overwrite=False)
        done = list(folder_s.run(**options))
        assert [item.file for item in done if item.error] == ["broken.png"]
        return {path.name: path.read_bytes() for path in (tmp_path / folder).glob("*.ddpc")}

    there = streams("there", jobs=2, run_tasks=ours.run_on_ray)
    assert len(there) == 5
    assert there == streams("here", jobs=1)
    back = decoding_work(tmp_path / "there", tmp_path / "back", Decoding(), recursive=False, overwrite=False)
    assert [done.error for done in back.run(2, ours.run_on_ray)] == [None] * 5


def test_a_dataset_is_coded_as_the_folder_is_though_a_worker_dies(
    ours: Any, data: Any, cluster: Cluster, photos: Path, tmp_path: Path
):
    files = data.from_items(
        [{"path": str(path), "bytes": path.read_bytes()} for path in sorted(photos.iterdir())[::-1]]
    )
    rows = ours.encode_dataset(files, KilledOnce(tmp_path / "marker"), workers=2, num_cpus=0.5).take_all()
    assert cluster.deaths == 1
    assert sorted(Path(row["path"]).name for row in rows) == sorted(path.name for path in photos.iterdir())
    (broken,) = (row for row in rows if row["error"])
    assert (Path(broken["path"]).name, broken["stream"]) == ("broken.png", b"")
    here = encoding_work(photos, tmp_path / "out", Encoding(options=OPTIONS), recursive=False, overwrite=False)
    list(here.run(1))
    streams = {f"{Path(row['path']).name}.ddpc": row["stream"] for row in rows if not row["error"]}
    assert streams == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.ddpc")}

    decoded = {Path(row["path"]).name: row for row in ours.decode_dataset(data.from_items(rows)).take_all()}
    assert decoded["broken.png"]["error"] == broken["error"], "the reason why there is no stream"
    assert decoded["broken.png"]["png"] == b""
    for name in sorted(decoded.keys() - {"broken.png"}):
        expected = ddpmcodec.decode(streams[f"{name}.ddpc"])
        with Image.open(io.BytesIO(decoded[name]["png"])) as shown:
            np.testing.assert_array_equal(np.asarray(shown), expected)
    assert cluster.demands == [
        {"concurrency": 2, "num_cpus": 0.5, "num_gpus": 0},
        {"concurrency": 1, "num_cpus": 1, "num_gpus": 0},
    ]


@pytest.mark.parametrize("first", [0, 2, 3])
def test_batches_are_those_of_the_paths_whatever_the_order_of_the_rows(ours: Any, data: Any, photos: Path, first: int):
    files = {path.name: path.read_bytes() for path in sorted(photos.iterdir())}
    batches = in_batches([sized_picture(Path(name), content) for name, content in files.items()], 2)
    names = list(files)[first:] + list(files)[:first]
    rows = data.from_items([{"path": name, "bytes": files[name]} for name in names])
    found = {row["path"]: row["stream"] for row in ours.encode_dataset(rows, Company(), batch=2).take_all()}
    assert found == {
        str(file.path): "".join(digest(files[str(one.path)]) for one in batch).encode()
        for batch in batches
        for file in batch
    }
    assert sorted(map(len, batches)) == [1, 1, 2, 2], "two of one size, two of another, and what is left of each"


@pytest.mark.parametrize("sides", [[8, 8], [8, 6]])
def test_arrays_are_coded_as_their_files_are(
    ours: Any, data: Any, cluster: Cluster, picture: NDArray[np.uint8], sides: list[int]
):
    arrays = [picture[:side, :side] for side in sides]
    rows = data.from_items([{"path": f"{i}.png", "image": array} for i, array in enumerate(arrays)])
    coding = Encoding(options=OPTIONS)
    coded = {row["path"]: row["stream"] for row in ours.encode_dataset(rows, coding, workers=(2, 4)).take_all()}
    assert cluster.demands[0]["concurrency"] == (2, 4)
    assert cluster.actors == 2
    for i, array in enumerate(arrays):
        assert coded[f"{i}.png"] == ddpmcodec.encode(array, **OPTIONS)


def test_a_row_that_came_with_an_error_keeps_it_and_is_not_coded(ours: Any, data: Any):
    rows = data.from_items(
        [{"path": "a", "stream": b"aa", "error": ""}, {"path": "b", "stream": b"", "error": "a reason"}]
    )
    Wanted.asked.clear()
    found = {row["path"]: (row["png"], row["error"]) for row in ours.decode_dataset(rows, Wanted()).take_all()}
    assert found == {"a": (b"aa", ""), "b": (b"", "a reason")}
    assert sorted(Wanted.asked) == [(b"", False), (b"aa", True)]
