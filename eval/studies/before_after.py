"""Seconds of this code beside those of an older checkout, on one machine in one run: ratios that another machine keeps.

    python -m ddpmcodec.eval.studies.before_after --before ../old --photo kodim23.png --tiles test.webp \\
      -o results/before-after.json

Each part runs in a process of its own, the two codes by turns, after a warm-up; the least of its repetitions counts.
The older code is imported from its folder, with this one's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ddpmcodec
from ddpmcodec.eval.results import provenance, write_json

# What both codes understand. `given` are the options of a part; one picture is coded alone, several together.
_PROGRAM = """
import json, sys, time
import numpy as np
from PIL import Image
import ddpmcodec
from ddpmcodec.models import load_model
part = json.loads(sys.argv[1])
model = load_model(part["model"]) if part["model"] else load_model()
whole = np.asarray(Image.open(part["picture"]).convert("RGB"))
side = part["side"]
cuts = [whole[:side, i * side : (i + 1) * side] for i in range(part["count"])] if side else [whole]
images = [np.ascontiguousarray(cut) for cut in cuts]
def encode(shown):
    if len(shown) == 1:
        return [ddpmcodec.encode(shown[0], model=model, **part["given"])]
    return ddpmcodec.encode_batch(shown, model=model, **part["given"])
def decode(files):
    return [ddpmcodec.decode(files[0], model=model)] if len(files) == 1 else ddpmcodec.decode_batch(files, model=model)
decode(encode([image[:64, :64] for image in images[:2]][:1]))
seconds = []
for _ in range(part["repeat"]):
    start = time.perf_counter()
    files = encode(images)
    middle = time.perf_counter()
    decoded = decode(files)
    seconds.append((middle - start, time.perf_counter() - middle))
mse = float(np.mean([np.square(np.subtract(a, b, dtype=float)).mean() for a, b in zip(decoded, images)]))
print(json.dumps({"encode": min(s[0] for s in seconds), "decode": min(s[1] for s in seconds),
    "file_bytes": sum(map(len, files)) / len(files), "rmse": mse ** 0.5, "code": ddpmcodec.__file__}))
"""


def measured(code: Path, part: dict[str, Any]) -> dict[str, Any]:
    """Return a part's seconds by the code in a folder. Raises RuntimeError with what it printed where it fails."""
    code = code.resolve()
    environment = os.environ | {"PYTHONPATH": str(code)}
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(part)], capture_output=True, text=True, env=environment, cwd=code
    )
    if ran.returncode:
        raise RuntimeError(f"{code}: {ran.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    where = Path(found.pop("code"))
    if not where.is_relative_to(code):
        raise RuntimeError(f"{code} was to be measured, but {where} was imported")
    return found


def parts(photo: Path, tiles: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return each part's name, and what the older code and this one are told."""
    whole = {"picture": str(photo.resolve()), "side": 0, "count": 1, "repeat": 1}
    tile = {"picture": str(tiles.resolve()), "side": 32, "count": 1, "repeat": 5}
    old = {"model": None}
    full: dict[str, Any] = {"full": True}
    return [
        (
            "photograph, the whole chain",
            whole | old | {"given": {"plan_steps": 20}},
            whole | {"model": "photo-small", "given": full},
        ),
        ("32x32", tile | old | {"given": {}}, tile | {"model": "cifar10-small", "given": {}}),
        (
            "64 of 32x32 together",
            tile | old | {"count": 64, "repeat": 1, "given": {}},
            tile | {"model": "cifar10-small", "count": 64, "repeat": 1, "given": {}},
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of the older code")
    parser.add_argument("--photo", type=Path, required=True, help="a photograph of 768x512")
    parser.add_argument("--tiles", type=Path, required=True, help="mosaic, at least 64 tiles wide")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    here = Path(ddpmcodec.__file__).resolve().parents[1]
    commit = subprocess.run(["git", "-C", str(args.before), "rev-parse", "HEAD"], capture_output=True, text=True)
    result: dict[str, Any] = provenance() | {"before": commit.stdout.strip(), "parts": {}}
    for name, old, new in parts(args.photo, args.tiles):
        rows = {"before": measured(args.before, old), "after": measured(here, new)}
        ratios = {way: rows["after"][way] / rows["before"][way] for way in ("encode", "decode")}
        result["parts"][name] = rows | {"ratio": ratios}
        write_json(args.output, result)
        print(name, json.dumps(result["parts"][name]), flush=True)


if __name__ == "__main__":
    main()
