"""Results of a measurement: one dict of lists, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpmcodec.eval.rd import table4
from ddpmcodec.eval.rd.baselines import Baseline
from ddpmcodec.eval.rd.bd_rate import bd_rate
from ddpmcodec.eval.rd.curves import breakdown, distortion_curve, ideal_curve, real_curve, real_over_ideal
from ddpmcodec.eval.rd.parts import Table
from ddpmcodec.eval.rd.pictures import Pictures
from ddpmcodec.eval.rd.published import against_published, published_set
from ddpmcodec.eval.results import provenance
from ddpmcodec.models import CodecModel


@dataclass(frozen=True)
class Options:
    """Options of a measurement: what is measured, and how."""

    plan_steps: int | None = None
    channels: tuple[str, ...] = ("trellis",)
    baselines: tuple[Baseline, ...] = ()
    table4: bool = False
    reconstruct: tuple[str, ...] = ()  # modes to compare on the first channel's streams
    batch: int = 64  # windows in the network at a time; larger pictures go one by one
    seed: int = 0
    decode_every: int = 1  # batches whose files are decoded by the receiver too; the others' are parsed only


def assemble(
    model: CodecModel, pictures: Pictures, options: Options, tables: dict[str, Table], notes: list[str]
) -> dict[str, Any]:
    """Return the result as it is written: a dict of lists, one entry a point of a curve."""
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
        "published_shown": published_set(pictures.names, pictures.side),
        "notes": notes,
        "curves": {n: {"steps": steps, **c} for n, c in curves.items()}
        | {"ideal": {"steps": steps, **ideal_curve(tables["ideal"], dims)}},
        "real_over_ideal": {},
        "where_the_bits_go": {name: breakdown(table, dims) for name, table in real.items()},
        "baselines": {},
        "bd_rate": {},
        "bd_rate_published": {},
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
    result["real_over_ideal"] = {
        name: real_over_ideal(curve, result["curves"]["ideal"]) for name, curve in curves.items()
    }
    result["bd_rate"] = {name: against(curve, result["baselines"]) for name, curve in curves.items()}
    result["bd_rate_published"] = against_published(result["curves"], result["published_shown"])
    if "table4" in tables:
        result["table4"] = table4.table4(tables["table4"], model, result["curves"]["ideal"], curves)
    return result | {"pictures": pictures.names}


def against(curve: dict[str, Any], baselines: dict[str, Any]) -> dict[str, Any]:
    """Return the BD-rate of one of our curves against each lossy baseline, files against files and payloads
    likewise.
    """
    rates = {"file": "file_bits_per_dim", "payload": "payload_bits_per_dim"}

    def points(c: dict[str, Any], rate: str) -> list[tuple[float | None, float | None]]:
        return list(zip(c[rate], c["psnr_of_mean_mse"], strict=True))

    return {
        name: {kind: bd_rate(points(other, rate), points(curve, rate)) for kind, rate in rates.items()}
        for name, other in baselines.items()
        if not other["lossless"]
    }


def as_csv(result: dict[str, Any]) -> bytes:
    """Return every point of every curve, a row each."""
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
