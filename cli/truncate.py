"""Command that shortens streams: truncate."""

from __future__ import annotations

from typing import Annotated

import typer

from ddpmcodec.cli.common import DebugOption, ModelOption, QuietOption, command
from ddpmcodec.cli.files import check_outputs, read_input, write_output
from ddpmcodec.cli.speech import tell


@command
def truncate(
    stream: Annotated[str, typer.Argument(metavar="IN", help="A stream, or - for stdin.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The stream to write, or - for stdout.")],
    steps: Annotated[int | None, typer.Option(help="Number of steps to keep, from the first on.")] = None,
    size: Annotated[
        int | None, typer.Option("--bytes", help="Keep as many whole steps as this number of bytes holds.")
    ] = None,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Take the whole steps of a cut file.")] = False,
    model: ModelOption = "auto",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Shorten a stream to a complete one of fewer steps; runs no network."""
    check_outputs(output, inputs=[stream, model])
    from ddpmcodec.codec.truncation import truncate as shortened

    data = read_input(stream)
    result = shortened(data, steps=steps, size=size, model=model, allow_partial=allow_partial)
    write_output(output, result)
    if not quiet:
        tell(f"{len(result)} of {len(data)} bytes")
