"""Command that makes a trained ε-model a codec: plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ddpmcodec.cli.common import DebugOption, DeviceOption, JsonOption, QuietOption, SkipOption, command
from ddpmcodec.cli.files import check_outputs
from ddpmcodec.cli.size import foretell
from ddpmcodec.cli.speech import progress_bar, report_console, say, tell, tell_left_out
from ddpmcodec.errors import ModelError
from ddpmcodec.io.atomic import write_whole
from ddpmcodec.io.outputs import is_stream

MOST_BYTES = 500_000_000  # of weights that are copied into a codec's file


@command
def plan(
    model: Annotated[
        str, typer.Argument(help="A model file, a training run's directory, or a diffusers folder or hub id.")
    ],
    data: Annotated[list[str], typer.Option("--data", help="Training images (never test images), as for `train`.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write; default: NAME.safetensors in the folder of models."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name in the file; default: as it was, or the file's.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Where to draw the plan; default: beside the model, .plan.png.")
    ] = None,
    coloured: Annotated[
        bool, typer.Option("--coloured/--white", help="Priors with the spectrum of the network's error, or white ones.")
    ] = True,
    limit: Annotated[int, typer.Option(help="Images to measure on, drawn at random.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Of the draw.", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="Images in the network at a time.", min=1)] = 50,
    crop: Annotated[
        int | None,
        typer.Option(help="Side of the images; larger than the network's, it is also asked at smaller sizes.", min=8),
    ] = None,
    usual_steps: Annotated[
        int | None, typer.Option(help="Steps of the plan that encode takes unless told otherwise; default 46.", min=1)
    ] = None,
    spacing: Annotated[float, typer.Option(help="Between the log-SNRs measured.", min=0.01, max=1.0)] = 0.125,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a file that is there; a codec is kept beside it, under its fingerprint."
        ),
    ] = False,
    skip_unusable: SkipOption = False,
    class_label: Annotated[
        int | None, typer.Option("--class", help="Class that the network is told of all images.", min=0)
    ] = None,
    prompt: Annotated[str, typer.Option(help="Text that the network is told of all images.")] = "",
    dtype: Annotated[str, typer.Option(help="Of a diffusers network: float32, bfloat16 or float16.")] = "float32",
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a model's error at every noise level on training images, and store it: all that a codec's plan needs."""
    import torch

    from ddpmcodec.diffusion.plan import default_steps, make_plan, most_steps, planned_bits
    from ddpmcodec.diffusion.resolution import FACTORS
    from ddpmcodec.io.images import in_one_colour
    from ddpmcodec.models import DiffusersEps, measure_curve, save_model
    from ddpmcodec.models.condition import Condition
    from ddpmcodec.models.places import EMBEDDED, file_name, own_folder
    from ddpmcodec.models.source import open_network
    from ddpmcodec.training import TrainingImages, training_images

    source = open_network(model, dtype)
    target = output or own_folder() / file_name(name or source.name)
    if target.parent == EMBEDDED:
        raise ModelError(f"{target} comes with ddpmcodec, and stays as it is: name another file with -o")
    if output is None:
        _make_folder(target.parent)
    older = _older_codec(target, model, overwrite)
    picture = plot or target.with_suffix(".plan.png")
    check_outputs(target, picture, inputs=data, report=as_json)
    config = source.config
    least = config.window * config.factor
    side = crop or (256 if config.any_size else least)
    several = config.factor == 1 and (config.any_size or side > config.window)
    factors = [k for k in FACTORS if k * config.canvas <= side] if several else [1]
    found = training_images(data, least, skip=tell_left_out if skip_unusable else None).training
    images = TrainingImages([p for p in found if min(p.shape[:2]) >= side], side, seed)
    count = min(limit, len(images))
    try:
        where = torch.device(device)
        network = source.network.to(where)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} can't be used here: {str(error).splitlines()[0]}") from error
    shown = in_one_colour if config.factor == 1 and config.image_channels == 1 else lambda pictures: pictures
    told = network.told(Condition(class_label, prompt)) if isinstance(network, DiffusersEps) else network
    if not quiet:
        levels, area = (config.max_log_snr - config.min_log_snr) / spacing, (side / least) ** 2
        x_t = torch.zeros(1, config.image_channels, config.window, config.window, device=where)
        with torch.inference_mode():
            foretell(lambda: told(x_t, torch.zeros(1, device=where)), levels * count * area)
    with progress_bar("measuring", count, not quiet) as advance:
        curve = measure_curve(
            told,
            shown(images.batch(0, count)),
            min_log_snr=config.min_log_snr,
            max_log_snr=config.max_log_snr,
            window=config.canvas,
            any_size=config.any_size,
            factors=factors,
            log_snrs=source.levels(spacing),
            spacing=spacing,
            batch=batch,
            device=where,
            coloured=coloured,
            space=network.space if isinstance(network, DiffusersEps) and config.factor > 1 else None,
            progress=lambda done, total: advance(done - (done - 1) // batch * batch),
        )
    curve = replace(curve, usual_plan=usual_steps)
    try:
        if older is not None:
            write_whole(older, target.read_bytes())
        place = source.weights if _too_large(config) else None
        mark = save_model(target, network, curve, name or source.name or target.stem, source.note, config, place)
    except OSError as error:
        raise ModelError(f"can't write {target}: {error.strerror or error}") from error
    rows: list[dict[str, Any]] = []
    for steps in sorted({n for n in (12, 20, default_steps(curve), 100) if n <= most_steps(curve)}):
        chosen = make_plan(curve, steps)
        ideal = sum(chosen.rate) / 256 / curve.dims
        rows.append(
            {
                "steps": steps,
                "ideal_bits_per_dim": ideal,
                "expected_bits_per_dim": planned_bits(curve, chosen) / curve.dims,
            }
        )
    try:
        missing = "" if _draw(curve, picture) else "matplotlib is not installed (pip install 'ddpmcodec[train]')"
    except OSError as error:  # the model is written; a plot that isn't does no harm
        missing = f"can't write {picture}: {error.strerror or error}"
    if as_json:
        say(json.dumps({"model": str(target), "fingerprint": mark, "images": count, "plans": rows}))
    elif not quiet:
        table = Table("steps", "ideal bits/dim", "expected bits/dim with the code's excess", box=None)
        for row in rows:
            table.add_row(str(row["steps"]), f"{row['ideal_bits_per_dim']:.4f}", f"{row['expected_bits_per_dim']:.4f}")
        with report_console() as console:
            console.print(table)
        if older is not None:
            tell(f"the codec that was there is kept as {older}")
        tell(f"{target}: fingerprint {mark[:8]}, measured on {count} images")
        note = f"not drawn: {missing}" if missing else f"drawn in {picture}"
        tell(note)


def _too_large(config: Any) -> bool:
    """Return whether weights stay where they are: beyond 500 MB, and where a tokenizer's files belong to them."""
    from ddpmcodec.models import DiffusersConfig

    return isinstance(config, DiffusersConfig) and (config.texts is not None or config.size > MOST_BYTES)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"can't make {folder}: {error.strerror or error}; name a file with -o") from error


