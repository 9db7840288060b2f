"""Figures of `rd`: a curve has the same colour in each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddpmcodec.eval.rd.published import SETS
from ddpmcodec.io.atomic import replacing

OURS = "#d62728"
_COLOURS = {
    "real-trellis": OURS,
    "real-orc": "#ff9896",
    "ideal": "#7f0000",
    "jpeg": "#8c564b",
    "jpeg444": "#c49c94",
    "webp": "#2ca02c",
    "j2k": "#7f7f7f",
    "jxl": "#1f77b4",
    "avif": "#9467bd",
    "avif420": "#c5b0d5",
    "heic": "#17becf",
    "heic420": "#9edae5",
}
_MARKERS = {"DDPM": "^", "VDM": "s", "UQDM": "D", "BPG": "v", "VVC (VTM)": "^", "BPG 4:4:4": "v", "ELIC 2022": "s"}
_MARKERS |= {"AV1 (libaom, slow)": "1", "HEVC (HM)": "2", "mbt2018-mean": "x", "cheng2020-attn": "+"}
_MARKERS |= {"MLIC++ 2023": "*"}
PARTS = {"ideal": "#7f0000", "channel_excess": OURS, "side_information": "#ff7f0e", "container": "#bdbdbd"}
MODES = {"mean": OURS, "sample": "#1f77b4", "ddim": "#2ca02c"}
_NAMES = {
    "ideal": "ideal bits",
    "channel_excess": "excess of the channel code",
    "side_information": "side information (bit counts, END)",
    "container": "container (header, check, whole bytes)",
}


def colour(name: str) -> str:
    """Return a curve's colour, the same in each figure and run."""
    spare = ("#bcbd22", "#e377c2", "#98df8a", "#ffbb78", "#aec7e8", "#f7b6d2")
    return _COLOURS.get(name) or spare[sum(name.encode()) % len(spare)]


