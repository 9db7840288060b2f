"""Jobs against a clock: each in a process of its own with a time of its own, and nothing that was finished is ever
lost.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ddpmcodec.eval.results import provenance, write_json

RESULTS, LOG = "day.json", "day.log"
_GRACE = 8.0  # seconds that a job has, once it is told to end, to save what it has
_POLL = 0.2


@dataclass(frozen=True)
class Setting:
    """Setting that a job is given."""

    name: str
    device: str  # cuda, or cpu, where everything is done in small
    data: Path | None  # what was brought along; None: pictures are generated
    output: Path  # what goes home
    scratch: Path  # what doesn't
    deadline: float  # on time.monotonic
    record: bool = True  # a training step may become a CUDA graph
    forked: bool = True  # processes begin as forks, which is sooner

    @property
    def small(self) -> bool:
        return self.device == "cpu"

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def report(self, values: dict[str, Any]) -> None:
        """Replace the job's result by this one: called whenever there is more of it."""
        write_json(self.scratch / f"{self.name}.json", values)


@dataclass(frozen=True)
class Job:
    """Job: work that reports as it goes, and its share of the day."""

    name: str
    share: float
    work: Callable[[Setting], None]
    records: bool = False  # trains by CUDA graph: if it fails, it is tried again without


def run_day(jobs: Sequence[Job], seconds: float, setting: Setting) -> dict[str, Any]:
    """Do the jobs in order and return what is in `day.json`, which is written anew, whole, whenever there is more to
    tell.

    A job may last until all shares so far are used up: what one leaves the next ones have. What fails or is cut off
    keeps the results that it had reported, beside the reason. Raises OSError when the output can't be written.
    """
    setting.output.mkdir(parents=True, exist_ok=True)
    setting.scratch.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(
        "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
    )  # asking for GPUs must not begin using one: see _process
    output = setting.output
    begin, whole = time.monotonic(), sum(job.share for job in jobs)
    found: dict[str, Any] = provenance() | {"device": setting.device, "seconds": seconds, "jobs": {}}
    used = 0.0
    for job in jobs:
        used += job.share
        mine = replace(setting, name=job.name, deadline=begin + seconds * used / whole)

        def keep(result: dict[str, Any], job: Job = job) -> None:
            found["jobs"][job.name] = result
            write_json(output / RESULTS, found)

        result = _run(job, mine, keep)
        if result["status"] == "failed" and "forked subprocess" in result["reason"]:
            setting, mine = replace(setting, forked=False), replace(mine, forked=False)
            result = _run(job, mine, keep)
        if result["status"] == "failed" and job.records and mine.seconds_left > 0.2 * seconds * job.share / whole:
            first = result["reason"]
            result = _run(job, replace(mine, record=False), keep) | {"first_try_with_a_cuda_graph": first}
        keep(result)
    found["total_seconds"] = time.monotonic() - begin
    write_json(output / RESULTS, found)
    return found


def _run(job: Job, setting: Setting, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    if setting.seconds_left <= 0:
        return {"status": "not begun", "reason": "no time was left"}
    started, report = time.monotonic(), setting.scratch / f"{job.name}.json"
    reason = setting.scratch / f"{job.name}.reason"
    for old in (report, reason):
        old.unlink(missing_ok=True)
    process = _process(job.work, setting, reason)
    process.start()
    seen = 0.0
    while process.is_alive() and setting.seconds_left > 0:
        process.join(min(_POLL, max(0.0, setting.seconds_left)))
        if report.exists() and (now := report.stat().st_mtime) != seen:
            seen = now
            keep({"status": "begun", "seconds": time.monotonic() - started, **_read(report)})
    cut_off = process.is_alive()
    if cut_off:
        _end(process)
    result: dict[str, Any] = {"status": "done", "seconds": time.monotonic() - started, **_read(report)}
    if process.exitcode == 0:
        return result
    if cut_off:
        return result | {"status": "cut off", "reason": "its time was over"}
    why = reason.read_text() if reason.exists() else f"its process ended with {process.exitcode}"
    return result | {"status": "failed", "reason": why[-2000:]}


def _process(work: Callable[[Setting], None], setting: Setting, reason: Path) -> BaseProcess:
    """Return a fork of a process that has imported everything and never used a GPU, which no fork could use any
    more.
    """
    context = multiprocessing.get_context("forkserver" if setting.forked else "spawn")
    if setting.forked:
        context.set_forkserver_preload(["ddpmcodec.eval.gpu.jobs"])
    return context.Process(target=_child, args=(work, setting, reason, setting.output / LOG))  # type: ignore[no-any-return, attr-defined]


def _child(work: Callable[[Setting], None], setting: Setting, reason: Path, log: Path) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        print(f"== {setting.name}, {setting.seconds_left:.0f} s", flush=True)
        try:
            work(setting)
        except BaseException:
            reason.write_text(traceback.format_exc())
            raise


def _end(process: BaseProcess) -> None:
    """End a process, by a request first: training answers it by saving."""
    process.terminate()
    process.join(_GRACE)
    if process.is_alive():
        process.kill()
        process.join()


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        values: dict[str, Any] = json.loads(path.read_text())
        return values
    return {}
