"""Speed of `ddpmcodec train` on this machine's CPU, in images a second, and what limits it.

    python -m ddpmcodec.eval.studies.training_speed -o results/training-speed.json

Each way of training is the command itself in a process of its own, on generated pictures: one thread and two, float32
and bfloat16, and two processes under torchrun. Beside it stands the arithmetic: a network's multiplications and
additions an image, forward and backward, counted by torch, and what plain matrix products of the same type reach on as
many threads.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.training import preset
from ddpmcodec.training.recipe import NetworkToTrain

_LOG_EVERY = 5  # steps between the records that are counted
_PRODUCT = 2048  # side of the matrices


@dataclass(frozen=True)
class Way:
    """Way of training."""

    name: str
    threads: int  # each process's
    processes: int
    options: tuple[str, ...]

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if "--bf16" in self.options else torch.float32


WAYS = (
    Way("float32, one thread", 1, 1, ("--no-bf16",)),
    Way("float32, two threads", 2, 1, ("--no-bf16",)),
    Way("bfloat16, one thread", 1, 1, ("--bf16",)),
    Way("bfloat16, two threads", 2, 1, ("--bf16",)),
    Way("bfloat16, two threads, compiled", 2, 1, ("--bf16", "--compile")),
    Way("bfloat16, two processes of half the batch", 1, 2, ("--bf16", "--batch", "32")),
)


def gigaflop_an_image(config: NetworkToTrain) -> float:
    """Return multiplications and additions of one image's forward and backward pass, in 10^9, as torch counts them."""
    network = config.build().train()
    x_t, log_snr = torch.zeros(1, config.image_channels, config.window, config.window), torch.zeros(1)
    counter = FlopCounterMode(display=False)
    with counter:
        network(x_t, log_snr).mean().backward()
    return float(counter.get_total_flops()) / 1e9


def gigaflop_a_second(dtype: torch.dtype, threads: int, seconds: float = 2.0) -> float:
    """Measure what products of square matrices reach; the best of as many as fit in the seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a = torch.randn(_PRODUCT, _PRODUCT).to(dtype)
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            start = time.perf_counter()
            a @ a
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return 2 * _PRODUCT**3 / best / 1e9


def images_a_second(way: Way, data: Path, minutes: float, name: str) -> float:
    """Return the median over the run's records, its first third left out: warming up, and where asked for compiling."""
    with tempfile.TemporaryDirectory() as directory:
        start = ["-m", "torch.distributed.run", "--nproc-per-node", str(way.processes)] if way.processes > 1 else []
        goal = ("--minutes", str(minutes), "--log-every", str(_LOG_EVERY), "--save-minutes", "60", "--preset", name)
        command = [sys.executable, *start, "-m", "ddpmcodec.cli", "train", "-o", directory, "--data", str(data)]
        subprocess.run(
            [*command, *goal, "--quiet", *way.options],
            env=os.environ | {"OMP_NUM_THREADS": str(way.threads)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        lines = [json.loads(line) for line in (Path(directory) / "log.jsonl").read_text().splitlines()]
    speeds = [line["images_per_second"] for line in lines if "images_per_second" in line]
    return statistics.median(speeds[len(speeds) // 3 :])


def _mosaic(path: Path, side: int) -> None:
    """Write 64 pictures of noise: what a picture shows makes no difference to the time it takes."""
    noise = np.random.default_rng(0).integers(0, 256, (8 * side, 8 * side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def measure(ways: Sequence[Way], minutes: float, name: str) -> dict[str, Any]:
    """Measure speed and arithmetic of each way, by name."""
    config, found = preset(name).network, {}
    an_image = gigaflop_an_image(config)
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "noise.png"
        _mosaic(data, config.window)
        for way in ways:
            speed = images_a_second(way, data, minutes, name)
            reached = gigaflop_a_second(way.dtype, way.threads * way.processes)
            found[way.name] = {
                "images_per_second": speed,
                "gigaflop_a_second": speed * an_image,
                "gigaflop_a_second_of_matrix_products": reached,
                "share": speed * an_image / reached,
            }
            print(f"{way.name}: {speed:.1f} images/s, {speed * an_image:.0f} of {reached:.0f} GFLOP/s", flush=True)
    return {"preset": name, "gigaflop_an_image": an_image, "ways": found}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cifar10-small")
    parser.add_argument("--minutes", type=float, default=0.75, help="of training, each way")
    parser.add_argument("--ways", nargs="+", choices=[way.name for way in WAYS], default=[way.name for way in WAYS])
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    instructions = torch.backends.cpu.get_cpu_capability()
    found = provenance() | {"instructions": instructions, "bfloat16_products": _has_bf16(), "minutes": args.minutes}
    write_json(args.output, found | measure([way for way in WAYS if way.name in args.ways], args.minutes, args.preset))


def _has_bf16() -> bool | None:
    """Return whether this CPU multiplies bfloat16 itself; None where the system doesn't say."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return None
    return bool(words & {"avx512_bf16", "amx_bf16"})


if __name__ == "__main__":
    main()
