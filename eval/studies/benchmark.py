"""Seconds, memory and bits of the codec on this machine, as JSON.

    python -m ddpmcodec.eval.studies.benchmark -o results/benchmark.json [--photo FILE --tiles MOSAIC]
    python -m ddpmcodec.eval.studies.benchmark --parts photo --photo kodim23.png -o results/benchmark-photo.json

Each part runs in a process of its own, so that its peak memory (resident, from the operating system) is its own.
Seconds are medians of the repeats given; `--tiles` and `--photo` name other pictures than the shipped ones.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.codec.sender import SentStep
from ddpmcodec.codec.trajectory import steps_of_plan
from ddpmcodec.eval.data import load_tiles, shipped_picture
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.images import squared_error
from ddpmcodec.io.reading import read_image

SMALL, PHOTO = "cifar10-small", "photo-small"
_PSNR = 34  # dB, that the photograph is timed to as well
PARTS = ("load", "one", "batch", "photo", "trellis")


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return median seconds and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def part_load() -> dict[str, Any]:
    """Time import and model load, as a fresh process sees them."""
    code = (
        "import time; t = time.perf_counter(); import ddpmcodec; ddpmcodec.load_model(); print(time.perf_counter() - t)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(5)
    ]
    return {"import_and_load_seconds": statistics.median(runs)}


def _code(images: list[NDArray[np.uint8]], name: str, repeats: int) -> dict[str, Any]:
    """Time the whole chain of the plan that images of their size go by, over all of them together."""
    import ddpmcodec

    model = ddpmcodec.load_model(name)
    ideal = np.zeros(len(images))

    def add(sent: SentStep) -> None:
        ideal[:] = sent.ideal_bits + (ideal if sent.n > 1 else 0.0)

    def encode() -> list[bytes]:
        return ddpmcodec.encode_batch(images, model=model, full=True, on_step=add)

    warm_up = images[0][:32, :32]
    ddpmcodec.decode(ddpmcodec.encode(warm_up, model=model, plan_steps=4), model=model)
    encode_seconds, streams = timed(encode, repeats)
    decode_seconds, decoded = timed(lambda: ddpmcodec.decode_batch(streams, model=model), repeats)
    dims = images[0].size
    mse = np.mean((np.stack(decoded).astype(np.float64) - np.stack(images)) ** 2, axis=(1, 2, 3))
    real = 8.0 * sum(len(s) for s in streams) / len(streams)
    return {
        "images": len(images),
        "width": images[0].shape[1],
        "height": images[0].shape[0],
        "plan_steps": steps_of_plan(model, None, images[0].shape[0] * images[0].shape[1]),
        "encode_seconds": encode_seconds,
        "decode_seconds": decode_seconds,
        "file_bytes": real / 8,
        "real_bits_per_dim": real / dims,
        "ideal_bits_per_dim_along": float(ideal.mean()) / dims,
        "file_over_ideal_along": real / float(ideal.mean()),
        "rmse_mean_over_images": float(np.sqrt(mse).mean()),
    }


def part_one(tiles: NDArray[np.uint8]) -> dict[str, Any]:
    """Time one 32×32 image after another: medians over five images, and the slowest."""
    rows = [_code([tile], SMALL, 3) for tile in tiles[:5]]
    result = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
    return result | {"slowest_encode_seconds": max(r["encode_seconds"] for r in rows)}


def part_batch(tiles: NDArray[np.uint8]) -> dict[str, Any]:
    return _code(list(tiles[:64]), SMALL, 1)


def part_photo(photo: NDArray[np.uint8]) -> dict[str, Any]:
    """Time one photograph: the whole chain, and to 34 dB; medians of three runs, load not counted."""
    import ddpmcodec

    whole, model = _code([photo], PHOTO, 3), ddpmcodec.load_model(PHOTO)
    encode_seconds, data = timed(lambda: ddpmcodec.encode(photo, model=model, target_psnr=_PSNR), 3)
    decode_seconds, decoded = timed(lambda: ddpmcodec.decode(data, model=model), 3)
    mse = squared_error(decoded, photo) / photo.size
    to_target = {"encode_seconds": encode_seconds, "decode_seconds": decode_seconds, "file_bytes": len(data)}
    return whole | {f"to_{_PSNR}_db": to_target | {"psnr": 10 * math.log10(255**2 / mse)}}


def part_trellis() -> dict[str, Any]:
    """Time a bit of the encoder and the decoder in microseconds, on one core, over d = 3072 Gaussian shifts."""
    import torch

    from ddpmcodec.channel.trellis import TrellisChannel
    from ddpmcodec.numerics.philox import Key

    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    generator, dims = np.random.default_rng(0), 3072
    for memory in (10, 12, 13, 14):
        channel, rows = TrellisChannel(memory), {}
        for bits in (16, 64, 256, 1024):
            snr, encode, decode, errors, powers = channel.snr(bits, dims), [], [], [], []
            for step in range(max(8, 4096 // bits)):
                shift = generator.standard_normal((1, dims))
                shift = (shift * math.sqrt(snr * dims) / np.linalg.norm(shift)).astype(np.float32)
                start = time.perf_counter()
                code = channel.encode(shift, [bits], Key(0, step))[0]
                middle = time.perf_counter()
                sample = channel.decode(code, bits, dims, Key(0, step))
                decode.append(time.perf_counter() - middle)
                encode.append(middle - start)
                errors.append(float(np.mean((sample - shift[0]) ** 2)))
                powers.append(float(sample @ shift[0]) ** 2 / float(sample @ sample) / float(shift[0] @ shift[0]))
            achieved = -dims / 2 * math.log2(1 - statistics.fmean(powers))
            rows[bits] = {
                "encode_us_per_bit": statistics.median(encode) / bits * 1e6,
                "decode_us_per_bit": statistics.median(decode) / bits * 1e6,
                "bits_over_ideal": bits - achieved,
                "error_over_noise_variance": statistics.fmean(errors),
            }
        result[f"memory_{memory}"] = rows
    return result


def run_part(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run the part in this process; return its result with the process's peak memory."""
    tiles = load_tiles(args.tiles, 64) if args.tiles else shipped_tiles()
    if name == "photo":
        result = part_photo(read_image(args.photo.read_bytes()) if args.photo else shipped_photo())
    elif name in ("one", "batch"):
        result = {"one": part_one, "batch": part_batch}[name](tiles)
    else:
        result = {"load": part_load, "trellis": part_trellis}[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result | {"peak_memory_mb": peak / (1024 if sys.platform != "darwin" else 1 << 20)}


def shipped_tiles() -> NDArray[np.uint8]:
    """Return 64 tiles: scikit-image's astronaut at 256 × 256, cut into 32 × 32."""
    picture = shipped_picture(256)
    return np.ascontiguousarray(picture.reshape(8, 32, 8, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3))


def shipped_photo() -> NDArray[np.uint8]:
    """Return scikit-image's astronaut scaled to 768 × 768 and cropped to 768 × 512."""
    return np.asarray(Image.fromarray(shipped_picture(512)).resize((768, 768), Image.Resampling.LANCZOS))[:512]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=Path, help="mosaic of 32x32 images")
    parser.add_argument("--photo", type=Path, help="large picture")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--one-part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args(arguments)
    if args.one_part:
        print(json.dumps(run_part(args.one_part, args)))
        return
    import torch

    result: dict[str, Any] = provenance() | {"torch_threads": torch.get_num_threads(), "pictures": {}}
    result["pictures"] = {
        "tiles": args.tiles.name if args.tiles else "scikit-image astronaut at 256x256, cut into 32x32",
        "photo": args.photo.name if args.photo else "scikit-image astronaut at 768x768, upper 768x512",
    }
    pass_on = [f"--{k}={v}" for k, v in (("tiles", args.tiles), ("photo", args.photo)) if v]
    for name in args.parts:
        command = [sys.executable, "-m", "ddpmcodec.eval.studies.benchmark", "--one-part", name, *pass_on]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        result[name] = json.loads(done.stdout)
    if args.output:
        write_json(args.output, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
