"""Reports: a log, a plot of the loss against the noise level, a sheet of samples, which a run leaves beside
checkpoints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpmcodec.diffusion.sampling import ddim, draw_x_T, levels_from
from ddpmcodec.diffusion.schedule import linear
from ddpmcodec.errors import TrainingError
from ddpmcodec.io.atomic import remove_leftovers, replacing, write_whole
from ddpmcodec.io.images import picture_grid, to_bytes
from ddpmcodec.io.writing import image_bytes
from ddpmcodec.models.source import open_denoiser
from ddpmcodec.models.weights import save_model
from ddpmcodec.training.held_out import HeldOut
from ddpmcodec.training.step import BINS
from ddpmcodec.training.trainer import Record, Trainer

LOG, PLOT, SAMPLES, MODEL = "log.jsonl", "loss.png", "samples.png", "model.safetensors"
_SAMPLES, _SAMPLE_STEPS = 16, 30
_KEYS = {"step", "images", "bits_per_dim", "log_snr", "loss_by_log_snr"}  # what a plot needs of a line


def append_log(directory: Path, record: Record) -> None:
    """Append a record as one line of JSON; levels at which nothing was drawn are null. Raises TrainingError."""
    values = {
        "step": record.step,
        "images": record.images,
        "seconds": round(record.seconds, 2),
        "loss": round(record.loss, 6),
        "bits_per_dim": round(record.bits_per_dim, 5),
        "lr": float(f"{record.lr:.4g}"),
        "images_per_second": round(record.images_per_second, 2),
        "log_snr": [round(float(v), 3) for v in record.log_snr],
        "loss_by_log_snr": [None if math.isnan(v) else round(float(v), 6) for v in record.loss_by_log_snr],
    }
    try:
        with (directory / LOG).open("a") as file:
            file.write(json.dumps(values) + "\n")
    except OSError as error:
        raise TrainingError(f"can't write {directory / LOG}: {error.strerror or error}") from error


def append_warning(directory: Path, step: int, text: str) -> None:
    """Append a line that is no record. Raises nothing: what it warns of need not stop a run, and nor need this."""
    with suppress(OSError), (directory / LOG).open("a") as file:
        file.write(json.dumps({"step": step, "warning": text}) + "\n")


def read_log(directory: Path, until_step: int) -> list[dict[str, Any]]:
    """Return the lines of a log up to a step; a resumed run drops what came after its checkpoint. Empty without a
    log.
    """
    try:
        lines = (directory / LOG).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TrainingError(f"can't read {directory / LOG}: {error.strerror or error}") from error
    values = []
    for line in lines:
        try:
            values.append(json.loads(line))
        except ValueError:  # a line cut by a crash
            continue
    known = [v for v in values if isinstance(v, dict) and set(v) >= _KEYS and len(v["log_snr"]) == BINS]
    return [v for v in known if v["step"] <= until_step]


def rewrite_log(directory: Path, values: list[dict[str, Any]]) -> None:
    """Replace a log by these lines."""
    try:
        write_whole(directory / LOG, "".join(json.dumps(v) + "\n" for v in values).encode())
    except OSError as error:
        raise TrainingError(f"can't write {directory / LOG}: {error.strerror or error}") from error


def plot_losses(directory: Path) -> None:
    """Draw the log. Raises TrainingError when matplotlib (extra [train]) is not installed, OSError when it can't
    write.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainingError("matplotlib is not installed (pip install 'ddpmcodec[train]')") from error
    log = read_log(directory, 1 << 62)
    if not log:
        return
    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, by_level = figure.subplots(1, 2)
    over_time.plot([v["images"] for v in log], [v["bits_per_dim"] for v in log], lw=0.8, color="tab:blue")
    over_time.set(
        xlabel="images seen", ylabel="ideal rate over the trained levels, bits/dim (many steps)", yscale="log"
    )
    over_time.grid(alpha=0.3, which="both")
    # Single records are noisy: the mean of the first, middle and last fifths of the run.
    parts = [p for p in np.array_split(np.arange(len(log)), 5) if len(p)]
    for part, shade in zip((parts[0], parts[len(parts) // 2], parts[-1]), (0.25, 0.5, 1.0), strict=True):
        levels = np.array([[np.nan if x is None else x for x in log[i]["loss_by_log_snr"]] for i in part])
        drawn = ~np.isnan(levels).all(axis=0)
        label = f"to {log[part[-1]]['images']:,} images"
        x = np.array(log[part[0]]["log_snr"])
        by_level.plot(x[drawn], np.nanmean(levels[:, drawn], axis=0), color="tab:blue", alpha=shade, label=label)
    by_level.set(xlabel="log-SNR λ", ylabel="mean |ε − ε̂|²/d", yscale="log")
    by_level.grid(alpha=0.3, which="both")
    by_level.legend()
    with replacing(directory / PLOT) as temporary:
        figure.savefig(temporary, dpi=110)


class Reporter:
    """Keeps a run's directory: the log, and at each save the averaged network, the plot and a sheet of samples.

    held_out: pictures on which averages are compared; the model file is the best there of all that were there at a
    save. Without them it is the longest average of the newest save.
    """

    def __init__(self, directory: Path, trainer: Trainer, data: str, held_out: HeldOut | None = None):
        self.directory, self.trainer, self.data, self.held_out = directory, trainer, data, held_out
        self.model = directory / MODEL
        self.last: Record | None = None
        self.notes: list[str] = []
        self.bounds: dict[float, float] = {}  # the newest save's held-out bounds, by average
        if trainer.where.first:
            remove_leftovers(directory)
            rewrite_log(
                directory, read_log(directory, trainer.step)
            )  # a resumed run repeats what came after its checkpoint

    def record(self, record: Record) -> None:
        self.last = record
        append_log(self.directory, record)

    @property
    def held_out_bound(self) -> float | None:
        """Return the held-out bound of the newest save's best average, bits/dim."""
        return min(self.bounds.values(), default=None)

    def save(self, draw: bool = True) -> None:
        """Write the model file (averaged weights, no error curve yet) and, unless draw is False, plot and samples.

        Raises TrainingError when the model can't be written; what fails of plot and samples is a warning in the log.
        """
        self.notes = []
        trainer, averages = self.trainer, self.trainer.averages()
        self.bounds = bounds = self._bounds(averages)
        decay = min(bounds, key=lambda d: bounds[d]) if bounds else max(averages)
        if not bounds or trainer.best is None or bounds[decay] < trainer.best or not self.model.exists():
            self._save_model(averages[decay], decay, bounds.get(decay))
        if not draw:
            return
        self._attempt(SAMPLES, self._save_samples)
        self._attempt(PLOT, lambda: plot_losses(self.directory))

    def _bounds(self, averages: dict[float, dict[str, Tensor]]) -> dict[float, float]:
        """Return the held-out bound of each average, bits/dim, and log them. Empty without held-out pictures."""
        if self.held_out is None:
            return {}
        network, device = self._network(), self.trainer.where.device
        network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        bounds = {}
        for decay, weights in averages.items():
            network.load_state_dict(weights)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.trainer.recipe.bf16):
                bounds[decay] = self.held_out.bound(network, device)
        line = {"step": self.trainer.step, "held_out_bits_per_dim": {str(d): round(b, 5) for d, b in bounds.items()}}
        with suppress(OSError), (self.directory / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")
        return bounds

    def _network(self) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            return self.trainer.config.build().eval().requires_grad_(False)

    def _save_model(self, weights: dict[str, Tensor], decay: float, bound: float | None) -> None:
        trainer, network = self.trainer, self._network()
        network.load_state_dict(weights)
        recipe = json.dumps(trainer.recipe.to_dict())
        seen = f"{trainer.step} steps, {trainer.seen} images, EMA {decay}"
        measured = "" if bound is None else f", {bound:.4f} bits/dim on held-out pictures"
        note = f"trained with ddpmcodec train on {self.data}: {seen}{measured}, {recipe}"
        try:
            save_model(self.model, network, None, self.directory.resolve().name, note)
        except OSError as error:
            raise TrainingError(f"can't write to {self.directory}: {error.strerror or error}") from error
        trainer.best = bound

    def _attempt(self, name: str, draw: Callable[[], None]) -> None:
        """Draw, and only warn where that fails: a picture is no reason to lose a run."""
        try:
            draw()
        except Exception as error:  # any kind: fonts, backends, a full disk, a network that predicts no numbers yet
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self.notes.append(f"{name} was not drawn: {reason}")
            append_warning(self.directory, self.trainer.step, self.notes[-1])

    def _save_samples(self) -> None:
        """Save a sheet of samples by DDIM, from the same noise each time, so that sheets compare."""
        denoiser = open_denoiser(str(self.model), self.trainer.where.device).network
        window = denoiser.window
        x_0 = ddim(denoiser, draw_x_T(denoiser, _SAMPLES, window, window), levels_from(linear(), _SAMPLE_STEPS))
        grid = picture_grid([to_bytes(plane, window, window) for plane in x_0], columns=math.isqrt(_SAMPLES))
        write_whole(self.directory / SAMPLES, image_bytes(grid, Path(SAMPLES)))
