"""Figure of `compare`: single steps above, real chains below; a channel has the same colour in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ddpmcodec.channel.names import default_memory
from ddpmcodec.eval.channels.chain_statistics import overhead_curve
from ddpmcodec.eval.channels.diffc_rule import DIFFC
from ddpmcodec.eval.channels.synthetic import DIMS
from ddpmcodec.eval.rd.curves import PAYLOAD
from ddpmcodec.io.atomic import replacing

SIMULATED = "simulated"
LEAST_RATE = 0.05  # bits/dim where the real chains' axes begin: below, one byte is several per cent
_RATES = (0.05, 0.1, 0.2, 0.5, 1, 2)
_CHECKED_FROM = 64  # bits a step; the few runs of real ordered random coding say little below
_LINE = {"lw": 1.4, "marker": ".", "ms": 4}
_CROSSES = {"ls": "", "marker": "x", "ms": 5, "alpha": 0.6}
_BARS = {"elinewidth": 0.8, "capsize": 2}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw a result of `compare`, with its real chains where it has them; PNG or, if the name ends so, SVG."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = 2 if "chains" in result else 1
    figure = Figure(figsize=(13.5, 4.6 * rows + 0.7), layout="constrained")
    parts = figure.subfigures(rows, 1, hspace=0.03, squeeze=False)
    _draw_steps(parts[0, 0], result["synthetic"])
    if rows == 2:
        _draw_chains(parts[1, 0], result["chains"])
    legend: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    legend |= {
        f"time to {what}": Line2D([], [], color="grey", ls=ls) for what, ls in (("encode", "-"), ("decode", ":"))
    }
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_steps(part: Any, synthetic: dict[str, Any]) -> None:
    """Draw overhead, achieved shift and microseconds a bit against B."""
    overhead, shift, seconds = part.subplots(1, 3)
    places: set[int] = set()
    for name, rows in synthetic["channels"].items():
        run = _kind(name)[0] == "orc" and not name.endswith(SIMULATED)
        style, label = {**(_CROSSES if run else _LINE), "color": _colour(name)}, _label(name)
        column = {k: np.array([r[k] for r in rows], float) for k in rows[0]}  # null becomes nan, which isn't drawn
        bits = column["bits"]
        places |= {r["bits"] for r in rows}
        kept = bits >= _CHECKED_FROM if run else bits > 0
        percent = 100 * (column["real_over_ideal"] - 1)
        overhead.errorbar(
            bits[kept], percent[kept], 100 * column["real_over_ideal_error"][kept], label=label, **style, **_BARS
        )
        if "real_over_own_kl" in column:
            own, error = 100 * (column["real_over_own_kl"] - 1), 100 * column["real_over_own_kl_error"]
            own_style = {"color": style["color"], "ls": ":", "lw": 1.4}
            overhead.errorbar(bits, own, error, label=f"{label}, over its own KL", **own_style, **_BARS)
        shift.errorbar(
            bits[kept], column["achieved_shift"][kept], column["achieved_shift_error"][kept], **style, **_BARS
        )
        if np.isfinite(column["encode_us_per_bit"]).any():
            seconds.plot(bits, column["encode_us_per_bit"], **style | {"ls": "-"})
            seconds.plot(bits, column["decode_us_per_bit"], ":", color=style["color"], lw=1.4)
    overhead.set(ylabel="overhead, % of the achieved ideal bits", ylim=(0, None), title="bits over ideal")
    shift.set(ylabel="achieved shift ÷ wanted shift", title="achieved shift (1: unbiased)")
    shift.axhline(1, color="grey", lw=0.8, zorder=0)
    seconds.set(ylabel="µs of processor time an ideal bit", title="time", yscale="log")
    for axis in (overhead, shift, seconds):
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted(places), [str(b) for b in sorted(places)], fontsize=8)
        axis.set_xlabel("B, ideal bits of the step")
        axis.grid(alpha=0.3, lw=0.5)
    part.suptitle(
        f"One step: shifts of {synthetic['dims']} dimensions in random directions; bars are standard errors",
        fontsize=11,
    )


def _draw_chains(part: Any, chains: dict[str, Any]) -> None:
    """Draw overhead at equal RMSE and achieved shift against the rate, and seconds an image."""
    overhead, shift, seconds = part.subplots(1, 3)
    measured = chains["channels"]
    for name, channel in measured.items():
        style, label = {**_LINE, "color": _colour(name)}, _label(name)
        rates, ratios = overhead_curve(chains["ideal"], channel["curve"])
        shown = rates >= LEAST_RATE
        overhead.plot(rates[shown], 100 * (ratios[shown] - 1), label=label, **style)
        rates = np.array(channel["curve"][PAYLOAD], float)
        shown = rates >= LEAST_RATE
        shift.plot(rates[shown], np.array(channel["curve"]["achieved_shift"], float)[shown], **style)
    overhead.set(
        ylabel="overhead: payload beyond ideal bits, %", ylim=(0, None), title="bits over ideal, at equal RMSE"
    )
    shift.set(ylabel="achieved shift ÷ wanted shift, steps so far", title="achieved shift (1: unbiased)")
    shift.axhline(1, color="grey", lw=0.8, zorder=0)
    for axis in (overhead, shift):
        axis.set_xscale("log")
        axis.set_xticks(_RATES, [f"{r:g}" for r in _RATES])
        axis.tick_params(axis="x", which="minor", labelbottom=False)
        axis.set_xlabel("payload, bits/dim")
        axis.grid(alpha=0.3, lw=0.5)
    timed = {n: c["seconds_an_image"] for n, c in measured.items() if c["seconds_an_image"]}
    names = [_label(n, between="\n") for n in timed]
    bars = seconds.barh(names, list(timed.values()), color=[_colour(n) for n in timed])
    seconds.bar_label(bars, [f"{s:.3g} s" for s in timed.values()], padding=3, fontsize=9)
    seconds.set(xscale="log", xlim=(min(timed.values()) / 3, 4 * max(timed.values())), title="time")
    seconds.set_xlabel("seconds of processor time to encode an image")
    seconds.xaxis.set_major_formatter("{x:g}")
    seconds.tick_params(axis="y", labelsize=8)
    seconds.invert_yaxis()
    seconds.grid(alpha=0.3, lw=0.5, axis="x")
    text = (
        f"Real chains: {chains['images']} pictures of {chains['data']}, {chains['model']}, {chains['plan_steps']} steps"
    )
    part.suptitle(text, fontsize=11)


def _kind(name: str) -> tuple[str, int]:
    """Return "trellis" and L, "orc" and log2 of its candidates, or DiffC's rule and 0."""
    if name == DIFFC:
        return DIFFC, 0
    kind, _, parameter = name.removesuffix(f" {SIMULATED}").partition(":")
    return kind, int(parameter) if parameter else {"trellis": default_memory(DIMS), "orc": 14}[kind]


def _colour(name: str) -> Any:
    from matplotlib import colormaps

    kind, number = _kind(name)
    if kind == "trellis":
        return colormaps["viridis_r"](0.12 + 0.83 * (number - 8) / 8)
    return {DIFFC: "black", "orc": "#d62728"}[kind]


def _label(name: str, between: str = ", ") -> str:
    kind, number = _kind(name)
    if kind == "trellis":
        return f"trellis{between}L = {number}"
    if kind == DIFFC:
        return f"{DIFFC}{between}{SIMULATED}"
    how = f", {SIMULATED}" if name.endswith(SIMULATED) else ""
    return f"ordered random coding{between}2^{number} candidates{how}"
