"""Shared by every command: the app, its options, errors as one line on stderr, a progress bar."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

import ddpmcodec
from ddpmcodec.cli.files import forget_written
from ddpmcodec.cli.speech import forget_interruption, say, tell_error, tell_interrupted
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models.memory import is_out_of_memory

app = typer.Typer(
    help="Diffusion models as real, progressive image codecs.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

_URL_AS_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.")  # pathlib takes one of the slashes away
MODEL_HELP = "A model file or embedded name, a training run's directory, or a diffusers folder or hub id."


def _embedded(incomplete: str) -> list[str]:
    """Names of models, for the shell to complete; nothing that takes time is imported."""
    found = Path(ddpmcodec.__file__).parent.joinpath("models", "data").glob("*.safetensors")
    return [name for name in ["auto", *sorted(path.stem for path in found)] if name.startswith(incomplete)]


ModelOption = Annotated[
    str,
    typer.Option("--model", help="auto, a model's name or a .safetensors file.", autocompletion=_embedded),
]
DeviceOption = Annotated[str, typer.Option("--device", help="Where the network runs: cpu, cuda, cuda:1, mps.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no report.")]
SkipOption = Annotated[
    bool, typer.Option("--skip-unusable", help="Leave out pictures that can't be read or are too small, naming each.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Report as one line of JSON on stdout.")]


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    """Answer what no command is needed for."""
    if version:
        reported(_say_version)()
        raise typer.Exit()


def _say_version(debug: bool) -> None:
    from ddpmcodec import __version__
    from ddpmcodec.numerics import native

    say(f"ddpmcodec {__version__}\ntrellis search on the CPU: {native.description()}")


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command, with its errors reported."""
    return app.command()(reported(function))


def reported(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose DdpmCodecErrors become one line on stderr and exit code 2."""

    @wraps(function)
    def run(*args: Any, debug: bool = False, **kwargs: Any) -> None:
        forget_written()
        forget_interruption()
        try:
            _check_local(kwargs)
            function(*args, debug=debug, **kwargs)
        except typer.Exit:
            raise
        except DdpmCodecError as error:
            if debug:
                raise
            if not _speaks(error):
                raise typer.Exit(2) from error
            tell_error(_no_memory(error) if is_out_of_memory(error) and "memory" not in str(error) else str(error))
            raise typer.Exit(2) from error
        except BrokenPipeError as error:  # whoever read our stdout has enough
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            tell_interrupted()
            raise typer.Exit(130) from error
        except Exception as error:
            if debug:
                raise
            if is_out_of_memory(error):
                tell_error(_no_memory(error))
                raise typer.Exit(2) from error
            if isinstance(error, OSError):
                tell_error(system_says(error))
                raise typer.Exit(2) from error
            tell_error(
                f"{type(error).__name__}: {error}\nThis is a bug; run again with --debug and report what it shows.",
                what="internal error",
            )
            raise typer.Exit(1) from error

    return run


def _check_local(options: dict[str, Any]) -> None:
    """Raise DdpmCodecError for a URL where only a local path will do, or a folder `s3:` would be made here."""
    for option, value in options.items():
        if isinstance(value, Path) and _URL_AS_PATH.match(value.as_posix()):
            raise DdpmCodecError(f"{option} {value}: URLs are for pictures and streams; name a local file or folder")


def system_says(error: OSError) -> str:
    """Return what the operating system refuses, and of which file."""
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([*named[:1], error.strerror or str(error)])


def _no_memory(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "memory" in line), [*lines, type(error).__name__][0])[:200]
    return (
        f"out of memory: {said}; a smaller picture needs less, and so does a smaller --batch where there is one; "
        "pictures of an "
        "archive can be decoded one by one (--index); --device cpu has the whole machine's memory"
    )


def _speaks(error: DdpmCodecError) -> bool:
    """Return whether this process reports an error. Where torchrun starts several on a machine the first one speaks for
    all, but for errors of one process alone.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0" or getattr(error, "local", False)
