"""Clusters: `encode_dataset` and `decode_dataset` run over Ray Data, on many machines or on this one.

Workers load the model once, batches are of one size and fixed by the files' paths, a broken file is a row that says so,
and what a dead worker had in hand is done again. Needs `pip install 'ddpmcodec[ray]'`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from PIL import Image

from ddpmcodec.many.batches import AT_A_TIME, Sized, in_batches, sized_picture, sized_stream
from ddpmcodec.many.coding import Coded, Decoding, Encoding
from ddpmcodec.many.pool import Coding, Task, work

Columns = dict[str, Any]


def encode_dataset(
    pictures: ray.data.Dataset,
    coding: Encoding | None = None,
    *,
    workers: int | tuple[int, int] = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    batch: int = AT_A_TIME,
) -> ray.data.Dataset:
    """Encode a dataset of `ray.data.read_binary_files` or `read_images`, with `include_paths=True`.

    coding: model, device and options, see `ddpmcodec.many.coding.Encoding`. workers: actors, or the fewest and the
    most; each takes `num_cpus` and `num_gpus`. batch: pictures at a time in the network. The rows of the result have
    `path`, `stream` (bytes, empty where there is none) and `error` (text, empty where there is none), in no particular
    order.
    """
    chosen = coding or Encoding()
    rows = pictures.map_batches(_as_files, batch_size=AT_A_TIME, zero_copy_batch=False)
    return _coded(rows, sized_picture, chosen, "stream", workers, num_cpus, num_gpus, batch)


def decode_dataset(
    streams: ray.data.Dataset,
    coding: Decoding | None = None,
    *,
    workers: int | tuple[int, int] = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    batch: int = AT_A_TIME,
) -> ray.data.Dataset:
    """Decode a dataset of `encode_dataset`, or of `ray.data.read_binary_files` with `include_paths=True`.

    The rows of the result have `path`, `png` (bytes) and `error`, as those of `encode_dataset`; a row that came with an
    error keeps it. The other arguments are as there.
    """
    chosen = coding or Decoding()
    rows = streams.map_batches(_as_files, batch_size=AT_A_TIME, zero_copy_batch=False)
    return _coded(rows, sized_stream, chosen, "png", workers, num_cpus, num_gpus, batch)


def run_on_ray(tasks: Sequence[Task], coding: Coding, workers: int) -> Iterator[tuple[Task, list[Coded]]]:
    """Yield each task with what became of its files, as `many.pool.run_tasks` does, from workers of the running cluster
    (RAY_ADDRESS), or of one that is started here. All machines must see the files under the same paths or URLs.
    """
    if not tasks:
        return
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    numbers = ray.data.from_items(list(range(len(tasks))), override_num_blocks=len(tasks))
    done = numbers.map_batches(
        _TaskWorker, fn_constructor_args=(list(tasks), coding), batch_size=1, concurrency=workers, num_cpus=1
    )
    waiting: dict[int, dict[int, Coded]] = {}
    for row in done.iter_rows():
        task, error = int(row["task"]), str(row["error"])
        result = None if error else bytes(row["result"])
        notes = tuple(filter(None, str(row["notes"]).split("\n")))
        found = waiting.setdefault(task, {})
        found[int(row["file"])] = Coded(result, error or None, str(row["source"]), notes)
        if len(found) == len(tasks[task].paths):
            yield tasks[task], [coded for _, coded in sorted(waiting.pop(task).items())]


def _as_files(rows: Columns) -> Columns:
    """Rows with `path` and `bytes`: of arrays, as PNG; of streams, themselves."""
    if "bytes" in rows:
        found = list(rows["bytes"])
    elif "stream" in rows:
        found = list(rows["stream"])
    else:
        found = [_png(picture) for picture in rows["image"]]
    errors = list(rows["error"]) if "error" in rows else [""] * len(found)
    return {"path": list(rows["path"]), "bytes": found, "error": errors}


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def _coded(
    rows: ray.data.Dataset,
    sized: Any,
    coding: Encoding | Decoding,
    result: str,
    workers: int | tuple[int, int],
    num_cpus: float,
    num_gpus: float,
    batch: int,
) -> ray.data.Dataset:
    """Rows in their batches: those that a folder of the same files has, whoever codes them, and however often."""

    def measured(rows: Columns) -> Columns:
        found = [sized(Path(path), bytes(data)) for path, data in zip(rows["path"], rows["bytes"], strict=True)]
        kinds = [None if one.kind is None else repr(one.kind) for one in found]
        return {"path": rows["path"], "kind": [kind or "" for kind in kinds], "pixels": [one.pixels for one in found]}

    listed = rows.map_batches(measured, batch_size=AT_A_TIME).take_all()
    files = [Sized(Path(row["path"]), row["kind"] or None, int(row["pixels"])) for row in listed]
    number = ray.put({str(f.path): i for i, group in enumerate(in_batches(files, batch)) for f in group})

    def numbered(rows: Columns) -> Columns:
        numbers = ray.get(number)
        return rows | {"batch": [numbers[str(Path(path))] for path in rows["path"]]}

    groups = rows.map_batches(numbered, batch_size=AT_A_TIME, zero_copy_batch=False).groupby("batch")
    done: ray.data.Dataset = groups.map_groups(
        _GroupWorker,
        fn_constructor_args=(coding, result),
        concurrency=workers,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        batch_format="numpy",
    )
    return done


class _GroupWorker:
    """Worker that codes one batch after another."""

    def __init__(self, coding: Coding, result: str):
        _one_thread()
        self.coding, self.result = coding, result

    def __call__(self, group: Columns) -> Columns:
        order = sorted(range(len(group["path"])), key=lambda i: Path(group["path"][i]))
        paths, sources = [str(group["path"][i]) for i in order], [bytes(group["bytes"][i]) for i in order]
        before = [str(group["error"][i]) for i in order]
        coded = self.coding(sources, [not error for error in before])
        errors = [error or found.error or "" for error, found in zip(before, coded, strict=True)]
        results = [b"" if error else found.result or b"" for error, found in zip(errors, coded, strict=True)]
        return {"path": paths, self.result: results, "error": errors}


class _TaskWorker:
    """Worker that codes one task of a folder after another."""

    def __init__(self, tasks: list[Task], coding: Coding):
        _one_thread()
        self.tasks, self.coding = tasks, coding

    def __call__(self, rows: Columns) -> Columns:
        (number,) = map(int, rows["item"])
        coded = work(self.coding, self.tasks[number])
        return {
            "task": [number] * len(coded),
            "file": list(range(len(coded))),
            "result": [one.result or b"" for one in coded],
            "error": [one.error or "" for one in coded],
            "source": [one.source for one in coded],
            "notes": ["\n".join(one.notes) for one in coded],
        }


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
