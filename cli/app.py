"""The `ddpmcodec` program: importing a module of commands registers them."""

from __future__ import annotations

from typing import Annotated

import typer

from ddpmcodec.cli import coding, decode, models, nll, plan, rd, sample, train, truncate, verify
from ddpmcodec.cli.common import app, say

__all__ = ["app", "coding", "decode", "models", "nll", "plan", "rd", "sample", "train", "truncate", "verify"]


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        from ddpmcodec import __version__
        from ddpmcodec.numerics import native

        say(f"ddpmcodec {__version__}\ntrellis search on the CPU: {native.description()}")
        raise typer.Exit()
