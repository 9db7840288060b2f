"""Command that looks into streams: info."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ddpmcodec.cli.common import DebugOption, JsonOption, ModelOption, command
from ddpmcodec.cli.files import read_input
from ddpmcodec.cli.speech import columns, say


@command
def info(
    stream: Annotated[str, typer.Argument(metavar="IN", help="A stream or an archive, or - for stdin.")],
    index: Annotated[int | None, typer.Option(help="Show one picture of an archive, from 0.")] = None,
    model: ModelOption = "auto",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what a stream or an archive holds; runs no network."""
    from ddpmcodec.cli.describe import describe, describe_block

    data = read_input(stream)
    if index is None:
        values = describe(data, model)
    else:
        from ddpmcodec.cli.member import opened

        archive = opened(data, allow_partial=True)
        solid = archive.solid > 1
        values = describe_block(archive, index, model) if solid else describe(archive.stream(index), model)
    if as_json:
        say(json.dumps(values))
        return
    about = []
    for key, value in values.items():
        if not isinstance(value, list):
            about.append((key.replace("_", " "), repr(value) if key == "prompt" else str(value)))
        elif key == "fields" and value:
            about.append((key, ", ".join(f"{field['name']} ({field['bytes']} bytes)" for field in value)))
    say(columns(about))
    if "step_bits" in values:
        steps = [("step", "log-SNR", "channel bits", "real bits", "cumulative bits", "prior")]
        coloured = values.get("coloured", [False] * len(values["log_snr"]))
        lists = (values[name] for name in ("log_snr", "channel_bits", "step_bits", "cumulative_bits"))
        for n, (level, channel, bits, total, colour) in enumerate(zip(*lists, coloured, strict=True), 1):
            prior = f"{colour} coloured" if "block" in values else "coloured" if colour else "white"
            steps.append((str(n), f"{level:.3f}", str(channel), f"{bits:.1f}", f"{total:.1f}", prior))
        say(columns(steps))