def _older_codec(target: Path, model: str, overwrite: bool) -> Path | None:
    """Return where a codec that is about to be replaced goes, for its streams can't be decoded without it; None for
    none.

    A network that is no codec yet may become one in its own file. Raises ModelError where something else would be lost.
    """
    from ddpmcodec.models import read_model_info

    if not target.is_file() or is_stream(target):
        return None
    try:
        about = read_model_info(target)
    except ModelError as error:
        if overwrite:
            return None
        raise ModelError(
            f"{target} exists and is no model of this program: name another file with -o, or --overwrite"
        ) from error
    if about.measured is None and Path(model).is_file() and target.samefile(model):
        return None
    if not overwrite:
        what = "a network" if about.measured is None else f"the codec {about.fingerprint[:8]}, which its streams need"
        raise ModelError(
            f"{target} holds {what}: name another file with -o, or --overwrite keeps it beside the new one"
        )
    return target.with_name(f"{target.stem}.{about.fingerprint[:8]}{target.suffix}")


def _draw(curve: Any, path: Path) -> bool:
    """Draw the error curve, the ideal rate, and where the default plan's steps lie; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    import numpy as np

    from ddpmcodec.diffusion.error_curve import FRACTION
    from ddpmcodec.diffusion.plan import default_steps, make_plan
    from ddpmcodec.io.atomic import replacing

    levels = np.array(curve.log_snr) / 65536
    rmse = 127.5 * np.sqrt(np.array(curve.mse, np.float64) / 2.0**FRACTION)
    chosen = make_plan(curve, default_steps(curve))
    figure = Figure(figsize=(10, 4), layout="constrained")
    error, rate = figure.subplots(1, 2)
    error.plot(levels, rmse, color="tab:blue", label="measured")
    steps = np.array(chosen.log_snr)
    error.plot(steps, np.interp(steps, levels, rmse), ".", color="tab:orange", label=f"the plan's {chosen.steps} steps")
    error.set(xlabel="log-SNR λ", ylabel="RMSE of x̂₀, levels of 255", yscale="log")
    error.legend()
    bits = np.cumsum(chosen.rate) / 256 / curve.dims
    rate.plot(steps, bits, ".-", color="tab:orange", label="the plan's steps")
    # Many small steps: half the integral of mse dSNR
    snr, mse = np.array(curve.snr, np.float64) / 2.0**FRACTION, np.array(curve.mse, np.float64) / 2.0**FRACTION
    many = np.concatenate([[snr[0] * mse[0]], np.diff(snr) * (mse[1:] + mse[:-1]) / 2]).cumsum() / (2 * np.log(2))
    shown = levels <= steps[-1]
    rate.plot(levels[shown], many[shown], color="tab:blue", label="in the limit of many steps")
    rate.set(xlabel="log-SNR λ", ylabel="ideal bits/dim so far", yscale="log", ylim=(1e-4, 2 * bits[-1]))
    rate.legend()
    for axes in (error, rate):
        axes.grid(alpha=0.3, which="both")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return True
