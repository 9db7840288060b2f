"""Lossless coding measured: an archive of small pictures, every one decoded and compared, beside lossless codecs.

    python -m ddpmcodec.eval.studies.lossless --data test.webp --limit 500 -o results/lossless.json
    python -m ddpmcodec.eval.studies.lossless --data photos/ --model photo-small -o results/lossless-photographs.json

A model for pictures of any size codes whole pictures, each in a file of its own. All bytes are counted. `archive` is
the whole file over all its pictures; `single` has each picture in a file of its own. Of the baselines, `payload` leaves
out what `eval.payload` says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.bitstream.archive import read_archive
from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import TAIL_CHECK_BYTES, read_header
from ddpmcodec.codec.archive_decoding import decode_archive
from ddpmcodec.codec.archive_encoding import encode_archive
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.codec.trajectory import steps_of_plan
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd import baselines
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.datasets import load_images, named_pictures
from ddpmcodec.io.images import to_bytes
from ddpmcodec.models import CodecModel, load_model


def measure(model: CodecModel, images: NDArray[np.uint8], plan_steps: int | None, batch: int) -> dict[str, Any]:
    """Measure images (n, h, w, 3). Raises DdpmCodecError where a picture does not come back exactly."""
    dims, squared, last, done = images[0].size, 0.0, list[SentStep](), 0

    def keep(sent: SentStep) -> None:
        last[:] = [sent]

    def batch_done(count: int) -> None:
        nonlocal squared, done
        for plane, image in zip(last[0].reconstruct(), images[done:count], strict=True):
            squared += float(np.mean((to_bytes(plane, *image.shape[:2]).astype(np.float64) - image) ** 2))
        done = count

    start = time.perf_counter()
    data = encode_archive(
        list(images), model=model, plan_steps=plan_steps, lossless=True, batch=batch, on_step=keep, on_batch=batch_done
    )
    encoded = time.perf_counter()
    for item in decode_archive(data, model=model, batch=batch):
        if not np.array_equal(item.image, images[item.index]):
            raise DdpmCodecError(f"picture {item.index} did not come back exactly")
    decoded = time.perf_counter()
    archive, count = read_archive(data), len(images)
    infos = [read_info(archive.stream(i), model) for i in range(count)]
    tails = sum(len(info.tail) for info in infos)
    chains = sum(info.payload_bytes for info in infos) - tails
    parts = {
        "header": archive.header_bytes,
        "index": archive.index_bytes,
        "diffusion": chains,
        "tail": tails - TAIL_CHECK_BYTES * count,
        "picture_crc": TAIL_CHECK_BYTES * count,
        "check": archive.check_bytes,
    }
    assert sum(parts.values()) == len(data)
    return {
        "images": count,
        "all_exact": True,
        "plan_steps": steps_of_plan(model, plan_steps, images.shape[1] * images.shape[2], exact=True),
        "steps": infos[0].steps,
        "rmse_where_diffusion_ends": float(np.sqrt(squared / count)),
        "bytes": len(data),
        "bits_per_dim": {
            "archive": 8 * len(data) / (count * dims),
            "single_files": 8 * sum(len(archive.stream(i)) for i in range(count)) / (count * dims),
            **{name: 8 * size / (count * dims) for name, size in parts.items()},
        },
        "standard_error": float(np.std([8 * s / dims for s in archive.sizes], ddof=1) / count**0.5)
        if count > 1
        else None,
        "index_bytes_an_image": archive.index_bytes / count,
        "seconds_an_image": {"encode": (encoded - start) / count, "decode": (decoded - encoded) / count},
    }


def measure_files(model: CodecModel, pictures: Sequence[NDArray[np.uint8]], plan_steps: int | None) -> dict[str, Any]:
    """Measure pictures of any size, (h, w, 3), in files of their own. Raises DdpmCodecError where one does not come
    back exactly.
    """
    rows, seconds = [], np.zeros(2)
    for i, picture in enumerate(pictures):
        start = time.perf_counter()
        data = ddpmcodec.encode(picture, model=model, plan_steps=plan_steps, lossless=True)
        middle = time.perf_counter()
        if not np.array_equal(ddpmcodec.decode(data, model=model), picture):
            raise DdpmCodecError(f"picture {i} did not come back exactly")
        seconds += middle - start, time.perf_counter() - middle
        info = read_info(data, model)
        rows.append({"values": picture.size, "bytes": len(data), "tail": len(info.tail), "steps": info.steps})
        print(f"picture {i}: {8 * len(data) / picture.size:.4f} bits/dim", flush=True)
    values, whole, tails = (sum(row[name] for row in rows) for name in ("values", "bytes", "tail"))
    return {
        "images": len(rows),
        "all_exact": True,
        "plan_steps": read_header(data).plan_steps or model.plan().steps,
        "steps": rows[0]["steps"],
        "bytes": whole,
        "bits_per_dim": {
            "single_files": 8 * whole / values,
            "diffusion": 8 * (whole - tails) / values,
            "tail": 8 * tails / values,
        },
        "seconds_an_image": {"encode": seconds[0] / len(rows), "decode": seconds[1] / len(rows)},
        "pictures": rows,
    }


def compare(images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Return bits/dim of lossless codecs, of whole files and of payloads; `baselines.measure` checks that they are
    exact.
    """
    found: dict[str, Any] = {}
    values = sum(image.size for image in images)
    for codec in (*(b for b in baselines.BASELINES if b.lossless), baselines.JXL_SLOWEST):
        missing = baselines.available(codec)
        if missing:
            found[codec.name] = {"skipped": missing}
            continue
        table = baselines.measure(codec, list(images))
        found[codec.name] = {
            "label": codec.label,
            "file_bits_per_dim": 8 * float(table.file_bytes.sum()) / values,
            "payload_bits_per_dim": 8 * float(table.payload_bytes.sum()) / values,
            "payload_leaves_out": codec.left_out,
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="mosaic, or folder of pictures, of one size where the model is"
    )
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    model = load_model(args.model)
    result = provenance() | {"model": model.name, "fingerprint": model.fingerprint, "data": args.data.name}
    if model.any_size:
        pictures = [picture for _, picture in named_pictures(args.data, args.limit)]
        ours = measure_files(model, pictures, args.plan_steps)
    else:
        images = load_images(args.data, model.window, args.limit)
        pictures, ours = list(images), measure(model, images, args.plan_steps, args.batch)
    result |= {"ours": ours, "baselines": compare(pictures)}
    write_json(args.output, result)
    print(f"{ours['images']} pictures, all exact")
    print({name: round(bits, 4) for name, bits in ours["bits_per_dim"].items()})
    for name, row in result["baselines"].items():
        print(name, {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
