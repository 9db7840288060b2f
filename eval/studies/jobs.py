"""Folders on several cores: one process with many threads, or many processes with one thread each?

python -m ddpmcodec.eval.studies.jobs -o results/jobs.json

Runs `ddpmcodec encode FOLDER` on small pictures and on photographs of several sizes, each way a few times in turn, and
keeps the seconds of every run: those of the whole command, and those of the coding alone, as it reports them. Each way
must make all files, else AssertionError; how many have the very bytes of the first way's is in the result, for threads
may round the sender's sums in another order. To be run on idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from skimage import data

from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.eval.studies.folder import PROGRAM, files
from ddpmcodec.many.pool import usable_cores

SETS = {"32x32": (256, [(32, 32)]), "photographs": (16, [(256, 192), (192, 256), (320, 240), (256, 256)])}


class Way(NamedTuple):
    """Way to use the cores."""

    jobs: int
    threads: int  # of each process

    @property
    def name(self) -> str:
        return f"{self.jobs} x {self.threads}"  # processes x threads


Run = Callable[[Path, Path, Way], dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="results/jobs.json", help="default: %(default)s")
    parser.add_argument("--times", type=int, default=3, help="runs of each way (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the pictures, such as 0.1 for a try")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = study(Path(folder), usable_cores(), chosen.times, chosen.share)
    write_json(Path(chosen.output), {"made_by": provenance(), **result})
    for name, found in result["sets"].items():
        for way, seconds in found["ways"].items():
            print(f"{name}, {way}: {seconds['median_command_seconds']:.1f} s, coding {seconds['median_seconds']:.1f} s")


def ways(cores: int) -> list[Way]:
    """Return one thread alone, for comparison; all cores by threads; all by processes."""
    return list(dict.fromkeys([Way(1, 1), Way(1, cores), Way(cores, 1)]))


def study(folder: Path, cores: int, times: int, share: float = 1.0, run: Run | None = None) -> dict[str, Any]:
    """Return the seconds of each way on each set of pictures. Raises AssertionError where files are missing."""
    found = {}
    for name, (count, sizes) in SETS.items():
        photos = folder / name
        make_pictures(photos, max(len(sizes), round(share * count)), sizes)
        seconds: dict[str, list[dict[str, float]]] = {way.name: [] for way in ways(cores)}
        first, same = dict[str, bytes](), dict[str, int]()
        for turn in range(times):
            for way in ways(cores):
                target = folder / f"{name}-{turn}-{way.jobs}-{way.threads}"
                seconds[way.name].append((run or timed)(photos, target, way))
                made = files(target)
                first = first or made
                assert made.keys() == first.keys(), f"{way.name} makes other files"
                same[way.name] = min(same.get(way.name, len(made)), sum(made[file] == first[file] for file in first))
        each = {way: _summary(runs) | {"same_files": same[way]} for way, runs in seconds.items()}
        found[name] = {"pictures": len(list(photos.iterdir())), "ways": each}
    return {"cores": cores, "ways": "processes x threads of each", "sets": found}


def timed(photos: Path, target: Path, way: Way) -> dict[str, float]:
    """Return the seconds of one run."""
    start = time.perf_counter()
    command = [*PROGRAM, "encode", str(photos), "-o", str(target), "--jobs", str(way.jobs), "-q", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": str(way.threads)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=sys.stderr)
    return {"command_seconds": time.perf_counter() - start, "seconds": float(json.loads(done.stdout)["seconds"])}


def make_pictures(folder: Path, count: int, sizes: Sequence[tuple[int, int]]) -> None:
    """Write parts of scikit-image's photographs, shrunk, in sizes that take turns."""
    folder.mkdir(parents=True)
    reads: list[Callable[[], Any]] = [data.astronaut, data.coffee, data.chelsea]
    sources = [Image.fromarray(read()) for read in reads]
    for i in range(count):
        source, (width, height) = sources[i % 3], sizes[i % len(sizes)]
        side = min(source.size)
        left, top = 7 * i % (source.width - side + 1), 5 * i % (source.height - side + 1)
        crop = source.crop((left, top, left + side, top + side)).rotate(90 * (i % 4))
        crop.resize((width, height)).save(folder / f"{i:04d}.png")


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    each = {name: [round(run[name], 2) for run in runs] for name in runs[0]}
    return each | {f"median_{name}": statistics.median(values) for name, values in each.items()}


if __name__ == "__main__":
    main()