def draw_all(result: dict[str, Any], directory: Path) -> list[Path]:
    """Draw every figure of a result as PNG and SVG; return the files."""
    figures: dict[str, Callable[[], Any]] = {
        "rmse": lambda: _figure(result, "rmse_mean_over_images", 1.0),
        "psnr": lambda: _figure(result, "psnr_of_mean_mse", 3.0),
    }
    for name, parts in result["where_the_bits_go"].items():
        figures[f"bits-{name.removeprefix('real-')}"] = lambda n=name, p=parts: _bits_figure(result, n, p)  # type: ignore[misc]
    if "reconstruct" in result:
        figures["reconstruct"] = lambda: _reconstruct_figure(result)
    written = []
    for name, draw in figures.items():
        figure = draw()
        for suffix in (".png", ".svg"):
            path = directory / f"{name}{suffix}"
            with replacing(path) as temporary:
                figure.savefig(temporary, dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
            figure.set_layout_engine("none")  # the SVG's is the PNG's, not found a second time
            written.append(path)
    return written


def _figure(result: dict[str, Any], distortion: str, unit: float) -> Any:
    """Draw distortion against rate, with a logarithmic and a linear rate axis. unit: dimensions a unit of the rate
    counts.
    """
    from matplotlib.figure import Figure

    is_rmse = unit == 1.0
    figure = Figure(figsize=(12.5, 5.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis in axes:
        for label, x, y, style in _lines(result, distortion, unit):
            axis.plot(x, y, label=label, **style)
        axis.set_xlabel("rate, bits per dimension" if is_rmse else "rate, bits per pixel")
        axis.set_ylabel("RMSE, levels of 255 (mean over images)" if is_rmse else "PSNR, dB (of the mean squared error)")
        axis.grid(alpha=0.3, which="both", lw=0.4)
    reach = (
        max(c["ideal_bits_per_dim" if n == "ideal" else "file_bits_per_dim"][-1] for n, c in result["curves"].items())
        * unit
    )
    axes[0].set(xscale="log", xlim=(0.01 * unit, 2.5 * reach))
    axes[1].set_xlim(0, 1.6 * reach)
    if is_rmse:
        axes[0].set(yscale="log", ylim=(0.5, 80))
        axes[0].set_yticks([0.5, 1, 2, 5, 10, 20, 50], minor=False)
        axes[0].yaxis.set_major_formatter("{x:g}")
        axes[1].set_ylim(0, 40)
    else:
        for axis in axes:
            axis.set_ylim(12, 54)
    if result["baselines"]:
        axes[0].plot([], [], "k--", lw=0.8, label="thin dashes: payload of the same codec")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    figure.suptitle(_title(result), fontsize=10, x=0.02, ha="left")
    return figure


def _lines(
    result: dict[str, Any], distortion: str, unit: float
) -> list[tuple[str, list[float], list[float], dict[str, Any]]]:
    """Yield (label, rates, distortions, style) of each curve, ours first."""
    lines = []

    def add(label: str, curve: dict[str, Any], rate: str, **style: Any) -> None:
        pairs = [(r * unit, d) for r, d in zip(curve[rate], curve[distortion], strict=True) if r and d is not None]
        if pairs:
            x, y = (list(v) for v in zip(*pairs, strict=True))
            lines.append((label, x, y, style))

    steps = result["plan_steps"]
    for name, curve in result["curves"].items():
        if name == "ideal":
            add(f"{steps} steps: ideal (no bits made)", curve, "ideal_bits_per_dim", color=colour(name), ls=":", lw=1.8)
        else:
            ours = f"{steps} steps, {name.removeprefix('real-')}"
            add(f"{ours}: real, file bytes", curve, "file_bits_per_dim", color=colour(name), lw=2.2, zorder=4)
            add(f"{ours}: real, payload", curve, "payload_bits_per_dim", color=colour(name), lw=1.2, ls="--", zorder=4)
    for name, curve in result["baselines"].items():
        if len(curve["setting"]) > 1:
            style = {"color": colour(name), "marker": ".", "ms": 3.5}
            add(f"{curve['label']}: file bytes", curve, "file_bits_per_dim", lw=1.1, **style)
            add("_payload", curve, "payload_bits_per_dim", lw=0.8, ls="--", **style)  # _: not in the legend
    for p in SETS.get(result["published_shown"], ()):
        y = p.rmse if unit == 1.0 else p.psnr
        style = {"color": "black", "marker": _MARKERS.get(p.name, "."), "ls": "", "ms": 5, "mfc": "none", "zorder": 5}
        lines.append((f"{p.name}, published, {p.kind}: {p.source}", [b * unit for b in p.bits_per_dim], list(y), style))
    return lines


def _bits_figure(result: dict[str, Any], name: str, parts: dict[str, Any]) -> Any:
    """Draw where the bits go: of each step, of the whole file's rate by prefix, and as a share beyond the ideal
    bits.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 4.0), layout="constrained")
    axes = figure.subplots(1, 3)
    steps = np.arange(1, result["plan_steps"] + 1)
    bottom = np.zeros(len(steps))
    for part, values in parts["by_step"].items():
        axes[0].bar(steps, values, bottom=bottom, width=1.0, color=PARTS[part], label=_NAMES[part])
        bottom += np.array(values)
    axes[0].set(xlabel="step", ylabel="bits per dimension", title="of each step")
    rate = result["curves"][name]["file_bits_per_dim"]
    stack: Sequence[Any] = [parts["of_files"][part] for part in PARTS]
    axes[1].stackplot(steps, *stack, colors=list(PARTS.values()), labels=[_NAMES[p] for p in PARTS])
    axes[1].set(xlabel="steps in the file", ylabel="bits per dimension", title="of a file after each step")
    over = [100 * np.array(v) / np.array(stack[0]) for v in stack[1:]]
    axes[2].stackplot(rate, *over, colors=list(PARTS.values())[1:])
    axes[2].set(
        xscale="log",
        ylim=(0, 60),
        xlim=(max(rate[0], 0.03), rate[-1]),
        xlabel="rate of the file, bits per dimension",
        ylabel="per cent of the ideal bits",
        title="what a file takes beyond its ideal bits",
    )
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(_title(result), fontsize=10)
    return figure


def _reconstruct_figure(result: dict[str, Any]) -> Any:
    """Draw distortion and looks of each reconstruction of a prefix."""
    from matplotlib.figure import Figure

    scores = {
        "rmse_mean_over_images": "RMSE, levels of 255 (mean over images)",
        "ssim": "SSIM",
        "ms_ssim": "MS-SSIM",
        "lpips": "LPIPS",
        "fid": "Fréchet inception distance",
    }
    shown = [s for s in scores if any(s in c for c in result["reconstruct"].values())]
    figure = Figure(figsize=(4.6 * len(shown), 4.0), layout="constrained")
    axes = figure.subplots(1, len(shown))
    for axis, score in zip(np.atleast_1d(axes), shown, strict=True):
        for mode, curve in result["reconstruct"].items():
            axis.plot(curve["file_bits_per_dim"], curve[score], ".-", color=MODES[mode], label=mode)
        axis.set(xscale="log", xlabel="rate of the file, bits per dimension", ylabel=scores[score])
        axis.grid(alpha=0.3, which="both", lw=0.4)
    np.atleast_1d(axes)[0].legend(title="reconstruction", frameon=False)
    figure.suptitle(_title(result), fontsize=10)
    return figure


def _title(result: dict[str, Any]) -> str:
    return f"{result['model']} on {len(result['pictures'])} pictures of {result['data']}"
