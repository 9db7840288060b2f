"""Stand-in for what `ddpmcodec.ray` uses of Ray, in one process: the lazy datasets, actors and references of
`ray` and `ray.data`, as strict as those, and with their freedom to deliver blocks in any order.

Actors' arguments travel as pickles, arrays without `zero_copy_batch=False` are read-only, references are only good for
`get`, an actor that dies has its batch done again by another, and a function that raises ends the run.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

Row = dict[str, Any]
Batch = dict[str, Any]


class Death(BaseException):
    """Raised in an actor: the system kills its process."""


class TaskError(RuntimeError):
    """Raised in Ray's place for an error of the function that it was given."""


class Cluster:
    """What the modules know of one another, and what a test may ask afterwards."""

    def __init__(self, running: bool = False) -> None:
        self.running = running
        self.starts: list[dict[str, Any]] = []  # arguments of `init`
        self.demands: list[dict[str, Any]] = []  # of each stage of actors, in the order of the work
        self.actors = 0
        self.deaths = 0
        self.stored: dict[int, bytes] = {}
        self.context = SimpleNamespace(enable_progress_bars=True)

    def init(self, **options: Any) -> None:
        self.running = True
        self.starts.append(options)

    def put(self, value: Any) -> Reference:
        self.stored[len(self.stored)] = pickle.dumps(value)
        return Reference(len(self.stored) - 1)

    def get(self, reference: Reference) -> Any:
        if not isinstance(reference, Reference):
            raise ValueError(f"{type(reference).__name__}: expected what put returned")
        return pickle.loads(self.stored[reference.number])

    def modules(self) -> dict[str, ModuleType]:
        """Return `ray` and `ray.data` of this cluster."""
        data, ray = ModuleType("ray.data"), ModuleType("ray")
        vars(data).update(
            Dataset=Dataset,
            DataContext=SimpleNamespace(get_current=lambda: self.context),
            from_items=lambda items, override_num_blocks=None: Dataset(self, lambda: _items(items)),
        )
        vars(ray).update(data=data, init=self.init, is_initialized=lambda: self.running, put=self.put, get=self.get)
        return {"ray": ray, "ray.data": data}


class Reference:
    def __init__(self, number: int) -> None:
        self.number = number


class Dataset:
    """Rows that are made when they are asked for."""

    def __init__(self, cluster: Cluster, rows: Callable[[], list[Row]]) -> None:
        self._cluster, self._rows = cluster, rows

    def take_all(self) -> list[Row]:
        return self._rows()

    def iter_rows(self) -> Iterator[Row]:
        rows = self._rows()
        yield from (rows[i] for i in np.random.default_rng(0).permutation(len(rows)))  # a batch may lie in many blocks

    def map_batches(self, work: Any, *, batch_size: int, zero_copy_batch: bool = True, **demands: Any) -> Dataset:
        def made() -> list[Row]:
            rows = self._rows()
            batches = [_batch(rows[i : i + batch_size], zero_copy_batch) for i in range(0, len(rows), batch_size)]
            return _rows_of(_run(self._cluster, work, batches, demands))

        return Dataset(self._cluster, made)

    def groupby(self, column: str) -> Groups:
        return Groups(self, column)


class Groups:
    def __init__(self, rows: Dataset, column: str) -> None:
        self._dataset, self._column = rows, column

    def map_groups(self, work: Any, *, batch_format: str, **demands: Any) -> Dataset:
        assert batch_format == "numpy"
        cluster = self._dataset._cluster

        def made() -> list[Row]:
            groups: dict[Any, list[Row]] = {}
            for row in self._dataset._rows():
                groups.setdefault(row[self._column], []).append(row)
            return _rows_of(_run(cluster, work, [_batch(rows, True) for rows in groups.values()], demands))

        return Dataset(cluster, made)


def _items(items: Iterable[Any]) -> list[Row]:
    return [dict(item) if isinstance(item, Mapping) else {"item": item} for item in items]


def _run(cluster: Cluster, work: Any, batches: list[Batch], demands: dict[str, Any]) -> list[Batch]:
    """What becomes of each batch, last ones first: by a function, or by as many actors as were asked for."""
    if not isinstance(work, type):
        assert not demands, f"a function that demands {demands}"
        return [_call(work, batch) for batch in reversed(batches)]
    cluster.demands.append({k: v for k, v in demands.items() if k != "fn_constructor_args"})
    arguments = pickle.dumps(demands["fn_constructor_args"])

    def born() -> Any:
        cluster.actors += 1
        return work(*pickle.loads(arguments))

    concurrency = demands["concurrency"]
    actors = [born() for _ in range(concurrency if isinstance(concurrency, int) else concurrency[0])]
    done, waiting = list[Batch](), list(reversed(batches))
    while waiting:
        batch, turn = waiting.pop(0), len(waiting) % len(actors)
        try:
            done.append(_call(actors[turn], batch))
        except Death:
            cluster.deaths += 1
            actors[turn] = born()
            waiting.append(batch)
    return done


def _call(work: Callable[[Batch], Batch], batch: Batch) -> Batch:
    try:
        found = work(batch)
    except Exception as error:
        raise TaskError(f"{type(error).__name__}: {error}") from error
    if len({len(column) for column in found.values()}) > 1:
        raise TaskError(f"columns of different lengths: { {name: len(column) for name, column in found.items()} }")
    return found


def _batch(rows: list[Row], zero_copy: bool) -> Batch:
    """Columns as arrays: pictures of one size stacked, and text and bytes as objects."""
    batch = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], int) or (
            isinstance(values[0], np.ndarray) and len({value.shape for value in values}) == 1
        ):
            column = np.array(values)
        else:
            column = np.empty(len(values), object)
            column[:] = values
        column.flags.writeable = not zero_copy
        batch[name] = column
    return batch


def _rows_of(batches: list[Batch]) -> list[Row]:
    rows = list[Row]()
    for batch in batches:
        for values in zip(*batch.values(), strict=True):
            plain = (value.item() if isinstance(value, np.generic) else value for value in values)
            rows.append(dict(zip(batch, plain, strict=True)))
    return rows
