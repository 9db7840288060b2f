"""What every command shares: the app, its options, errors as one line on stderr, a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ddpmcodec.cli.files import check_stdout, forget_written, written
from ddpmcodec.errors import DdpmCodecError

app = typer.Typer(
    help="Diffusion models as real, progressive image codecs.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True)
_NO_WIDTH = 1 << 14  # columns: nothing is wrapped or cut

MODEL_HELP = "A model file or embedded name, a training run's directory, or a diffusers folder or hub id."
ModelOption = Annotated[str, typer.Option("--model", help="auto, a model's name or a .safetensors file.")]
DeviceOption = Annotated[str, typer.Option("--device", help="Where the network runs: cpu, cuda, cuda:1, mps.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no report.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Report as one line of JSON on stdout.")]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command, with its errors reported."""
    return app.command()(reported(function))


def reported(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose DdpmCodecErrors become one line on stderr and exit code 2."""

    @wraps(function)
    def run(*args: Any, debug: bool = False, **kwargs: Any) -> None:
        forget_written()
        try:
            function(*args, debug=debug, **kwargs)
        except typer.Exit:
            raise
        except DdpmCodecError as error:
            if debug:
                raise
            if not _speaks(error):
                raise typer.Exit(2) from error
            say_error(str(error))
            raise typer.Exit(2) from error
        except BrokenPipeError as error:  # whoever read our stdout has enough
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            stderr.print(f"interrupted; {escape(written())}", highlight=False, soft_wrap=True)
            raise typer.Exit(130) from error
        except Exception as error:
            if debug:
                raise
            from ddpmcodec.models.memory import is_out_of_memory  # loads torch

            if is_out_of_memory(error):
                say_error(_no_memory(error))
                raise typer.Exit(2) from error
            if isinstance(error, OSError):
                say_error(system_says(error))
                raise typer.Exit(2) from error
            stderr.print(
                f"[bold red]internal error:[/] {escape(type(error).__name__)}: {escape(str(error))}\n"
                "This is a bug; run again with --debug and report what it shows.",
                highlight=False,
                soft_wrap=True,
            )
            raise typer.Exit(1) from error

    return run


def say_error(message: str) -> None:
    """Print an error as one line on stderr."""
    stderr.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)


def system_says(error: OSError) -> str:
    """Return what the operating system refuses, and of which file."""
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([*named[:1], error.strerror or str(error)])


def report_console() -> Console:
    """Return what prints reports on stdout; where it is no terminal, tables are as wide as they need. Raises
    DdpmCodecError.
    """
    check_stdout()
    console = Console()
    return console if console.is_terminal else Console(width=_NO_WIDTH)


def say(line: str) -> None:
    """Print a line on stdout as it is. Raises DdpmCodecError where stdout is closed."""
    check_stdout()
    sys.stdout.write(f"{line}\n")  # click's echo would write UTF-8 where it is told of ASCII
    sys.stdout.flush()


def _no_memory(error: Exception) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
    return (
        f"out of memory: {said}; a smaller picture needs less, and so does a smaller --batch where there is one; "
        "pictures of "
        "an archive can be decoded one by one (--index); --device cpu has the whole machine's memory"
    )


def _speaks(error: DdpmCodecError) -> bool:
    """Of the processes that torchrun starts on a machine the first one, for the others report the same; but for their
    own.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0" or getattr(error, "local", False)


@contextmanager
def progress_bar(what: str, total: int, show: bool) -> Iterator[Callable[..., None]]:
    """A bar on stderr; the context gives a function that advances it, by one or by as many as it is given."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=stderr, disable=not show or not stderr.is_terminal
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda amount=1: progress.advance(task, amount)
