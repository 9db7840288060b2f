"""Savings of coding several pictures as one: payload of solid archives, by how many pictures a block has.

    OMP_NUM_THREADS=1 python -m ddpmcodec.eval.studies.solid -o results/solid.json --data train-0.webp --images 96

--data: a mosaic of 32x32 tiles. Every size of block codes the same pictures on the same plan; 1 is single streams, one
a picture. Words as in `rd`; bits are of a picture, a block's shared out equally.

- ratio: payload bits over ideal bits at equal RMSE (mean over images). Ideal bits are those of single pictures, along
  exact draws from q. - saved: share of the payload bits of single streams that the block does without, at equal RMSE.
- code, side: bits of the channel's symbols, and of counts, colours and gains, at the step before that RMSE is reached,
  over the ideal bits along the chain's own path. - archive_bits_per_dim: every byte of the complete archive.

`*_error` are standard errors, by the jackknife over runs of as many pictures as the largest block has.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.archive import pack_archive, pack_blocks
from ddpmcodec.codec.sender import Sender
from ddpmcodec.codec.trajectory import steps_of_plan
from ddpmcodec.eval.channels.chain_statistics import with_jackknife
from ddpmcodec.eval.channels.states import RMSES, Table, ideal_at, payload_at
from ddpmcodec.eval.data import load_tiles
from ddpmcodec.eval.rd import measure
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.images import to_bytes
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.numerics import native

_SINGLES = 64  # single streams coded at a time


def sent(
    model: CodecModel, images: NDArray[np.uint8], together: int, plan_steps: int | None, channel: str, seed: int
) -> tuple[Table, int]:
    """Return, for each picture and step, payload_bits so far, mse, and the step's channel_bits, side_bits and
    ideal_bits; and the bytes of the archive.

    images: (n, h, w, 3), neither side below the model's window. together: pictures a block.
    """
    tables, payloads, files = list[Table](), list[bytes](), list[bytes]()
    header = None
    at_a_time = together if together > 1 else _SINGLES
    for first in range(0, len(images), at_a_time):
        part = images[first : first + at_a_time]
        sender = Sender(
            *part, model=model, plan_steps=plan_steps, channel=channel, seed=seed, joint=together > 1, grey=False
        )
        tables.append(_table(sender, part))
        header = sender.header
        if together > 1:
            payloads.append(sender.block())
        else:
            files += sender.files()
    assert header is not None
    archive = pack_archive(files) if files else pack_blocks(header, [False] * len(images), payloads, together)
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}, len(archive)


def _table(sender: Sender, images: NDArray[np.uint8]) -> Table:
    chain, count = sender.chain, len(images)
    names = ("payload_bits", "mse", "channel_bits", "side_bits", "ideal_bits")
    table = {name: np.zeros((count, chain.plan.steps)) for name in names}
    for step in sender.send():
        n = step.n - 1
        table["ideal_bits"][:, n] = step.ideal_bits
        each = count // len(sender.streams)  # pictures a stream
        for name, values in {
            "payload_bits": [8.0 * len(stream.ended_here().sealed()) for stream in sender.streams],
            "side_bits": [stream.count_bits[n] for stream in sender.streams],
            "channel_bits": [stream.step_bits[n] - stream.count_bits[n] for stream in sender.streams],
        }.items():
            table[name][:, n] = np.repeat(np.array(values) / each, each)
        for i, plane in enumerate(chain.x0_hat()):
            table["mse"][i, n] = measure.squared_error(images[i], to_bytes(plane, *images.shape[1:3]))
    return table


def row_of(table: Table, singles: Table, exact: Table, dims: int, rmses: Sequence[float], run: int) -> dict[str, Any]:
    """Return what the tables of one size of block, of single streams and of exact draws come to."""
    pictures, at = np.arange(len(table["mse"])), []
    runs = -(-len(pictures) // run)
    for rmse in rmses:

        def ratio(kept: NDArray[np.intp], rmse: float = rmse) -> float:
            of = pictures[np.isin(pictures // run, kept)]
            return payload_at(table, of, dims, rmse) / ideal_at(exact, of, dims, rmse)

        def saved(kept: NDArray[np.intp], rmse: float = rmse) -> float:
            of = pictures[np.isin(pictures // run, kept)]
            return 1 - payload_at(table, of, dims, rmse) / payload_at(singles, of, dims, rmse)

        (value, error), (less, less_error) = with_jackknife(ratio, runs), with_jackknife(saved, runs)
        reached = 1 + int((np.sqrt(table["mse"]).mean(axis=0) > rmse).sum())
        sums = {name: float(table[name][:, :reached].sum()) for name in ("channel_bits", "side_bits", "ideal_bits")}
        found = {"rmse": rmse, "ratio": value, "ratio_error": error, "saved": less, "saved_error": less_error}
        found["code"] = sums["channel_bits"] / sums["ideal_bits"]
        found["side"] = sums["side_bits"] / sums["ideal_bits"]
        at.append(found)
    return {"at": at, "rmse_at_the_end": float(np.sqrt(table["mse"][:, -1]).mean())}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--together", type=int, nargs="+", default=[1, 4, 16], help="pictures a block; 1 comes first")
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--channel", default="trellis")
    parser.add_argument("--rmse", type=float, nargs="+", default=list(RMSES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args(arguments)
    model, images = load_model(args.model), load_tiles(args.data, args.images)
    dims, rows = images[0].size, dict[int, Any]()
    exact = measure.ideal(model, list(images), args.plan_steps, args.seed)
    singles: Table = {}
    for together in sorted({1, *args.together}):
        start = time.process_time()
        table, size = sent(model, images, together, args.plan_steps, args.channel, args.seed)
        singles = singles or table
        rows[together] = row_of(table, singles, exact, dims, args.rmse, max(args.together)) | {
            "archive_bits_per_dim": 8 * size / images.size,
            "seconds_an_image": (time.process_time() - start) / len(images),
        }
        print(f"{together} together", json.dumps(rows[together]), flush=True)
    if args.output:
        said = {
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "search": native.description(),
            "model": model.name,
            "fingerprint": model.fingerprint,
            "data": args.data.name,
            "images": len(images),
            "plan_steps": steps_of_plan(model, args.plan_steps, images.shape[1] * images.shape[2]),
            "channel": args.channel,
            "seed": args.seed,
        }
        write_json(args.output, provenance() | said | {"rows": rows})


if __name__ == "__main__":
    main()
