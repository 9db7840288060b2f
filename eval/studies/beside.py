"""More codecs beside a measurement that is there already: BD-rates against them, without measuring ours again.

    python -m ddpmcodec.eval.studies.beside results/photographs/results.json --data kodak/ --baselines avif-psnr \\
      -o results/photographs-avif-psnr

The pictures must be those of the measurement. What is done of a long job stays in the output's parts/, as it does with
`ddpmcodec rd`, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd.baselines import Baseline, parse_baselines
from ddpmcodec.eval.rd.curves import joined, real_curve
from ddpmcodec.eval.rd.measurement import Measurement
from ddpmcodec.eval.rd.pictures import load_pictures
from ddpmcodec.eval.rd.results import Options, against
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.models import load_model


def beside(result: dict[str, Any], data: str, baselines: Sequence[Baseline], output: Path) -> dict[str, Any]:
    """Return curves of baselines on a measurement's pictures, and its curves' BD-rates against them. Raises
    DdpmCodecError where the pictures are others, or a codec isn't there.
    """
    model = load_model(result["model"])
    pictures = load_pictures(data, model.window, len(result["pictures"]))
    if list(pictures.names) != list(result["pictures"]):
        raise DdpmCodecError(f"{data} holds {pictures.names[:2]} …: the measurement is of {result['pictures'][:2]} …")
    measurement = Measurement(model, pictures, Options(baselines=tuple(baselines)), output)
    if measurement.job.notes:
        raise DdpmCodecError("; ".join(measurement.job.notes))
    dims = np.array([image.size for image in pictures.images], np.float64)
    curves: dict[str, Any] = {}
    for baseline in baselines:
        tasks = measurement.job.tasks[f"baseline-{baseline.name}"]
        for task in tasks:
            if measurement.parts.load(task) is None:
                measurement.parts.do(task, lambda: None)
                print(f"{task.name} done", flush=True)
        table = joined([found for found in map(measurement.parts.load, tasks) if found is not None])
        curves[baseline.name] = {
            "label": baseline.label,
            "lossless": baseline.lossless,
            "payload_leaves_out": baseline.left_out,
            "setting": [str(setting) for setting in baseline.settings],
            **real_curve(table, dims),
        }
    real = {name: curve for name, curve in result["curves"].items() if name.startswith("real-")}
    return {"baselines": curves, "bd_rate": {name: against(curve, curves) for name, curve in real.items()}}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json that `ddpmcodec rd` wrote")
    parser.add_argument("--data", required=True, help="the pictures that it is of")
    parser.add_argument("--baselines", required=True, help="codecs, a comma between")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for parts/ and beside.json")
    args = parser.parse_args(arguments)
    result = json.loads(args.results.read_text())
    found = beside(result, args.data, parse_baselines(args.baselines), args.output)
    named = {name: result[name] for name in ("model", "fingerprint", "data", "plan_steps", "git_commit")}
    write_json(args.output / "beside.json", provenance() | {"measurement": named} | found)
    for name, rates in found["bd_rate"].items():
        print(name, {codec: of["file"] for codec, of in rates.items()})


if __name__ == "__main__":
    main()
