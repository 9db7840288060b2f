"""Rate-distortion of a model on a set of pictures: ideal, real and what one would pick instead, in one reproducible run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ddpmcodec
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd import measure, reconstruct, table4
from ddpmcodec.eval.rd.baselines import Baseline, available
from ddpmcodec.eval.rd.baselines import measure as measure_baseline
from ddpmcodec.eval.rd.bd_rate import bd_rate
from ddpmcodec.eval.rd.curves import breakdown, distortion_curve, ideal_curve, joined, real_curve, real_over_ideal
from ddpmcodec.eval.rd.parts import Parts, Share, Table, Task
from ddpmcodec.eval.rd.pictures import Pictures
from ddpmcodec.eval.results import provenance
from ddpmcodec.models import CodecModel

_ALONE = Share()
_BASELINE_PIXELS = 50 << 10  # of the pictures that one task codes with all of a baseline's settings
_PUBLISHED_SIDE = 32


@dataclass(frozen=True)
class Options:
    """What is measured, and how."""

    plan_steps: int | None = None
    channels: tuple[str, ...] = ("trellis",)
    baselines: tuple[Baseline, ...] = ()
    table4: bool = False
    reconstruct: tuple[str, ...] = ()  # modes to compare, of the first channel's streams
    batch: int = 64  # windows in the network at a time; larger pictures go one by one
    seed: int = 0
    decode_every: int = 1  # batches whose files are decoded by the receiver too; the others' are parsed only


@dataclass(frozen=True)
class Job:
    """All tasks of a measurement, by the curve they belong to, and what can't be measured here."""

    tasks: dict[str, list[Task]]
    notes: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[Task]:
        return [t for tasks in self.tasks.values() for t in tasks]


def job(model: CodecModel, pictures: Pictures, options: Options) -> Job:
    """The tasks, in an order in which every `count`-th are of like cost."""
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
        raise DdpmCodecError(f"--table4 is for small squares of one size, such as CIFAR-10's {model.window}x{model.window}")
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
    """One run in a directory, or its going on there. In several processes each does its share; the first has the result.

    Raises DdpmCodecError where the directory holds parts of another measurement, or can't be written to.
    """

    def __init__(self, model: CodecModel, pictures: Pictures, options: Options, directory: Path, share: Share = _ALONE):
        self.model, self.pictures, self.options = model, pictures, options
        self.job = job(model, pictures, options)
        same = {
            "fingerprint": model.fingerprint,
            "pictures": pictures.digest(),
            "plan_steps": model.plan(options.plan_steps).steps,
            "batch": options.batch,
            "seed": options.seed,
            "decode_every": options.decode_every,
            "version": ddpmcodec.__version__,
        }
        self.parts = Parts(directory / "parts", same)
        self.missing = self.parts.missing(self.job.all, share)
        self.units = sum(task.units for task in self.missing)  # of work that is left to this process

    def measure(self, advance: Callable[[], None] = lambda: None) -> None:
        """Does what is missing, part by part; `advance` is called once a unit."""
        while self.missing:
            self.parts.do(self.missing[0], advance)
            self.missing.pop(0)

    def result(self) -> dict[str, Any]:
        """The whole measurement, once all processes have done their shares."""
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


def assemble(
    model: CodecModel, pictures: Pictures, options: Options, tables: dict[str, Table], notes: list[str]
) -> dict[str, Any]:
    """The result as it is written: a dict of lists, one entry a point of a curve."""
    dims = pictures.dims
    real = {name: t for name, t in tables.items() if name.startswith("real-")}
    curves = {name: real_curve(table, dims) for name, table in real.items()}
    steps = list(range(1, model.plan(options.plan_steps).steps + 1))
    result: dict[str, Any] = provenance() | {
        "seed": options.seed,
        "decode_every": options.decode_every,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "data": pictures.source,
        "plan_steps": steps[-1],
        "published_shown": pictures.side == _PUBLISHED_SIDE,
        "notes": notes,
        "curves": {n: {"steps": steps, **c} for n, c in curves.items()}
        | {"ideal": {"steps": steps, **ideal_curve(tables["ideal"], dims)}},
        "real_over_ideal": {},
        "where_the_bits_go": {name: breakdown(table, dims) for name, table in real.items()},
        "baselines": {},
        "bd_rate": {},
    }
    for baseline in options.baselines:
        table = tables.get(f"baseline-{baseline.name}")
        if table is not None:
            result["baselines"][baseline.name] = {
                "label": baseline.label,
                "lossless": baseline.lossless,
                "payload_leaves_out": baseline.left_out,
                "setting": [str(s) for s in baseline.settings],
                **real_curve(table, dims),
            }
    result["real_over_ideal"] = {name: real_over_ideal(curve, result["curves"]["ideal"]) for name, curve in curves.items()}
    result["bd_rate"] = {name: _against(curve, result["baselines"]) for name, curve in curves.items()}
    if "table4" in tables:
        result["table4"] = table4.table4(tables["table4"], model, result["curves"]["ideal"], curves)
    return result | {"pictures": pictures.names}


def _against(curve: dict[str, Any], baselines: dict[str, Any]) -> dict[str, Any]:
    """BD-rate of one of our curves against each lossy baseline, files against files and payloads against payloads."""
    rates = {"file": "file_bits_per_dim", "payload": "payload_bits_per_dim"}

    def points(c: dict[str, Any], rate: str) -> list[tuple[float | None, float | None]]:
        return list(zip(c[rate], c["psnr_of_mean_mse"], strict=True))

    return {
        name: {kind: bd_rate(points(other, rate), points(curve, rate)) for kind, rate in rates.items()}
        for name, other in baselines.items()
        if not other["lossless"]
    }


def as_csv(result: dict[str, Any]) -> bytes:
    """Every point of every curve, a row each."""
    columns = ("file_bits_per_dim", "payload_bits_per_dim", "ideal_bits_per_dim")
    distortions = [*distortion_curve(np.ones((1, 1))), "ssim", "ssim_error"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fields = [name for c in columns for name in (c, f"{c}_error")] + distortions
    writer.writerow(["curve", "point", *fields])
    for name, curve in (result["curves"] | result["baselines"]).items():
        for i, point in enumerate(curve.get("steps") or curve["setting"]):
            values = (curve[f][i] if f in curve else None for f in fields)
            writer.writerow([name, point, *("" if v is None else f"{v:.6g}" for v in values)])
    return text.getvalue().encode()
