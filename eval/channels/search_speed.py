"""Speed of the search: microseconds that a bit costs the sender, natively and with numpy, on one core.

    taskset -c 0 env OMP_NUM_THREADS=1 python -m ddpmcodec.eval.channels.search_speed [-o results/search-speed.json]

One block over 3072 coloured dimensions, whose codebook is known already. Minima of many repeats, since a shared machine
only ever adds: *search* is the Viterbi algorithm with its branch metrics; *encode* and *decode* are all that the
channel does.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddpmcodec.channel.blocks import blocks_of
from ddpmcodec.channel.metrics import branch_metrics, quantised
from ddpmcodec.channel.prior import Prior
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.channel.viterbi import search
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.numerics import native
from ddpmcodec.numerics.philox import Key

DIMS = 3072
KEY = Key(1, 2)


def least_us(function: Callable[[], Any], seconds: float) -> float:
    """Return the microseconds of processor time of the fastest call, of as many as fit in the time, three at least."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1e6 * min(times)


def measured(memory: int, bits: int, seconds: float) -> dict[str, float]:
    """Return microseconds a bit of one step, by whichever search is enabled."""
    channel, power = TrellisChannel(memory), np.geomspace(8, 0.05, 24)
    prior = Prior(tuple(power / power.mean()), DIMS)
    shift = np.random.default_rng(bits).standard_normal((1, DIMS), np.float32) * np.float32(
        math.sqrt(channel.snr(bits, DIMS))
    )
    (block,) = blocks_of(bits, DIMS, memory, KEY, True)
    target = quantised(shift[0])
    (code,) = channel.encode(shift, [bits], KEY, [prior])
    parts: dict[str, Callable[[], Any]] = {
        "search": lambda: search([branch_metrics(target, block)], memory),
        "encode": lambda: channel.encode(shift, [bits], KEY, [prior]),
        "decode": lambda: channel.decode(code, bits, DIMS, KEY, prior),
    }
    return {name: least_us(part, seconds) / bits for name, part in parts.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=int, nargs="+", default=[12, 13, 14, 15, 16])
    parser.add_argument("--bits", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=0.3, help="of repeats of each part")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for memory in args.memory:
        for bits in args.bits:
            row: dict[str, Any] = {"memory": memory, "bits": bits}
            for name in ("native", "numpy"):
                os.environ[native.VARIABLE] = name
                row[name] = measured(memory, bits, args.seconds)
            rows.append(row)
            said = (f"{part} {row['native'][part]:.2f} (numpy {row['numpy'][part]:.1f})" for part in row["native"])
            print(f"L = {memory}, {bits} bits, microseconds a bit:", "  ".join(said), flush=True)
    os.environ[native.VARIABLE] = "native"
    if args.output:
        write_json(args.output, provenance() | {"search": native.description(), "dims": DIMS, "rows": rows})


if __name__ == "__main__":
    main()
