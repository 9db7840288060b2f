"""Landing of what a day brought: its files decoded on this CPU, the determinism table's row, the results without files.

    python -m ddpmcodec.eval.gpu.landing DAY -o results/gpu-day-1.json [--determinism results/determinism.json]

Weights that came in parts become whole files in the day's folder. The table for docs/determinism.md goes to stdout.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ddpmcodec
from ddpmcodec.eval.gpu.clock import RESULTS
from ddpmcodec.eval.gpu.weights import join_parts
from ddpmcodec.eval.results import write_json
from ddpmcodec.eval.studies import determinism
from ddpmcodec.eval.studies.determinism_ways import GPU
from ddpmcodec.models import CodecModel, load_model


def decoded_here(day: dict[str, Any], model: CodecModel) -> dict[str, Any]:
    """Return of each file that the day made whether it parses here to whole steps and, if lossless, is exact. Takes the
    files out.
    """
    shown = determinism.pictures()
    found = {}
    made = day["jobs"].get("checks", {}).get("determinism", {}).get("made_here", {})
    for name, entry in made.items():
        data = base64.b64decode(entry.pop("file"))
        picture, options = shown.get(name, (None, {}))
        decoded = ddpmcodec.decode(data, model=model)
        exact = bool(np.array_equal(decoded, picture)) if options.get("lossless") and picture is not None else None
        found[name] = {"bytes": len(data), "exact_on_another_cpu": exact}
        entry |= found[name]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("day", type=Path, help="the folder that came back")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON of results")
    parser.add_argument("--determinism", type=Path, help="the table's results, whose GPU row is replaced")
    args = parser.parse_args(arguments)
    day = json.loads((args.day / RESULTS).read_text())
    found = decoded_here(day, load_model())
    write_json(args.output, day)
    for path in join_parts(args.day):
        print(f"{path}: make it a codec with ddpmcodec plan {path} --data …")
    for name, entry in found.items():
        print(f"{name}: {entry['bytes']} bytes, exact here: {entry['exact_on_another_cpu']}")
    row = day["jobs"].get("checks", {}).get("determinism", {}).get("row")
    if args.determinism and row:
        table = json.loads(args.determinism.read_text())
        table["ways"][GPU] = row
        write_json(args.determinism, table)
        print(determinism.table(table), end="")


if __name__ == "__main__":
    main()
