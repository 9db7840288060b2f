"""Coloured priors against white ones: the same model with and without the spectrum of its error, ideal and real.

    python -m ddpmcodec.eval.studies.priors --model coloured.safetensors --data test-a.webp --limit 100 \\
      -o results/priors.json

Both send the same pictures over the same levels. Real is payload: files without header and check, parsed, not decoded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd.curves import IDEAL, PAYLOAD, ideal_curve, rate_at, real_curve
from ddpmcodec.eval.rd.measure import Image, ideal, real
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.datasets import load_images
from ddpmcodec.models import CodecModel, load_model

RMSES = (20.0, 12.0, 8.0, 5.0, 3.0, 2.0, 1.2, 0.951)
BATCH = 50


def compare(model: CodecModel, images: Sequence[Image], steps: int, channel: str, seed: int) -> dict[str, Any]:
    """Return bits/dim of both priors at RMSES (mean over images), None beyond a curve's end; images (n, h, w, 3).

    white_steps: the share of steps in which a coloured stream took the white prior. Raises DdpmCodecError where the
    model has no spectrum.
    """
    if model.curve.spectrum is None:
        raise DdpmCodecError(f"model {model.name} has no spectrum to compare: make one with `ddpmcodec plan`")
    white = replace(model, curve=replace(model.curve, spectrum=None))
    result: dict[str, Any] = {"steps": steps, "rmse": list(RMSES)}
    dims = np.full(len(images), float(images[0].size))
    for name, kind in (("white", white), ("coloured", model)):
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        reals = [real(kind, part, steps, channel, seed, decode=False) for part in parts]
        ideals = [ideal(kind, part, steps, seed, first=BATCH * i) for i, part in enumerate(parts)]
        sent, exact = ({k: np.concatenate([t[k] for t in tables]) for k in tables[0]} for tables in (reals, ideals))
        result[name] = {
            "payload_bits_per_dim": [rate_at(real_curve(sent, dims), PAYLOAD, e) for e in RMSES],
            "ideal_bits_per_dim": [rate_at(ideal_curve(exact, dims), IDEAL, e) for e in RMSES],
        }
        if name == "coloured":
            result["white_steps"] = 1 - float(sent["coloured"].mean())
    for rate in ("payload", "ideal"):
        pairs = zip(*(result[name][f"{rate}_bits_per_dim"] for name in ("white", "coloured")), strict=True)
        result[f"{rate}_change_percent"] = [None if a is None or b is None else 100 * (b / a - 1) for a, b in pairs]
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar10-small", help="a model with a spectrum")
    parser.add_argument("--data", required=True, help="a mosaic of 32x32 pictures, or a folder of pictures of one size")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--steps", type=int, nargs="+", default=[12, 20, 46], help="of plans")
    parser.add_argument("--channel", default="trellis")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        model, images = load_model(args.model), list(load_images(args.data, 32)[: args.limit])
        plans = [compare(model, images, steps, args.channel, args.seed) for steps in args.steps]
    except DdpmCodecError as error:
        raise SystemExit(f"error: {error}") from error
    result = provenance() | {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "images": len(images),
        "seed": args.seed,
        "channel": args.channel,
        "convention": "RMSE: mean over images, of pictures in whole levels; real: payload, END of each prefix included",
        "plans": plans,
    }
    write_json(args.output, result)
    Console(width=120).print(_table(plans))


def _table(plans: Sequence[dict[str, Any]]) -> Table:
    table = Table("steps", "bits/dim", *(f"RMSE {e:g}" for e in RMSES), box=None)

    def cells(values: Sequence[float | None], form: str) -> list[str]:
        return ["" if v is None else format(v, form) for v in values]

    for plan in plans:
        for kind in ("ideal", "payload"):
            for name in ("white", "coloured"):
                table.add_row(str(plan["steps"]), f"{kind}, {name}", *cells(plan[name][f"{kind}_bits_per_dim"], ".4f"))
            table.add_row("", "change, %", *cells(plan[f"{kind}_change_percent"], "+.1f"))
    return table


if __name__ == "__main__":
    main()
