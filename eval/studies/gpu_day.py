"""Day on a GPU machine without network: checks, training, rates and speed, by priority against a clock (docs/gpu.md).

    python -m ddpmcodec.eval.studies.gpu_day -o OUT --data FOLDER
    python -m ddpmcodec.eval.studies.gpu_day -o OUT --device cpu --seconds 60      # all of it in small

OUT gets at most eight files of at most 16 MiB: day.json, written anew whenever there is more to tell; day.log; and the
trained weights, written anew at every save. FOLDER is what `ddpmcodec.eval.gpu.packing` made; without it pictures are
generated and weights are the embedded ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ddpmcodec.eval.gpu.clock import RESULTS, Setting, run_day
from ddpmcodec.eval.gpu.jobs import EVEN, FIRST_DAY, JOBS
from ddpmcodec.eval.gpu.pictures import MANIFEST
from ddpmcodec.eval.results import write_json


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="what goes home")
    parser.add_argument("--data", type=Path, help="what was brought along")
    parser.add_argument("--device", default="cuda", help="cpu: everything in small")
    parser.add_argument("--seconds", type=float, default=540.0, help="for all jobs together")
    parser.add_argument(
        "--jobs", nargs="+", choices=[j.name for j in JOBS], default=list(FIRST_DAY), help="in their order"
    )
    args = parser.parse_args(arguments)
    small = args.device == "cpu"
    jobs = [replace(j, share=EVEN) if small else j for j in JOBS if j.name in args.jobs]
    with tempfile.TemporaryDirectory() as scratch:
        setting = Setting("", args.device, args.data, args.output, Path(scratch), 0.0)
        found = run_day(jobs, args.seconds, setting)
    if args.data and (args.data / MANIFEST).exists():
        found["brought"] = json.loads((args.data / MANIFEST).read_text())
        write_json(args.output / RESULTS, found)
    for name, result in found["jobs"].items():
        print(f"{name}: {result['status']} after {result.get('seconds', 0):.0f} s {result.get('reason', '')}")


if __name__ == "__main__":
    main()
