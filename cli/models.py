"""Commands `ddpmcodec models …`: the codecs that streams are decoded with, where no --model says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, JsonOption, QuietOption, app, reported
from ddpmcodec.cli.speech import report_console, say, tell

if TYPE_CHECKING:
    from ddpmcodec.models import ModelInfo

models = typer.Typer(
    help="The models that streams are decoded with: those that come with ddpmcodec, and those in its folders.",
    no_args_is_help=True,
)
app.add_typer(models, name="models")


@models.command("list")
@reported
def list_models(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the models that are found without a path, and the folders that are looked through."""
    from ddpmcodec.models.library import known_models
    from ddpmcodec.models.places import folders

    found = list(known_models())
    if as_json:
        values = [{"name": i.name, "fingerprint": i.fingerprint, "path": str(i.path)} for i in found]
        say(json.dumps({"models": values, "folders": [str(folder) for folder in folders()]}))
        return
    from rich.table import Table

    table = Table("name", "fingerprint", "file", box=None)
    for info in found:
        table.add_row(info.name, info.fingerprint[:8], str(info.path))
    with report_console() as console:
        console.print(table)
    for folder in folders():
        if not folder.is_dir():
            tell(f"{folder}: not there yet")


@models.command("show")
@reported
def show(
    name: Annotated[str, typer.Argument(help="A model's name, the start of its fingerprint, or its file.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what a model says of itself; reads no weights."""
    from ddpmcodec.models.library import find_kept

    values = _about(find_kept(name))
    if as_json:
        say(json.dumps(values))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in values.items():
        table.add_row(key.replace("_", " "), str(value))
    with report_console() as console:
        console.print(table)


@models.command("add")
@reported
def add(
    file: Annotated[Path, typer.Argument(help="A codec's .safetensors file, as `plan` writes it.")],
    name: Annotated[str | None, typer.Option(help="Its file's name there; default: the model's.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder of the weights, where the file names another place for them.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Copy a model to where streams find it."""
    from ddpmcodec.models.library import add_model

    info = add_model(file, name, weights)
    if not quiet:
        tell(f"{info.path}: fingerprint {info.fingerprint[:8]}")


@models.command("remove")
@reported
def remove(
    name: Annotated[str, typer.Argument(help="A model's name, or the start of its fingerprint.")],
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Delete a model that was added. Streams made with it can't be decoded without another copy."""
    from ddpmcodec.models.library import remove_model

    info = remove_model(name)
    if not quiet:
        tell(f"removed {info.path}; streams of {info.fingerprint[:8]} need another copy of it now")


def _about(info: ModelInfo) -> dict[str, Any]:
    from ddpmcodec.diffusion.plan import default_steps

    config = info.config
    values: dict[str, Any] = {
        "name": info.name,
        "fingerprint": info.fingerprint,
        "path": str(info.path),
        "bytes": info.path.stat().st_size,
        "architecture": config.architecture,
        "window": config.window,
        "any_size": config.any_size,
        "weights": "in the file" if info.weights is None else info.weights.place,
        "channels": config.image_channels,
        "log_snr": [round(config.min_log_snr, 4), round(config.max_log_snr, 4)],
    }
    if info.measured is not None:
        values |= {"plan_steps": default_steps(info.measured), "coloured": info.measured.spectrum is not None}
    return values | {"note": info.note}
