"""Checks that a GPU codes as a CPU does, and in what time: the first job of a first day."""

from __future__ import annotations

import base64
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.channel.codebook import taps
from ddpmcodec.channel.viterbi import branch_limit, search
from ddpmcodec.codec.trajectory import steps_of_plan
from ddpmcodec.eval.data import shipped_picture
from ddpmcodec.eval.gpu.clock import Setting
from ddpmcodec.eval.gpu.pictures import STREAMS
from ddpmcodec.eval.studies import determinism
from ddpmcodec.eval.studies.benchmark import shipped_photo, shipped_tiles
from ddpmcodec.eval.studies.determinism_ways import careless as careless_caller
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.numerics import native

Searched = tuple[tuple[int, tuple[int, ...]], ...]  # memory, and bits of the codes searched together
SEARCHED: Searched = ((8, (300, 40, 1)), (12, (200, 199, 16)), (16, (96,) * 64))
SEARCHED_IN_SMALL: Searched = ((8, (300, 40, 1)), (12, (60, 59, 16)))


def check(setting: Setting) -> None:
    """Report, part by part: the card, searches, the determinism table's row, files made here, seconds and memory."""
    found: dict[str, Any] = {"card": card(setting.device)}
    parts: list[tuple[str, Callable[[Setting], dict[str, Any]]]] = [
        ("search", lambda s: compare_searches(torch.device(s.device), SEARCHED_IN_SMALL if s.small else SEARCHED)),
        ("determinism", compare_devices),
        ("tiles", time_tiles),
        ("photo", time_photo),
    ]
    if not setting.small and native.enabled():
        parts += [(f"{name}_searched_on_the_gpu", partial(_without_native, part)) for name, part in parts[-2:]]
    for name, part in parts:
        with peak_memory(setting.device) as memory:
            value = part(setting)
        found[name] = value | memory
        setting.report(found)


def _without_native(part: Callable[[Setting], dict[str, Any]], setting: Setting) -> dict[str, Any]:
    os.environ[native.VARIABLE] = "numpy"  # for the rest of this process, whose last parts these are
    return part(setting)


def card(device: str) -> dict[str, Any]:
    """Return what the device is."""
    if torch.device(device).type != "cuda":
        return {"name": device, "torch": torch.__version__}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_gib": properties.total_memory / (1 << 30),
        "multiprocessors": properties.multi_processor_count,
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


@contextmanager
def peak_memory(device: str) -> Iterator[dict[str, float]]:
    """Fill in, when the block ends, the most that was allocated on a GPU in it, and the most the process ever had."""
    found: dict[str, float] = {}
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    yield found
    if on_gpu:
        found["gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    found["process_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_searches(device: torch.device, searched: Searched = SEARCHED) -> dict[str, Any]:
    """Return whether the trellis search on the device finds the CPU's bits, for codes of several lengths together;
    and the seconds of both.
    """
    random = np.random.default_rng(0)
    found: dict[str, Any] = {"equal": True}
    for memory, lengths in searched:
        limit, (older, newer) = branch_limit(memory), taps(memory)
        codes = [random.integers(-limit, limit + 1, (n, 1 << older, 1 << newer), np.int16) for n in lengths]
        seconds, bits = {}, {}
        for name, where in (("cpu", None), ("device", device)):
            search(codes[-1:], memory, where)  # what is made once
            start = time.perf_counter()
            bits[name] = search(codes, memory, where)
            seconds[f"{name}_us_a_bit"] = 1e6 * (time.perf_counter() - start) / sum(lengths)
        found["equal"] &= all(map(np.array_equal, bits["cpu"], bits["device"]))
        found[f"memory_{memory}"] = {"codes": len(codes), "bits": sum(lengths), **seconds}
    return found


def compare_devices(setting: Setting) -> dict[str, Any]:
    """Return the determinism table's row: files of another CPU decoded here, and lossless files made here, on the
    CPU and for home.
    """
    cases = _cases(setting)
    reference_model = load_model()
    row: dict[str, Any] = {}
    made: dict[str, Any] = {}
    with careless_caller(setting.device) as model:
        for name, (picture, options, data) in cases.items():
            expected = determinism.decode(data, reference_model)
            row[name] = determinism.compare(expected, determinism.decode(data, model))
            here = ddpmcodec.encode(picture, model=model, **options)
            made[name] = {
                "file": base64.b64encode(here).decode(),
                "same_bytes_as_cpu_s": here == data,
                "exact_on_this_machine_s_cpu": _exact(here, picture, reference_model)
                if options.get("lossless")
                else None,
            }
    return {"row": row, "made_here": made}


def _exact(data: bytes, picture: NDArray[np.uint8], model: CodecModel) -> bool:
    return bool(np.array_equal(ddpmcodec.decode(data, model=model), picture))


def _cases(setting: Setting) -> dict[str, tuple[NDArray[np.uint8], dict[str, Any], bytes]]:
    """Return picture, options and file of a CPU, by the determinism table's names."""
    if setting.small:
        picture = shipped_picture(32)
        options: dict[str, Any] = {"plan_steps": 4, "lossless": True}
        return {
            "32x32, 4 steps, lossless": (picture, options, ddpmcodec.encode(picture, model=load_model(), **options))
        }
    found = {}
    for i, (name, (picture, options)) in enumerate(determinism.pictures().items()):
        brought = _brought(setting.data, i)
        picture, data = brought or (picture, ddpmcodec.encode(picture, model=load_model(), **options))
        found[name] = (picture, options, data)
    return found


def _brought(folder: Path | None, i: int) -> tuple[NDArray[np.uint8], bytes] | None:
    if folder is None or not (folder / STREAMS / f"{i}.bin").exists():
        return None
    place = folder / STREAMS
    return np.asarray(Image.open(place / f"{i}.png")), (place / f"{i}.bin").read_bytes()


def time_tiles(setting: Setting) -> dict[str, Any]:
    """Time 64 small pictures together, all steps."""
    tiles = list(shipped_tiles())
    return coded(load_model(device=setting.device), tiles[:2] if setting.small else tiles, 4 if setting.small else None)


def time_photo(setting: Setting) -> dict[str, Any]:
    """Time a photograph of 768 × 512 by its own model, all steps."""
    photo = shipped_photo()
    photo, steps = (photo[:32, :48], 2) if setting.small else (photo, None)
    return coded(load_model("photo-small", device=setting.device), [photo], steps)


def coded(model: CodecModel, images: list[NDArray[np.uint8]], plan_steps: int | None) -> dict[str, Any]:
    """Return seconds of encoding and decoding pictures of one size together, after a warm-up, and what came out."""
    ddpmcodec.decode_batch(ddpmcodec.encode_batch(images, model=model, plan_steps=2), model=model)
    start = time.perf_counter()
    files = ddpmcodec.encode_batch(images, model=model, plan_steps=plan_steps, full=True)
    middle = time.perf_counter()
    decoded = ddpmcodec.decode_batch(files, model=model)
    end = time.perf_counter()
    mse = np.square(np.stack(decoded).astype(np.float64) - np.stack(images)).mean(axis=(1, 2, 3))
    return {
        "pictures": len(images),
        "plan_steps": steps_of_plan(model, plan_steps, images[0].shape[0] * images[0].shape[1]),
        "encode_seconds": middle - start,
        "decode_seconds": end - middle,
        "file_bytes": sum(map(len, files)) / len(files),
        "rmse_mean_over_images": float(np.sqrt(mse).mean()),
    }
