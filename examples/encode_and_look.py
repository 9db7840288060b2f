"""Encode a picture, see what each step costs, and look at all of them in a browser.

python examples/encode_and_look.py docs/astronaut-32.png -o out
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

import ddpmcodec
import ddpmcodec.pillow  # now Image.open and Image.save know .ddpc files


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="a folder (default: %(default)s)")
    parser.add_argument("--plan-steps", type=int, default=20, help="20 is fast, 100 slow (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    original = np.asarray(Image.open(chosen.picture).convert("RGB"))

    data = ddpmcodec.encode(original, plan_steps=chosen.plan_steps)
    stream = chosen.output / f"{chosen.picture.name}.ddpc"
    stream.write_bytes(data)

    # Every beginning of a stream is a picture. In a notebook, a step shows itself: just name it at a cell's end.
    steps = list(track(ddpmcodec.decode_progressive(data), "decoding", total=chosen.plan_steps))
    for step in steps:
        rmse = np.sqrt(np.mean((step.image.astype(float) - original) ** 2))
        print(f"step {step.n:2d}: {step.bits / 8:7.1f} bytes, RMSE {rmse:6.2f}")

    # The same with Pillow: frame n is the picture after n steps, and frame 0 all of the file.
    with Image.open(stream) as picture:
        picture.seek(len(steps) // 2)
        picture.save(chosen.output / "half-way.png")

    page = ddpmcodec.view(data, original=original, name=chosen.picture.name)
    (chosen.output / "steps.html").write_text(page.html, "utf-8")
    print(f"{len(data)} bytes; open {chosen.output / 'steps.html'} in a browser")


if __name__ == "__main__":
    main()
