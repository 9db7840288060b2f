"""Command that measures a model's variational bound: nll."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from ddpmcodec.cli.common import MODEL_HELP, DebugOption, DeviceOption, JsonOption, QuietOption, command
from ddpmcodec.cli.files import check_outputs, write_output
from ddpmcodec.cli.schedules import ScheduleOption, TimestepsOption, schedule_of
from ddpmcodec.cli.speech import progress_bar, report_console, say
from ddpmcodec.errors import DdpmCodecError

_POINTS = 10  # rows of the rate-distortion table


@command
def nll(
    data: Annotated[str, typer.Option(help="A mosaic file, a folder of pictures, cifar10-test or cifar10-train.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)] = "cifar10-small",
    output: Annotated[str | None, typer.Option("-o", "--output", help="A JSON file for everything measured.")] = None,
    limit: Annotated[int | None, typer.Option(help="Number of pictures, from the first on; default all.")] = None,
    timesteps: TimestepsOption = None,
    schedule: ScheduleOption = None,
    batch: Annotated[int, typer.Option(help="Pictures at a time; the result doesn't depend on it.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the noise in x_t.")] = 0,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure the variational bound in bits/dim (ideal rates: no coder runs) and the rate-distortion points on
    its way.
    """
    if output == "-":
        raise DdpmCodecError("-o - : the report goes to stdout; use --json for JSON there, or name a file")
    if output is not None:
        check_outputs(output, inputs=[data, model], report=as_json)
    from ddpmcodec.diffusion.bound import variational_bound
    from ddpmcodec.io.datasets import load_images
    from ddpmcodec.models.source import open_denoiser

    schedule_of(schedule, timesteps, None)  # errors before the model is loaded
    if batch < 1:
        raise DdpmCodecError(f"batches of {batch} pictures: expected at least 1")
    opened = open_denoiser(model, device)
    if opened.network.factor > 1 or opened.network.channels != 3:
        raise DdpmCodecError("the bound is of pixels in three colours, and this model's chain runs on something else")
    images = load_images(data, opened.config.window, limit)
    chain, schedule = schedule_of(schedule, timesteps, opened.schedule)
    with progress_bar("measuring", len(chain) * -(-len(images) // batch), not quiet) as advance:
        bound = variational_bound(opened.network, images, chain, opened.curve, batch=batch, seed=seed, on_call=advance)
    values = {
        "model": opened.name,
        "fingerprint": opened.fingerprint,
        "data": data,
        "images": len(images),
        "timesteps": len(chain),
        "schedule": schedule,
        "seed": seed,
        **_describe(bound),
    }
    if output is not None:
        write_output(output, (json.dumps(values) + "\n").encode())
    if as_json:
        say(json.dumps(values))
    elif not quiet:
        with report_console() as console:
            _print(console, values)


def _describe(bound: Any) -> dict[str, Any]:
    """Return bits/dim, each total with its standard error over the pictures; RMSEs on [0, 255]; means by timestep from
    1 to T.
    """
    T = len(bound.log_snr)
    points = [asdict(bound.point(T * i // _POINTS)) for i in range(_POINTS, 0, -1) if T * i // _POINTS]
    return {
        "bits_per_dim": {name: _finite(asdict(bound.split(name))) for name in bound.terms},
        "points": points,
        "by_timestep": {
            "log_snr": bound.log_snr.tolist(),
            "mse": bound.mse.mean(axis=0).tolist(),
            "terms": {name: terms.mean(axis=0).tolist() for name, terms in bound.terms.items()},
        },
    }


def _finite(parts: dict[str, Any]) -> dict[str, Any]:
    """Turn NaN into None, for JSON has no NaN: the standard error over a single picture is null."""
    return {k: {m: v if math.isfinite(v) else None for m, v in part.items()} for k, part in parts.items()}


def _print(console: Any, values: dict[str, Any]) -> None:
    console.print(
        f"{values['model']}, {values['images']} pictures, {values['timesteps']} timesteps ({values['schedule']}); "
        "bits/dim, ideal; ± standard error",
        highlight=False,
        soft_wrap=True,
    )
    parts = Table("variance", "L_T", "L_1 … L_T-1", "L_0", "total", box=None)
    for name, split in values["bits_per_dim"].items():
        parts.add_row(name, *(_with_error(split[part]) for part in ("L_T", "chain", "decoder", "total")))
    console.print(parts)
    names = list(values["bits_per_dim"])
    table = Table("reverse time", *(f"rate, {n}" for n in names), "RMSE", "root MSE", box=None)
    for point in values["points"]:
        rates = (f"{point['rate'][n]:.5f}" for n in names)
        table.add_row(str(point["reverse_time"]), *rates, f"{point['rmse']:.3f}", f"{point['root_mse']:.3f}")
    console.print(table)


def _with_error(estimate: dict[str, Any]) -> str:
    error = "" if estimate["error"] is None else f" ± {estimate['error']:.4f}"
    return f"{estimate['mean']:.4f}{error}"
