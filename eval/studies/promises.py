"""Promises put to the test: no file exceeds its target, and a cut file gives its whole steps or an error.

    python -m ddpmcodec.eval.studies.promises --data test.webp -o results/promises.json

Targets: pictures and sizes at random; each file is measured, decoded and compared with the sender's own last picture.
Cuts: a plain, a short-stepped and a lossless file, cut at random places; what is decoded of them is compared with the
whole file's.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.file import read_info
from ddpmcodec.codec.decoding import decode, decode_progressive
from ddpmcodec.codec.encoding import encode
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.errors import DdpmCodecError, TruncatedStreamError
from ddpmcodec.eval.data import load_tiles, shipped_picture
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.images import to_bytes
from ddpmcodec.models import CodecModel, load_model

LEAST, MOST = 20, 1400  # bytes of the smallest and the largest target


def targets(model: CodecModel, images: NDArray[np.uint8], count: int, plan_steps: int, seed: int) -> dict[str, Any]:
    """Try one random picture and size after another; `short` counts files more than 2% and 2 bytes below their
    target.
    """
    rng, rows, last = np.random.default_rng(seed), [], list[SentStep]()
    whole: dict[int, int] = {}  # sizes of complete chains: only a target below one binds

    def keep(sent: SentStep) -> None:
        last[:] = [sent]

    for _ in range(count):
        i, size = int(rng.integers(len(images))), round(LEAST * (MOST / LEAST) ** rng.random())
        data = encode(images[i], model=model, plan_steps=plan_steps, target_bytes=size, on_step=keep)
        height, width, _ = images[i].shape
        same = np.array_equal(decode(data, model=model), to_bytes(last[0].reconstruct()[0], height, width))
        if i not in whole:
            whole[i] = len(encode(images[i], model=model, plan_steps=plan_steps, full=True))
        rows.append((i, size, len(data), same, whole[i]))
    binding = [(size, found) for _, size, found, _, most in rows if size < most]
    return {
        "count": count,
        "plan_steps": plan_steps,
        "exceeded": sum(found > size for _, size, found, _, _ in rows),
        "binding": len(binding),
        "short": sum(size - found > max(2, math.floor(0.02 * size)) for size, found in binding),
        "mean_bytes_below_target": float(np.mean([size - found for size, found in binding])),
        "most_bytes_below_target": max(size - found for size, found in binding),
        "decoded_otherwise_than_sent": sum(not same for _, _, _, same, _ in rows),
        "picture_target_bytes": [row[:3] for row in rows],
    }


def cuts(model: CodecModel, image: NDArray[np.uint8], count: int, plan_steps: int, seed: int) -> dict[str, Any]:
    """Try cuts; `wrong` counts those that gave anything but the whole steps which lie in them, or an error that says
    how many do.
    """
    files = {
        "plain": encode(image, model=model, plan_steps=plan_steps, full=True),
        "short_step": encode(image, model=model, plan_steps=plan_steps, target_bytes=300),
        "lossless": encode(image, model=model, plan_steps=plan_steps, lossless=True),
    }
    rng = np.random.default_rng(seed)
    result: dict[str, Any] = {"count": 0, "wrong": 0, "with_steps": 0, "without": 0}
    for k, (name, data) in enumerate(files.items()):
        pictures = [item.image for item in decode_progressive(data, model=model)]
        ends = _ends(data, model)
        for size in rng.integers(0, len(data), count // 3 + (k < count % 3)).tolist():
            steps = _cut(data[:size], pictures, model)
            # A step may need a byte more than its information; one that has all the bytes it can want must be there.
            certain = sum(end + 2 <= size for end in ends)
            result["count"] += 1
            result["wrong"] += int(steps is None or steps < certain)
            result["with_steps" if steps else "without"] += 1
        result[f"{name}_bytes"] = len(data)
    return result


def _ends(data: bytes, model: CodecModel) -> list[float]:
    """Return the bytes from the file's start by which each step's information has been written."""
    info = read_info(data, model)
    return [info.header_bytes + math.ceil(bits / 8) for bits in np.cumsum(info.step_bits)]


def _cut(part: bytes, pictures: list[NDArray[np.uint8]], model: CodecModel) -> int | None:
    """Return the steps that a cut file gives: 0 where it gives an error; None where anything is wrong."""
    try:
        decode(part, model=model)
        return None  # it passed for complete
    except TruncatedStreamError as error:
        said = error.intact_steps
    except DdpmCodecError:
        said = 0
    try:
        found = [item.image for item in decode_progressive(part, model=model, allow_partial=True)]
    except DdpmCodecError:
        found = []
    right = len(found) == said and all(np.array_equal(a, b) for a, b in zip(found, pictures, strict=False))
    return len(found) if right else None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="mosaic of 32x32 tiles; default: scikit-image's astronaut at 32x32")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=300)
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    model = load_model(args.model)
    images = load_tiles(args.data, args.images) if args.data else shipped_picture(32)[None]
    result = provenance() | {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "data": args.data.name if args.data else "scikit-image astronaut at 32x32",
        "seed": args.seed,
    }
    result["targets"] = targets(model, images, args.targets, args.plan_steps, args.seed)
    result["cuts"] = cuts(model, images[0], args.cuts, args.plan_steps, args.seed)
    write_json(args.output, result)
    for name in ("targets", "cuts"):
        print(name, {k: v for k, v in result[name].items() if k != "picture_target_bytes"})


if __name__ == "__main__":
    main()
