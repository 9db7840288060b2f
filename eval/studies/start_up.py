"""Seconds of whole command lines that run no network: python -m ddpmcodec.eval.studies.start_up [RUNS].

Each is run RUNS times (7 by default); the least counts, for others may have the processor meanwhile. CPU seconds are
those of the process, whoever else runs. With PYTHONDONTWRITEBYTECODE, every run compiles a changed package anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import ddpmcodec

COMMANDS = ("--help", "info s.bin", "info s.bin --json", "verify s.bin", "truncate s.bin -o t.bin --steps 10")


def seconds(command: str, folder: Path, runs: int) -> tuple[float, float]:
    """Return the least wall-clock and the least CPU seconds of a command line in a folder."""
    walls, cpus = list[float](), list[float]()
    for _ in range(runs):
        before, start = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "ddpmcodec", *command.split()], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        walls.append(time.perf_counter() - start)
        after = os.times()
        cpus.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(walls), min(cpus)


def main(runs: int = 7) -> None:
    """Print the seconds of each command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        (folder / "s.bin").write_bytes(ddpmcodec.encode(picture))
        for command in COMMANDS:
            wall, cpu = seconds(command, folder, runs)
            print(f"{command:36s} {wall:.3f} s wall, {cpu:.2f} s CPU")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
