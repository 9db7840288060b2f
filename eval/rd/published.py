"""Curves as others published them (published.json has them with their sources): drawn as points, never recomputed, and
compared like with like.

A curve of files or of a model's bits is compared with our files, one of ideal bits with our ideal bits; distortion is
taken by the convention of theirs. PSNR and RMSE of one point are taken as each other's: RMSE = 255 / 10^(PSNR / 20).
bits/dim = bits/pixel / 3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ddpmcodec.eval.rd.bd_rate import bd_rate

_CIFAR10_SIDE = 32
_FOUND = json.loads(files(__package__).joinpath("published.json").read_text("utf-8"))
_NAMES = ("cifar10", "kodak")


@dataclass(frozen=True)
class Published:
    name: str
    kind: str  # what their rate is: real, estimated or ideal
    source: str
    pictures: str
    distortion: str  # convention, by its name in results
    bits_per_dim: tuple[float, ...]
    rmse: tuple[float, ...]  # on [0, 255]

    @property
    def psnr(self) -> tuple[float, ...]:
        return tuple(_psnr(r) for r in self.rmse)


def _published(pictures: str, curve: dict[str, Any]) -> Published:
    rates = curve.get("bits_per_dim") or [rate / 3 for rate in curve["bits_per_pixel"]]
    rmse = curve.get("rmse") or [255 / 10 ** (psnr / 20) for psnr in curve["psnr"]]
    points = [(rate, error) for rate, error in zip(rates, rmse, strict=True) if rate]
    return Published(
        name=curve["name"],
        kind=curve["kind"],
        source=curve["source"],
        pictures=pictures,
        distortion=curve["distortion"],
        bits_per_dim=tuple(rate for rate, _ in points),
        rmse=tuple(error for _, error in points),
    )


def _psnr(rmse: float) -> float:
    return 20 * math.log10(255 / rmse)


SETS = {name: tuple(_published(_FOUND[name]["pictures"], c) for c in _FOUND[name]["curves"]) for name in _NAMES}

# Table 4 of Ho et al. 2020: reverse time, bits/dim, RMSE.
_DDPM = next(curve for curve in _FOUND["cifar10"]["curves"] if curve["name"] == "DDPM")
TABLE4 = tuple(zip(_DDPM["reverse_time"], _DDPM["bits_per_dim"], _DDPM["rmse"], strict=True))


def published_set(names: Sequence[str], side: int | None) -> str:
    """Return which of SETS to draw beside pictures of these names, squares of that side if they are any; "" for
    none.
    """
    if names and all(name.startswith("kodim") for name in names):
        return "kodak"
    return "cifar10" if side == _CIFAR10_SIDE else ""


def against_published(curves: dict[str, Any], which: str) -> dict[str, Any]:
    """Return the BD-rate of each of our curves against each published one of a set (see `bd_rate`), with what was
    compared: {curve: {published: {…}}}. curves: as in results.json.
    """
    found: dict[str, Any] = {name: {} for name in curves}
    for one in SETS.get(which, ()):
        for name, curve in curves.items():
            if (name == "ideal") != (one.kind == "ideal"):
                continue
            rate = "ideal_bits_per_dim" if name == "ideal" else "file_bits_per_dim"
            theirs = list(zip(one.bits_per_dim, one.psnr, strict=True))
            ours = list(zip(curve[rate], _psnr_of(curve, one.distortion), strict=True))
            about = {"their_bits": one.kind, "their_pictures": one.pictures, "source": one.source}
            found[name][one.name] = about | {"our_rate": rate, "distortion": one.distortion} | bd_rate(theirs, ours)
    return {name: others for name, others in found.items() if others}


def _psnr_of(curve: dict[str, Any], distortion: str) -> list[float | None]:
    values: list[float | None] = curve[distortion]
    return [_psnr(v) if v else None for v in values] if distortion.startswith("rmse") else values
