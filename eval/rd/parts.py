"""Parts of a long measurement: each is a file, so an interrupted run goes on where it was, and processes share the
work.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.atomic import remove_leftovers, replacing, write_whole

Table = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """Task: a piece of work whose result is a table of arrays."""

    name: str  # its file's
    units: int  # how many units of progress it is
    run: Callable[[Callable[[], None]], Table]  # calls its argument once a unit


@dataclass(frozen=True)
class Share:
    """Share of this process among those that `torchrun` started; it does every `count`-th task."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_torchrun(cls) -> Share:
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def device(self, name: str) -> str:
        """Return the device this process uses: each its own GPU, where plain cuda is asked for."""
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" and self.count > 1 else name


class Parts:
    """Files of one run, in a directory of their own. `options`: what the results depend on."""

    def __init__(self, directory: Path, options: dict[str, Any]):
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            remove_leftovers(directory)
            stored = directory / "options.json"
            if stored.exists():
                _require_same(json.loads(stored.read_text()), options, directory)
            write_whole(stored, (json.dumps(options, indent=1) + "\n").encode())
        except json.JSONDecodeError as error:
            raise DdpmCodecError(f"{directory}/options.json is damaged: remove {directory} to start over") from error
        except OSError as error:
            raise DdpmCodecError(f"can't write to {directory}: {error.strerror or error}") from error

    def load(self, task: Task) -> Table | None:
        """Return a task's result; None where it isn't there, or is damaged."""
        try:
            with np.load(self._path(task), allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def missing(self, tasks: Sequence[Task], share: Share) -> list[Task]:
        """Return those of this process's tasks that are still to be done."""
        return [t for t in tasks[share.rank :: share.count] if self.load(t) is None]

    def do(self, task: Task, advance: Callable[[], None]) -> None:
        table = task.run(advance)
        try:
            with replacing(self._path(task)) as path:
                np.savez(path, **table)  # type: ignore[arg-type]
        except OSError as error:
            raise DdpmCodecError(f"can't write {self._path(task)}: {error.strerror or error}") from error

    def collect(self, tasks: Sequence[Task]) -> dict[str, Table]:
        """Return every task's result, by name, once all processes have theirs done. (Where one fails, torchrun ends
        them all.)
        """
        results: dict[str, Table] = {}
        for task in tasks:
            while (table := self.load(task)) is None:
                time.sleep(0.2)
            results[task.name] = table
        return results

    def _path(self, task: Task) -> Path:
        return self.directory / f"{task.name}.npz"


def _require_same(stored: Any, options: dict[str, Any], directory: Path) -> None:
    differing = [k for k, v in options.items() if not isinstance(stored, dict) or stored.get(k) != v]
    if differing:
        raise DdpmCodecError(
            f"{directory} holds parts of another measurement: {', '.join(differing)} differ; "
            "name another output directory, or remove the parts"
        )
