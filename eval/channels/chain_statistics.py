"""Statistics of real chains: what the tables of `chains` come to over pictures.

- ratio: payload bits over ideal bits at equal RMSE (mean over images), ideal bits being those along exact draws from
  q.
- achieved shift: Σ z·w / Σ |w|^2 over the pictures and the steps so far, w the wanted shift and z the channel's
  sample, both in units of the noise's standard deviation. 1 is unbiased; what a step leaves undone, later steps have
  to do.
- afforded shift: that of a channel without bias, given the bit counts that the sender chose from the grid.

`*_error` are standard errors over pictures, of ratios and shifts by the jackknife.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.eval.channels.diffc_rule import DIFFC
from ddpmcodec.eval.rd.curves import (
    IDEAL,
    PAYLOAD,
    RMSE,
    Curve,
    distortion_curve,
    finite,
    ideal_curve,
    rate_at,
    with_error,
)

Floats = NDArray[np.float64]
Table = dict[str, Floats]


def curve_of(table: Table, dims: int) -> Curve:
    """Return means over pictures by number of steps; achieved_shift is that of all steps so far."""
    return {
        **with_error(PAYLOAD, table["payload_bits"] / dims),
        **distortion_curve(table["mse"]),
        "achieved_shift": finite(_shift(np.cumsum(table["along"], axis=1), np.cumsum(table["wanted"], axis=1))),
    }


def _shift(along: Floats, wanted: Floats) -> Floats:
    return np.asarray(along.sum(axis=0) / wanted.sum(axis=0))


def end_of(name: str, table: Table, dims: int) -> dict[str, Any]:
    """Return what a whole chain comes to. ideal_along: ideal bits along its own path, so that ratio needs no equal
    RMSE.
    """
    payload, along = (
        float(table["payload_bits"][:, -1].mean()) / dims,
        float(table["ideal_bits"].sum(axis=1).mean()) / dims,
    )
    of_pictures, wanted = table["along"].sum(axis=1), table["wanted"].sum(axis=1)
    shift = with_jackknife(lambda kept: float(_shift(of_pictures[kept], wanted[kept])), len(wanted))
    return {
        "rmse": float(np.sqrt(table["mse"][:, -1]).mean()),
        "real_payload": payload,
        "ideal_along": along,
        "ratio": payload / along,
        "achieved_shift": shift[0],
        "achieved_shift_error": shift[1],
        "afforded_shift": float(table["afforded"].sum() / wanted.sum()),
    } | ({"own_kl_along": float(wanted.mean()) / 2 * math.log2(math.e) / dims} if name == DIFFC else {})


def ratio_at(exact: Table, table: Table, dims: int, rmse: float) -> dict[str, float | None]:
    """Return payload over ideal bits at an RMSE; exact: the table of exact draws from q."""

    def ideal_and_real(kept: NDArray[np.intp]) -> tuple[float | None, float | None]:
        of_exact = ideal_curve({k: v[kept] for k, v in exact.items()}, np.full(len(kept), float(dims)))
        of_channel = curve_of({k: v[kept] for k, v in table.items()}, dims)
        return rate_at(of_exact, IDEAL, rmse), rate_at(of_channel, PAYLOAD, rmse)

    def ratio(kept: NDArray[np.intp]) -> float:
        ideal, real = ideal_and_real(kept)
        return real / ideal if ideal and real else math.nan

    ideal, real = ideal_and_real(np.arange(len(table["mse"])))
    value, error = with_jackknife(ratio, len(table["mse"]))
    return {"rmse": rmse, "ideal": ideal, "real_payload": real, "ratio": value, "ratio_error": error}


def with_jackknife(statistic: Callable[[NDArray[np.intp]], float], count: int) -> tuple[float | None, float | None]:
    """Return a statistic of pictures, given by their places, and its standard error; None where it can't be had."""
    every = np.arange(count)
    without = [statistic(np.delete(every, i)) for i in every] if count > 1 else [math.nan]
    error = math.sqrt((count - 1) * np.var(without))
    value, error_or_none = finite(np.array([statistic(every), error]))
    return value, error_or_none


def overhead_curve(ideal: Curve, curve: Curve) -> tuple[Floats, Floats]:
    """Return (payload bits/dim, payload over ideal bits at equal RMSE) after each step that both curves reach."""
    pairs = zip(curve[PAYLOAD], curve[RMSE[0]], strict=True)
    points = [(r, r / a) for r, d in pairs if r and d and (a := rate_at(ideal, IDEAL, d))]
    rates, ratios = np.array(points).reshape(-1, 2).T
    return rates, ratios
