"""The `ddpmcodec` program: importing a module of commands registers them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from ddpmcodec.cli import coding, decode, nll, plan, rd, sample, train, truncate, verify
from ddpmcodec.cli.common import app, say, say_error, system_says

__all__ = ["app", "coding", "decode", "nll", "plan", "program", "rd", "sample", "train", "truncate", "verify"]


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        from ddpmcodec import __version__

        say(f"ddpmcodec {__version__}")
        raise typer.Exit()


def program() -> None:
    """Run the command line as a process of its own, whatever its stdin, stdout and stderr are.

    Characters that they can't show become `?`. Where they can't be written to, one line says so, and the exit code is 2.
    """
    for number in range(3):
        _keep_open(number)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    code: Any = 0
    try:
        app(prog_name="ddpmcodec")
    except SystemExit as end:
        code = end.code
    except OSError as error:  # of what is printed before a command begins: help
        code = _refused(error)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        code = code or _refused(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more when it ends
    sys.exit(code)


def _keep_open(number: int) -> None:
    """Put the null device where stdin, stdout or stderr is closed, or the next file opened would be taken for it."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # gets the least free number


def _refused(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        return 1
    with suppress(OSError):
        say_error(f"can't write to stdout: {system_says(error)}")
    return 2
