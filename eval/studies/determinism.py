"""Determinism of one stream decoded in many ways: does it parse alike, and how far apart are the pictures?

    python -m ddpmcodec.eval.studies.determinism -o results/determinism.json

The reference is one thread on this machine with the model as `load_model` gives it. Each other way changes one thing:
how the network runs, what the caller had set, or (in a process of its own) which instructions the libraries may use,
which stands for other machines. Differences are in levels of 255, of x0_hat before it is rounded and of the picture
after.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.codec.decoding import Decoded
from ddpmcodec.errors import FormatError
from ddpmcodec.eval.data import shipped_picture
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.eval.studies.determinism_ways import BATCH, BATCHED, PROCESSES, SLOW, WAYS, Skipped, Way
from ddpmcodec.models import CodecModel, load_model

Pictures = dict[str, tuple[NDArray[np.uint8], dict[str, Any]]]  # and options of `encode`
Result = dict[str, NDArray[Any]]


def pictures() -> Pictures:
    """Return a picture of the network's own size, one of odd sides, and one of many windows in a few steps."""
    return {
        "32x32, 46 steps": (shipped_picture(32), {}),
        "32x32, lossless": (shipped_picture(32), {"lossless": True}),
        "45x37, 20 steps, lossless": (shipped_picture(45)[:37], {"plan_steps": 20, "lossless": True}),
        "256x256, 8 steps, lossless": (shipped_picture(256), {"plan_steps": 8, "lossless": True}),
    }


def decode(data: bytes, model: CodecModel, batch: int = 1) -> Result:
    """Return what a receiver has after each step, what the stream was parsed to, and the exact picture where there is
    one.
    """
    digest = hashlib.sha256()
    for packet in ddpmcodec.read_info(data, model).packets:
        digest.update(f"{packet.index} {packet.bits} {packet.code.tolist()}\n".encode())
    steps: list[Decoded] = []
    exact = np.zeros(0, np.uint8)
    with suppress(FormatError):  # a tail that fails, when all steps are there already
        for items in ddpmcodec.decode_batch_progressive([data] * batch, model=model):
            if items[0].exact:
                exact = np.stack([item.image for item in items])
            else:
                steps.append(items[0])  # its state is that of all copies
    x0_hat, x_t = (np.stack([getattr(step.state, k) for step in steps]) for k in ("x0_hat", "x_t"))
    images = np.stack([step.image for step in steps])[:, None]
    return {"parse": np.array(digest.hexdigest()), "x0_hat": x0_hat, "x_t": x_t, "pictures": images, "exact": exact}


def compare(reference: Result, found: Result) -> dict[str, Any]:
    """Return differences over all steps, and at the last one; the reference's exact picture is taken for the
    sender's.
    """
    levels = 127.5 * np.abs(found["x0_hat"].astype(np.float64) - reference["x0_hat"])
    pixels = np.abs(found["pictures"].astype(int) - reference["pictures"])
    lossless = reference["exact"].size > 0
    return {
        "same_parse": str(found["parse"]) == str(reference["parse"]),
        "exact": found["exact"].size > 0 and bool((found["exact"] == reference["exact"]).all()) if lossless else None,
        "x0_hat_max_levels": float(levels[-1].max()),
        "x0_hat_rms_levels": float(np.sqrt((levels[-1] ** 2).mean())),
        "x0_hat_max_levels_any_step": float(levels.max()),
        "x0_hat_max_levels_by_step": [float(v.max()) for v in levels],
        "picture_max_levels": int(pixels[-1].max()),
        "picture_max_levels_any_step": int(pixels.max()),
        "pixels_differing": float((pixels[-1] > 0).mean()),
        "x_t_max": float(np.abs(found["x_t"].astype(np.float64) - reference["x_t"]).max()),
    }


def in_process(name: str, datas: Sequence[bytes], environment: dict[str, str]) -> list[Result]:
    """Decode the reference's way, in a process whose libraries see another machine."""
    with tempfile.TemporaryDirectory() as directory:
        for i, data in enumerate(datas):
            (Path(directory) / f"{i}.bin").write_bytes(data)
        command = [sys.executable, "-m", "ddpmcodec.eval.studies.determinism", "--decode", directory]
        subprocess.run(command, check=True, env=os.environ | environment)
        results = []
        for i in range(len(datas)):
            with np.load(Path(directory) / f"{i}.npz", allow_pickle=False) as file:
                results.append(dict(file))
        return results


def measure(shown: Pictures, ways: dict[str, Way], processes: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return a row for each way, with a column for each picture; or why there is none."""
    torch.set_num_threads(1)
    model = load_model()
    datas = {k: ddpmcodec.encode(picture, model=model, **options) for k, (picture, options) in shown.items()}
    reference = {k: decode(data, model) for k, data in datas.items()}
    for k, (picture, _) in shown.items():
        assert not reference[k]["exact"].size or np.array_equal(reference[k]["exact"][0], picture), k
    rows: dict[str, Any] = {}
    for name, way in ways.items():
        batch = BATCH if name == BATCHED else 1
        chosen = list(datas)[:2] if name in SLOW else list(datas)
        try:
            with way() as other:
                rows[name] = {k: compare(reference[k], decode(datas[k], other, batch)) for k in chosen}
        except Skipped as reason:
            rows[name] = {"skipped": str(reason)}
        print(name, rows[name], file=sys.stderr)
    for name, environment in processes.items():
        found = in_process(name, list(datas.values()), environment)
        rows[name] = {k: compare(reference[k], f) for k, f in zip(datas, found, strict=True)}
        print(name, rows[name], file=sys.stderr)
    return {"streams": {k: {"bytes": len(d)} for k, d in datas.items()}, "ways": rows}


def table(result: dict[str, Any]) -> str:
    """Return a table in Markdown: the worst of the streams, a row for each way."""
    lines = [
        "| one thing changed | same parse | lossless exact | x̂_0, any step | "
        "x̂_0, last step | rms | x_t | picture | values |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["ways"].items():
        if "skipped" in row:
            lines.append(f"| {name} | skipped: {row['skipped']} {'| ' * 8}".rstrip())
            continue
        numbers = [k for k, v in next(iter(row.values())).items() if isinstance(v, int | float)]
        worst = {k: max(column[k] for column in row.values()) for k in numbers}
        cells = [
            *("yes" if all(c[k] is not False for c in row.values()) else "**no**" for k in ("same_parse", "exact")),
            *(
                f"{worst[k]:.1g}"
                for k in ("x0_hat_max_levels_any_step", "x0_hat_max_levels", "x0_hat_rms_levels", "x_t_max")
            ),
            str(worst["picture_max_levels_any_step"]),
            f"{100 * worst['pixels_differing']:.2g}%",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="JSON; the table goes to stdout")
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)  # a directory of streams: what a process does
    args = parser.parse_args(arguments)
    if args.decode:
        torch.set_num_threads(1)
        model = load_model()
        for path in args.decode.glob("*.bin"):
            np.savez(path.with_suffix(".npz"), **decode(path.read_bytes(), model))  # type: ignore[arg-type]
        return
    result = provenance() | measure(pictures(), WAYS, PROCESSES)
    if args.output:
        write_json(args.output, result)
    print(table(result), end="")


if __name__ == "__main__":
    main()
