"""Command that measures rate-distortion curves: rd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ddpmcodec.cli.common import DebugOption, DeviceOption, JsonOption, ModelOption, QuietOption, command
from ddpmcodec.cli.speech import progress_bar, report_console, say, tell, tell_interrupted
from ddpmcodec.errors import DdpmCodecError


@command
def rd(
    data: Annotated[str, typer.Option(help="cifar10 (its test split), a folder of pictures, or a mosaic of tiles.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The directory for results and plots.")],
    model: ModelOption = "cifar10-small",
    limit: Annotated[
        int | None, typer.Option(help="Number of pictures, from the first on; default all.", min=1)
    ] = None,
    channel: Annotated[
        str,
        typer.Option(help="Channels, a comma between: trellis, trellis:L, orc; none for ideal curves only."),
    ] = "trellis",
    baselines: Annotated[str, typer.Option(help="Codecs, a comma between: jpeg,webp,avif,…; all; none.")] = "none",
    plan_steps: Annotated[
        int | None, typer.Option(help="Steps of the plan; default: what encode takes for the largest picture.", min=1)
    ] = None,
    with_table4: Annotated[
        bool, typer.Option("--table4", help="The DDPM paper's Table 4 beside ours, T = 1000.")
    ] = False,
    reconstructions: Annotated[
        str, typer.Option("--reconstruct", help="A receiver's ways to a picture, compared: mean,sample,ddim.")
    ] = "none",
    batch: Annotated[int, typer.Option(help="Windows in the network at a time.", min=1)] = 64,
    decode_every: Annotated[
        int,
        typer.Option(
            help="Decode the files of every N-th batch; parse the others', whose pictures the sender knows.", min=1
        ),
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of the streams and of the draws.", min=0)] = 0,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure rate-distortion curves, ideal and real, beside other codecs: results.json, results.csv and plots.

    Run again after an interruption, it goes on. `torchrun --nproc-per-node N -m ddpmcodec.cli rd …` shares the pictures
    out.
    """
    if output.exists() and not output.is_dir():
        raise DdpmCodecError(f"can't write to {output}: it is a file; name a directory")
    _require_extra()
    from ddpmcodec.channel.names import parse_channel
    from ddpmcodec.eval.rd.baselines import parse_baselines
    from ddpmcodec.eval.rd.measurement import Measurement
    from ddpmcodec.eval.rd.parts import Share
    from ddpmcodec.eval.rd.pictures import load_pictures
    from ddpmcodec.eval.rd.reconstruct import parse_modes
    from ddpmcodec.eval.rd.results import Options
    from ddpmcodec.models import load_model

    channels = tuple(dict.fromkeys(c.strip() for c in channel.split(",") if c.strip())) if channel != "none" else ()
    if not channels and channel != "none":
        raise DdpmCodecError(f"--channel {channel!r}: expected one or more of trellis, trellis:L, orc; or none")
    for name in channels:
        parse_channel(name)
    share = Share.of_torchrun()
    modes = parse_modes(reconstructions)
    if modes and not channels:
        raise DdpmCodecError("--reconstruct needs streams: name a channel with --channel")
    options = Options(
        plan_steps, channels, tuple(parse_baselines(baselines)), with_table4, modes, batch, seed, decode_every
    )
    codec = load_model(model, share.device(device))
    pictures = load_pictures(data, codec.window, limit)
    measurement = Measurement(codec, pictures, options, output, share)
    try:
        with progress_bar("measuring", measurement.units, not quiet and share.rank == 0) as advance:
            measurement.measure(advance)
        if share.rank:
            return
        result = measurement.result()
    except KeyboardInterrupt as error:
        tell_interrupted(f"the same command goes on from what is in {output}/parts")
        raise typer.Exit(130) from error
    _write(result, output)
    if as_json:
        say(json.dumps(result))
    elif not quiet:
        with report_console() as console:
            _print(console, result)


def _require_extra() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise DdpmCodecError(
            "rd draws with matplotlib, which is not installed: pip install 'ddpmcodec[eval]'"
        ) from error


def _write(result: dict[str, Any], output: Path) -> None:
    from ddpmcodec.eval.rd.plots import draw_all
    from ddpmcodec.eval.rd.results import as_csv
    from ddpmcodec.eval.results import write_json
    from ddpmcodec.io.atomic import remove_leftovers, write_whole

    try:
        remove_leftovers(output)
        write_json(output / "results.json", result)
        write_whole(output / "results.csv", as_csv(result))
        draw_all(result, output)
    except OSError as error:
        raise DdpmCodecError(f"can't write to {output}: {error.strerror or error}") from error


