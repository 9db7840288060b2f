"""Reconstructions that a receiver makes of a prefix: the mean of what the picture may be, a sample of it, the flow's
end.

*mean* is x̂_0, of least squared error; *sample* goes on from x_t by ancestral sampling, and looks like a picture where
the mean is a blur; *ddim* goes on by the deterministic flow. Samples trade RMSE for looks, so perceptual measures come
beside it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.codec.encoding import encode_batch
from ddpmcodec.codec.receiver import Receiver
from ddpmcodec.codec.reconstruction import flow, mean, sample
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd.curves import Curve, Floats, distortion_curve, finite, with_error
from ddpmcodec.eval.rd.measure import Image, similarity, squared_error
from ddpmcodec.io.images import to_bytes
from ddpmcodec.models import CodecModel

MODES = ("mean", "sample", "ddim")
POINTS = 6  # prefixes looked at
LEAST_MS_SSIM_SIDE = 176  # torchmetrics halves it four times, and needs 11 pixels then


def parse_modes(text: str) -> tuple[str, ...]:
    """Return modes by name, a comma between; "none" for none. Raises DdpmCodecError."""
    names = tuple(dict.fromkeys(m.strip() for m in text.split(",") if m.strip() not in ("", "none")))
    for name in names:
        if name not in MODES:
            raise DdpmCodecError(f"no reconstruction {name!r}: expected of {', '.join(MODES)}")
    return names


def prefixes(plan: Plan) -> list[int]:
    """Return the steps after which reconstructions are compared: evenly spread, the last one being the whole stream."""
    return sorted({max(1, round(plan.steps * (i + 1) / POINTS)) for i in range(POINTS)})


def network_calls(plan: Plan, modes: Sequence[str]) -> int:
    """Return the units of work of `measured`."""
    going_on = sum(plan.steps - n + 1 for n in prefixes(plan)) * len([m for m in modes if m != "mean"])
    return 2 * plan.steps + going_on


def measured(
    model: CodecModel,
    images: Sequence[Image],
    plan_steps: int | None,
    channel: str,
    seed: int,
    modes: Sequence[str],
    first: int,
    on_step: Callable[[], None],
) -> dict[str, NDArray[Any]]:
    """Encode pictures of one size, decode their prefixes and go on from there by each mode, along the plan's own
    levels.

    Each mode has {mode}_mse and {mode}_ssim, (n, prefixes), and {mode}_pictures, (n, prefixes, h, w, 3).
    """
    plan, (height, width, _) = model.plan(plan_steps), images[0].shape
    datas = encode_batch(
        images, model=model, plan_steps=plan_steps, full=True, channel=channel, seed=seed, on_step=lambda _: on_step()
    )
    ways = {"mean": mean, "sample": sample(seed, first, lambda _: on_step()), "ddim": flow(None, lambda _: on_step())}
    made: dict[str, list[list[Image]]] = {mode: [] for mode in modes}
    headers = [read_header(data) for data in datas]
    receiver = Receiver(headers[0], model=model, grey=[header.grey for header in headers])
    for packets in zip(*(read_info(data, model).packets for data in datas), strict=True):
        state = receiver.advance(packets)
        on_step()
        if state.n in prefixes(plan):
            for mode in modes:
                planes = state.planes  # of the mean, as `decode` shows it
                if mode != "mean":
                    planes = model.space.to_pictures(ways[mode](model, plan, state), height, width)
                made[mode].append([to_bytes(plane, height, width) for plane in planes])
    table: dict[str, NDArray[Any]] = {}
    for mode, columns in made.items():
        rows = list(zip(*columns, strict=True))
        table[f"{mode}_mse"] = np.array(
            [[squared_error(i, p) for p in row] for i, row in zip(images, rows, strict=True)]
        )
        table[f"{mode}_ssim"] = np.array([[similarity(i, p) for p in row] for i, row in zip(images, rows, strict=True)])
        table[f"{mode}_pictures"] = np.array(rows)
    return table


def curves(
    tables: Sequence[dict[str, NDArray[Any]]],
    images: Sequence[Image],
    modes: Sequence[str],
    rates: Curve,
    at: Sequence[int],
    device: str = "cpu",
) -> tuple[dict[str, Any], list[str]]:
    """Return a curve a mode, with the rates of `rates` (the same files') after `at` steps, and notes on what was
    skipped.
    """
    found: dict[str, Any] = {}
    notes: list[str] = []
    for mode in modes:
        mse, ssim = (np.concatenate([t[f"{mode}_{name}"] for t in tables]) for name in ("mse", "ssim"))
        found[mode] = {
            "steps": list(at),
            "file_bits_per_dim": [rates["file_bits_per_dim"][n - 1] for n in at],
            **distortion_curve(mse, ssim),
        }
        pictures = [row for t in tables for row in t[f"{mode}_pictures"]]
        for name, score in (("MS-SSIM", ms_ssim), ("LPIPS", lpips), ("FID", fid)):
            try:
                found[mode] |= score(images, pictures, device)
            except Unavailable as reason:
                notes.append(f"{name} skipped: {reason}")
    return found, list(dict.fromkeys(notes))


class Unavailable(Exception):
    """Measure that can't be computed here, and why."""


def ms_ssim(images: Sequence[Image], pictures: Sequence[NDArray[np.uint8]], device: str = "cpu") -> Curve:
    """Return the multi-scale SSIM (Wang et al. 2003) of each picture over red, green and blue, mean by column, by
    torchmetrics. Raises Unavailable.
    """
    if min(min(image.shape[:2]) for image in images) < LEAST_MS_SSIM_SIDE:
        raise Unavailable(f"its five scales need pictures of {LEAST_MS_SSIM_SIDE} pixels or more a side")
    metric = _metric("ssim", "MultiScaleStructuralSimilarityIndexMeasure", device, data_range=1.0)
    scores = np.zeros((len(images), len(pictures[0])))
    for i, (image, row) in enumerate(zip(images, pictures, strict=True)):
        for column, picture in enumerate(row):
            scores[i, column] = float(metric(_tensor([picture], device), _tensor([image], device)))
            metric.reset()
    return with_error("ms_ssim", scores)


def lpips(images: Sequence[Image], pictures: Sequence[NDArray[np.uint8]], device: str = "cpu") -> Curve:
    """Return LPIPS (Zhang et al. 2018, AlexNet) of each picture, mean by column, by torchmetrics. Raises
    Unavailable.
    """
    metric = _metric("lpip", "LearnedPerceptualImagePatchSimilarity", device, net_type="alex", normalize=True)
    scores = np.zeros((len(images), len(pictures[0])))
    for i, (image, row) in enumerate(zip(images, pictures, strict=True)):
        for column, picture in enumerate(row):
            scores[i, column] = float(metric(_tensor([picture], device), _tensor([image], device)))
    return with_error("lpips", scores)


def fid(images: Sequence[Image], pictures: Sequence[NDArray[np.uint8]], device: str = "cpu") -> Curve:
    """Return the Fréchet inception distance (Heusel et al. 2017) of a column's pictures to the originals, or raise
    Unavailable.

    It falls with the number of pictures: compare only values of equally many.
    """
    if len(images) < 2 or len({i.shape for i in images}) > 1:
        raise Unavailable("FID needs two or more pictures of one size")
    values: Floats = np.zeros(len(pictures[0]))
    for column in range(len(values)):
        metric = _metric("fid", "FrechetInceptionDistance", device, normalize=True)
        for image, row in zip(images, pictures, strict=True):
            metric.update(_tensor([image], device), real=True)
            metric.update(_tensor([row[column]], device), real=False)
        values[column] = float(metric.compute())
    return {"fid": finite(values)}


def _metric(module: str, name: str, device: str, **options: Any) -> Any:
    """Return a torchmetrics measure, its weights loaded; Unavailable where package or weights are not there."""
    from importlib import import_module

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(import_module(f"torchmetrics.image.{module}"), name)(**options).to(device)
    except ImportError as error:
        raise Unavailable(f"{_line(error)}: pip install 'ddpmcodec[perceptual]'") from error
    except Exception as error:  # many kinds: no network for the weights, a torchvision built for another torch
        raise Unavailable(f"its network can't be loaded ({_line(error)})") from error


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _tensor(pictures: Sequence[Image], device: str) -> Any:
    """Return (n, 3, h, w) on [0, 1]."""
    import torch

    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255).to(device)
