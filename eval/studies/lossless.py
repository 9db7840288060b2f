"""Lossless coding measured: an archive of small pictures, every one decoded and compared, beside lossless codecs.

    python -m ddpmcodec.eval.studies.lossless --data test.webp --limit 500 -o results/lossless.json

All bytes are counted. `archive` is the whole file over all its pictures; `single` has each picture in a file of its
own. Of the baselines, `payload` leaves out what `eval.payload` says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.archive import read_archive
from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import TAIL_CHECK_BYTES
from ddpmcodec.codec.archive_decoding import decode_archive
from ddpmcodec.codec.archive_encoding import encode_archive
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd import baselines
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.datasets import load_images
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
        "plan_steps": model.plan(plan_steps).steps,
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


def compare(images: NDArray[np.uint8]) -> dict[str, Any]:
    """Return bits/dim of lossless codecs, of whole files and of payloads; `baselines.measure` checks that they are
    exact.
    """
    found: dict[str, Any] = {}
    for codec in (*(b for b in baselines.BASELINES if b.lossless), baselines.JXL_SLOWEST):
        missing = baselines.available(codec)
        if missing:
            found[codec.name] = {"skipped": missing}
            continue
        table = baselines.measure(codec, list(images))
        found[codec.name] = {
            "label": codec.label,
            "file_bits_per_dim": 8 * float(table.file_bytes.sum()) / images.size,
            "payload_bits_per_dim": 8 * float(table.payload_bytes.sum()) / images.size,
            "payload_leaves_out": codec.left_out,
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mosaic or folder of pictures of one size")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    model = load_model(args.model)
    images = load_images(args.data, model.window, args.limit)
    result = provenance() | {"model": model.name, "fingerprint": model.fingerprint, "data": args.data.name}
    result |= {"ours": measure(model, images, args.plan_steps, args.batch), "baselines": compare(images)}
    write_json(args.output, result)
    ours = result["ours"]
    print(f"{ours['images']} pictures, all exact: {ours['bits_per_dim']['archive']:.4f} bits/dim in one archive")
    print({name: round(bits, 4) for name, bits in ours["bits_per_dim"].items()})
    for name, row in result["baselines"].items():
        print(name, {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
