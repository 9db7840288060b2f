"""Folders in one command: 500 pictures of twenty sizes and six formats, ten of them broken, killed twice on the way.

python -m ddpmcodec.eval.studies.folder -o results/folder.json

Makes the pictures from those that scikit-image brings, runs `ddpmcodec encode FOLDER` in a process of its own, kills it
(SIGKILL) as soon as about a third and two thirds are there, lets it go on, and compares what is there with the files of
an uninterrupted run and with the originals. Raises AssertionError where a file is missing, twice there or different.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from ddpmcodec.eval.results import provenance, write_json

COUNT = 500
SIZES = [(8 + 3 * (i % 5) + 8 * (i // 5), 48 - 2 * i) for i in range(20)]  # (width, height)
FORMATS = (".png", ".jpg", ".webp", ".bmp", ".tif", ".ppm")
PROGRAM = [sys.executable, "-m", "ddpmcodec"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="results/folder.json", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures, ten of them broken (default: %(default)s)")
    parser.add_argument("--plan-steps", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = study(Path(folder), chosen.count, chosen.plan_steps, chosen.jobs)
    write_json(Path(chosen.output), {"made_by": provenance(), **result})


def study(folder: Path, count: int, plan_steps: int, jobs: int) -> dict[str, Any]:
    """Return what happened, or raise AssertionError."""
    photos, killed, whole, back = (folder / name for name in ("photos", "killed", "whole", "back"))
    broken = make_pictures(photos, count)
    good = count - len(broken)
    encode = [
        *PROGRAM,
        "encode",
        str(photos),
        "--recursive",
        "--plan-steps",
        str(plan_steps),
        "--jobs",
        str(jobs),
        "-q",
    ]
    start = time.perf_counter()
    kept = [run_until(encode, killed, good * part // 3) for part in (1, 2)]
    said = finish([*encode, "-o", str(killed), "--json"])
    seconds = time.perf_counter() - start
    assert said["done"] + said["before"] == good, said
    assert {item["file"] for item in said["failed"]} == broken, said["failed"]
    again = finish([*encode, "-o", str(killed), "--json"])
    assert (again["done"], again["before"]) == (0, good), again
    uninterrupted = finish([*encode, "-o", str(whole), "--json"])
    assert files(killed) == files(whole), "a run that was killed leaves other files"
    decode = [*PROGRAM, "decode", str(killed), "-o", str(back), "--recursive", "--jobs", str(jobs), "-q"]
    subprocess.run(decode, check=True)
    psnr = [psnr_of(photos / name, back / (name if name.endswith(".png") else f"{name}.png")) for name in names(killed)]
    assert len(files(back)) == good
    return {
        "pictures": count,
        "sizes": len(SIZES),
        "formats": len(FORMATS),
        "files_when_killed": kept,
        "files": len(files(killed)),
        "reasons": {item["file"]: item["error"] for item in said["failed"]},
        "seconds_with_two_kills": round(seconds, 1),
        "seconds_uninterrupted": uninterrupted["seconds"],
        "jobs": jobs,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "plan_steps": plan_steps,
        "bytes": uninterrupted["bytes"],
        "least_psnr": round(min(psnr), 2),
    }


def make_pictures(folder: Path, count: int) -> set[str]:
    """Write the pictures into a tree; return the names of the broken ones."""
    draw, sources = np.random.default_rng(0), [data.astronaut(), data.coffee()]  # type: ignore[no-untyped-call]
    for i in range(count - 10):
        place = folder / f"roll-{i % 3}" / f"day-{i % 7}"
        place.mkdir(parents=True, exist_ok=True)
        crop = _crop(sources[i % 2], SIZES[i % 20], draw)
        Image.fromarray(crop).save(place / f"{i // 2:04d}{FORMATS[i // 2 % 3 + 3 * (i % 2)]}")
    sound = Image.fromarray(_crop(sources[0], (32, 32), draw))
    sound.save(folder / "whole.png")
    whole = (folder / "whole.png").read_bytes()
    (folder / "whole.png").unlink()
    deep = Image.fromarray(np.zeros((32, 32), np.uint16))
    writers: dict[str, Any] = {
        "empty.png": lambda path: path.write_bytes(b""),
        "text.jpg": lambda path: path.write_text("no picture"),
        "cut.png": lambda path: path.write_bytes(whole[: len(whole) // 2]),
        "flipped.png": lambda path: path.write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:]),
        "deep.png": deep.save,
        "clear.png": sound.convert("RGBA").save,
        "cmyk.tif": sound.convert("CMYK").save,
        "moving.gif": lambda path: sound.save(path, save_all=True, append_images=[sound.rotate(90)]),
        "dangling.png": lambda path: path.write_bytes(whole[:8]),
        "huge.ppm": lambda path: path.write_bytes(b"P6 99999 99999 255\n"),
    }
    for name, write in writers.items():
        write(folder / name)
    return set(writers)


def _crop(picture: NDArray[np.uint8], size: tuple[int, int], draw: np.random.Generator) -> NDArray[np.uint8]:
    width, height = size
    reduced = np.asarray(Image.fromarray(picture).reduce(4))
    top, left = (int(draw.integers(0, n - m + 1)) for n, m in zip(reduced.shape, (height, width), strict=False))
    return reduced[top : top + height, left : left + width]


def run_until(command: list[str], output: Path, enough: int) -> int:
    """Run a command, kill it as soon as `enough` files are there, and return their number then."""
    with subprocess.Popen([*command, "-o", str(output)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(names(output)) < enough:
            time.sleep(0.1)
        assert process.poll() is None, "it was done before it could be killed"
        process.send_signal(signal.SIGKILL)
    return len(names(output))


def finish(command: list[str]) -> dict[str, Any]:
    """Run a command to its end, which is exit code 2, and return its report."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert done.returncode == 2, done.returncode
    return dict(json.loads(done.stdout))


def names(folder: Path) -> list[str]:
    """Return the names of the pictures that a folder has streams of."""
    found = (path for path in folder.rglob("*.ddpc") if not path.name.startswith("."))
    return sorted(path.relative_to(folder).as_posix().removesuffix(".ddpc") for path in found)


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def psnr_of(one: Path, other: Path) -> float:
    """Return the PSNR of two picture files, in dB."""
    first, second = (np.asarray(Image.open(path).convert("RGB"), np.float64) for path in (one, other))
    return float(10 * np.log10(255**2 / np.mean((first - second) ** 2)))


if __name__ == "__main__":
    main()
