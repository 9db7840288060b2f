"""Every command's options as Markdown: the second half of docs/cli.md, which a test holds against the program.

python -m ddpmcodec.cli.reference docs/cli.md    # writes it anew
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from ddpmcodec.io.atomic import write_whole

MARK = "<!-- From here on: python -m ddpmcodec.cli.reference docs/cli.md -->"
_COLUMNS = 100
_LAST = ("model", "device", "quiet", "as_json", "debug")  # of each command's options
_VALUES = {int: "N", float: "X"}  # what stands for a value of a type; for others a word of its option's


@dataclass(frozen=True)
class _Parameter:
    """Option or argument of a command, as its function declares it."""

    name: str
    names: tuple[str, ...]  # on the command line, short ones first; none of an argument
    value: str  # what stands for it; "" of a switch
    help: str
    default: Any  # inspect.Parameter.empty: it is needed
    repeated: bool


def with_reference(page: str) -> str:
    """Return a page with what follows the mark written anew. Raises ValueError where there is none."""
    return page[: page.index(MARK)] + reference()


def reference() -> str:
    """Return the options of all commands, as Markdown."""
    from ddpmcodec.cli.app import app

    parts = [MARK, "", "## All options", "", *_of_the_program()]
    commands = sorted(_commands(app))
    return "\n".join([*parts, *(line for name, run in commands for line in _command(name, run))]).rstrip() + "\n"


def _commands(app: Any, before: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield each command's name, after that of its group, and the function that it runs."""
    for info in app.registered_commands:
        function = inspect.unwrap(info.callback)
        yield before + (info.name or function.__name__.replace("_", "-")), function
    for group in app.registered_groups:
        yield from _commands(group.typer_instance, f"{before}{group.name} ")


def _of_the_program() -> Iterator[str]:
    yield from ("| `ddpmcodec` | says |", "|---|---|")
    yield "| `--version` | Print the version and leave. |"
    yield "| `--install-completion`, `--show-completion` | Complete commands and options in the shell. |"
    yield "| `-h`, `--help` | Also after a command: what it takes. |"
    yield ""


def _command(name: str, function: Callable[..., Any]) -> Iterator[str]:
    parameters = sorted(_parameters(function), key=lambda p: p.name in _LAST)
    needed = [p for p in parameters if p.default is inspect.Parameter.empty]
    usage = [p.value if not p.names else f"{p.names[0]} {p.value}" for p in needed]
    yield from (f"### {name}", "", f"`{' '.join(['ddpmcodec', name, *usage, '[OPTIONS]'])}`")
    yield from ("", *wrap(" ".join((function.__doc__ or "").split()), _COLUMNS), "")
    yield from ("| option | says |", "|---|---|", *map(_row, parameters), "")


def _parameters(function: Callable[..., Any]) -> Iterator[_Parameter]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *said = get_args(hints[name])
        (info,) = (i for i in said if isinstance(i, ArgumentInfo | OptionInfo))
        kinds = get_args(kind) or (kind,)  # int | None, list[str]
        repeated = "list" in str(kind)
        names: tuple[str, ...] = ()
        if isinstance(info, OptionInfo):
            said_first = [info.default] if isinstance(info.default, str) else []  # where typer keeps the first name
            given = [*said_first, *(info.param_decls or ())] or [f"--{name.replace('_', '-')}"]
            names = tuple(sorted(given, key=len))
        word = "OUT" if "--output" in names else (info.metavar or _VALUES.get(kinds[0], name.upper().replace("_", "-")))
        value = "" if kind is bool else word
        yield _Parameter(name, names, value, info.help or "", parameter.default, repeated and bool(names))


def _row(parameter: _Parameter) -> str:
    *others, last = parameter.names or ("",)
    shown = [*others, f"{last} {parameter.value}".strip()]
    said = parameter.help.replace("|", "\\|").rstrip(".") + "."
    if parameter.names and parameter.default is inspect.Parameter.empty:
        said += " Needed."
    elif parameter.value and parameter.default not in (None, "", inspect.Parameter.empty) and "efault" not in said:
        said += f" Default: {parameter.default}."
    said += " May be repeated." if parameter.repeated else ""
    return f"| {', '.join(f'`{name}`' for name in shown)} | {said} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="whose second half is written anew")
    page = parser.parse_args(arguments).page
    try:
        write_whole(page, with_reference(page.read_text("utf-8")).encode())
    except OSError as error:
        parser.exit(2, f"error: {page}: {error.strerror or error}\n")
    except ValueError:
        parser.exit(2, f"error: {page} has no line {MARK!r}: expected one where the reference begins\n")


if __name__ == "__main__":
    main()
