"""Rate-distortion of a model on a set of pictures: ideal, real and what one would pick instead, in one reproducible
run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import ddpmcodec
from ddpmcodec.codec.trajectory import named_channel, steps_of_plan
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd import measure, reconstruct, table4
from ddpmcodec.eval.rd.baselines import Baseline, available
from ddpmcodec.eval.rd.baselines import measure as measure_baseline
from ddpmcodec.eval.rd.curves import joined
from ddpmcodec.eval.rd.parts import Parts, Share, Table, Task
from ddpmcodec.eval.rd.pictures import Pictures
from ddpmcodec.eval.rd.results import Options, assemble
from ddpmcodec.models import CodecModel

_ALONE = Share()
_BASELINE_PIXELS = 50 << 10  # pixels of the pictures that one task codes with all of a baseline's settings


@dataclass(frozen=True)
class Job:
    """Job: all tasks of a measurement, by the curve they belong to, and what can't be measured here."""

    tasks: dict[str, list[Task]]
    notes: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[Task]:
        return [t for tasks in self.tasks.values() for t in tasks]


def job(model: CodecModel, pictures: Pictures, options: Options) -> Job:
    """Return the tasks, in an order in which every `count`-th are of like cost."""
    steps, images = model.plan(options.plan_steps).steps, pictures.images
    batches = pictures.batches(options.batch * model.window**2)
    tasks: dict[str, list[Task]] = {}

    def add(curve: str, run: Callable[[range, Callable[[], None]], Table], parts: list[range], units: int) -> None:
        tasks[curve] = [Task(f"{curve}-{r.start:06d}", units, partial(run, r)) for r in parts]

    for channel in options.channels:
        curve = f"real-{channel.replace(':', '')}"
        tasks[curve] = []
        for k, rows in enumerate(batches):
            decode = k % options.decode_every == 0
            run = partial(_real, model, [images[i] for i in rows], options, channel, decode)
            tasks[curve].append(Task(f"{curve}-{rows.start:06d}", (1 + decode) * steps, run))
    add(
        "ideal",
        lambda r, tick: measure.ideal(model, [images[i] for i in r], options.plan_steps, options.seed, r.start, tick),
        batches,
        steps,
    )
    if options.reconstruct:
        add(
            f"reconstruct-{'-'.join(options.reconstruct)}",
            lambda r, tick: reconstruct.measured(
                model,
                [images[i] for i in r],
                options.plan_steps,
                options.channels[0],
                options.seed,
                options.reconstruct,
                r.start,
                tick,
            ),
            batches,
            reconstruct.network_calls(model.plan(options.plan_steps), options.reconstruct),
        )
    if options.table4:
        tasks["table4"] = _table4_tasks(model, pictures, options)
    notes = []
    for baseline in options.baselines:
        reason = available(baseline)
        if reason:
            notes.append(f"{baseline.name} skipped: {reason}")
        else:
            run = partial(_baseline, baseline, images)
            parts = pictures.batches(_BASELINE_PIXELS)
            add(f"baseline-{baseline.name}", run, parts, 1)
    return Job(tasks, notes)


def _real(
    model: CodecModel, images: list[Any], options: Options, channel: str, decode: bool, tick: Callable[[], None]
) -> Table:
    return measure.real(model, images, options.plan_steps, channel, options.seed, tick, decode)


def _baseline(baseline: Baseline, images: list[Any], rows: range, tick: Callable[[], None]) -> Table:
    found = measure_baseline(baseline, [images[i] for i in rows], similarity=measure.similarity)
    tick()
    return {
        "file_bytes": found.file_bytes.T,
        "payload_bytes": found.payload_bytes.T,
        "mse": found.mse.T,
        "ssim": found.similarity.T,
    }


def _table4_tasks(model: CodecModel, pictures: Pictures, options: Options) -> list[Task]:
    side = pictures.side
    if side is None or side < model.window or side > 4 * model.window:
        raise DdpmCodecError(
            f"--table4 is for small squares of one size, such as CIFAR-10's {model.window}x{model.window}"
        )
    tasks, turns = [], table4.turns(len(pictures))
    for turn in range(turns):
        mine = pictures.images[turn::turns]
        for start in range(0, len(mine), options.batch):
            part = mine[start : start + options.batch]
            place = turn * len(pictures) + start
            run = partial(table4.measured, model, part, turn, len(pictures), options.seed, place)
            tasks.append(Task(f"table4-{turn:02d}-{start:06d}", len(table4.timesteps(turn, len(pictures))), run))
    return tasks


class Measurement:
    """Measurement in a directory, begun or resumed. In several processes each does its share; the first has the result.

    Raises DdpmCodecError where the directory holds parts of another measurement, or can't be written to.
    """

    def __init__(self, model: CodecModel, pictures: Pictures, options: Options, directory: Path, share: Share = _ALONE):
        # All pictures of a measurement go by one plan: that of the largest.
        largest = max((image.shape[:2] for image in pictures.images), key=math.prod)
        options = replace(options, plan_steps=steps_of_plan(model, options.plan_steps, math.prod(largest)))
        self.model, self.pictures, self.options = model, pictures, options
        self.job = job(model, pictures, options)
        same = {
            "fingerprint": model.fingerprint,
            "pictures": pictures.digest(),
            "plan_steps": options.plan_steps,
            "trellis": str(named_channel(model, "trellis", *largest)),  # what that name means for these pictures
            "batch": options.batch,
            "seed": options.seed,
            "decode_every": options.decode_every,
            "version": ddpmcodec.__version__,
        }
        self.parts = Parts(directory / "parts", same)
        self.missing = self.parts.missing(self.job.all, share)
        self.units = sum(task.units for task in self.missing)  # the work that is left to this process

    def measure(self, advance: Callable[[], None] = lambda: None) -> None:
        """Do what is missing, part by part; `advance` is called once a unit."""
        while self.missing:
            self.parts.do(self.missing[0], advance)
            self.missing.pop(0)

    def result(self) -> dict[str, Any]:
        """Return the whole measurement, once all processes have done their shares."""
        results = self.parts.collect(self.job.all)
        found = {curve: [results[t.name] for t in tasks] for curve, tasks in self.job.tasks.items()}
        made = next((found.pop(curve) for curve in list(found) if curve.startswith("reconstruct-")), [])
        tables = {curve: joined(parts) for curve, parts in found.items()}
        result = assemble(self.model, self.pictures, self.options, tables, self.job.notes)
        if made:
            options, rates = self.options, result["curves"][f"real-{self.options.channels[0].replace(':', '')}"]
            at = reconstruct.prefixes(self.model.plan(options.plan_steps))
            device = str(self.model.device)
            result["reconstruct"], notes = reconstruct.curves(
                made, self.pictures.images, options.reconstruct, rates, at, device
            )
            result["notes"] = [*result["notes"], *notes]
        return result