def _print(console: Any, result: dict[str, Any]) -> None:
    console.print(
        f"{result['model']}, {len(result['pictures'])} pictures of {result['data']}, {result['plan_steps']} "
        "steps; bits/dim at equal RMSE (mean over images)",
        highlight=False,
        soft_wrap=True,
    )
    ours = [n for n in result["curves"] if n != "ideal"]
    if not ours:
        _print_ideal(console, result["curves"]["ideal"])
    for name in ours:
        rows = result["real_over_ideal"][name]["rmse_mean_over_images"]
        table = Table(name, "RMSE", "ideal", "file", "payload", "payload ÷ ideal", box=None)
        for i, rmse in enumerate(rows["rmse"]):
            at = "" if rows["at_rate"][i] is None else f"at {rows['at_rate'][i]:g} bits/dim"
            rates = (_number(rows[k][i]) for k in ("ideal", "file", "payload"))
            table.add_row(at, f"{rmse:.4g}", *rates, _number(rows["ratio"][i], ".3f"))
        console.print(table)
    for name in ours:
        _print_bd(console, name, result["bd_rate"][name])
    if result["bd_rate_published"]:
        _print_published(console, result)
    lossless = {c["label"]: c for c in result["baselines"].values() if c["lossless"]}
    if lossless:
        table = Table("lossless", "file bits/dim", "payload", box=None)
        for label, curve in lossless.items():
            table.add_row(label, *(_number(curve[f"{k}_bits_per_dim"][0]) for k in ("file", "payload")))
        console.print(table)
    if "reconstruct" in result:
        _print_reconstructions(console, result["reconstruct"])
    if "table4" in result:
        _print_table4(console, result["table4"], ours)
    for note in result["notes"]:
        tell(note)


def _print_ideal(console: Console, curve: dict[str, Any]) -> None:
    from ddpmcodec.eval.rd.curves import RMSE, RMSES, rate_at

    table = Table(
        "ideal, at RMSE", *(convention.removeprefix("rmse_").replace("_", " ") for convention in RMSE), box=None
    )
    for rmse in RMSES:
        table.add_row(
            f"{rmse:g}", *(_number(rate_at(curve, "ideal_bits_per_dim", rmse, convention)) for convention in RMSE)
        )
    console.print(table)


def _print_bd(console: Console, name: str, rates: dict[str, Any]) -> None:
    if not rates:
        return
    table = Table("BD-rate against", "file bytes", "payload", "PSNR from", "to", box=None)
    for baseline, found in rates.items():
        cells = [f"{f['percent']:+.1f}%" if "percent" in f else "—" for f in found.values()]
        span = next((f for f in found.values() if "percent" in f), None)
        ends = (
            [f"{span[k]:.1f} dB" for k in ("from_psnr", "to_psnr")] if span else [found["file"].get("refused", ""), ""]
        )
        table.add_row(baseline, *cells, *ends)
    console.print(f"{name}: BD-rate (negative: ours needs fewer bits)", highlight=False)
    console.print(table)


def _print_published(console: Console, result: dict[str, Any]) -> None:
    first = next(iter(next(iter(result["bd_rate_published"].values())).values()))
    console.print(
        f"BD-rate against published curves: theirs of {first['their_pictures']}, ours of these "
        f"{len(result['pictures'])} (negative: ours needs fewer bits)",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("ours", "published", "their bits", "PSNR from", "to", "BD-rate", "source", box=None)
    for ours, others in result["bd_rate_published"].items():
        for name, found in others.items():
            ends = [f"{found[k]:.1f} dB" if k in found else "" for k in ("from_psnr", "to_psnr")]
            rate = f"{found['percent']:+.1f}%" if "percent" in found else f"— ({found['refused']})"
            table.add_row(ours, name, found["their_bits"], *ends, rate, found["source"])
    console.print(table)


def _print_reconstructions(console: Console, curves: dict[str, Any]) -> None:
    scores = [
        s for s in ("rmse_mean_over_images", "ssim", "ms_ssim", "lpips", "fid") if any(s in c for c in curves.values())
    ]
    table = Table(
        "steps",
        "file bits/dim",
        *(f"{mode} {s.removesuffix('_mean_over_images')}" for s in scores for mode in curves),
        box=None,
    )
    first = next(iter(curves.values()))
    for i, steps in enumerate(first["steps"]):
        cells = [_number(curve[s][i]) for s in scores for curve in curves.values()]
        table.add_row(str(steps), _number(first["file_bits_per_dim"][i]), *cells)
    console.print("reconstructions of a prefix (RMSE: mean over images)", highlight=False)
    console.print(table)


def _print_table4(console: Console, rows: dict[str, Any], ours: list[str]) -> None:
    console.print(
        "Table 4 of Ho et al. 2020. Ideal, T = 1000: at equal reverse time (σ² = β). The "
        "plan's ideal and the files: at the paper's RMSE",
        highlight=False,
        soft_wrap=True,
    )
    names = ["paper ideal", "paper RMSE", "ideal T=1000", "RMSE", "ideal, plan", *ours]
    table = Table("reverse time", *names, box=None)
    columns = [
        rows["paper_ideal_bits_per_dim"],
        rows["paper_rmse"],
        rows["ideal_T1000_beta_bits_per_dim"],
        rows["ideal_T1000_rmse_mean_over_images"],
        rows["ideal_plan_bits_per_dim_at_rmse_mean_over_images"],
        *(rows[f"{name}_file_bits_per_dim_at_rmse_mean_over_images"] for name in ours),
    ]
    for i, time in enumerate(rows["reverse_time"]):
        table.add_row(str(time), *(_number(c[i], ".5f") for c in columns))
    console.print(table)


def _number(value: float | None, form: str = ".4f") -> str:
    return "—" if value is None else format(value, form)
