"""Speech of the commands: reports on stdout, all else on stderr, progress in a bar where that is a terminal.

Characters that could do something to a terminal become `?`, and so does what a stream can't show (see `start`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ddpmcodec.cli.files import check_stdout, written
from ddpmcodec.io.outputs import cant_write

_NO_WIDTH = 1 << 14  # columns: nothing is wrapped or cut
_interruptions: list[str] = []  # that were told of
_bars: list[Any] = []  # the progress bar on the screen: what is said meanwhile goes above it


def say(line: str) -> None:
    """Print a line on stdout as it is. Raises DdpmCodecError where stdout is closed, or can't be written to."""
    with _to_stdout():
        sys.stdout.write(f"{line}\n")  # click's echo would write UTF-8 where it is told of ASCII


@contextmanager
def _to_stdout() -> Iterator[None]:
    check_stdout()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # whoever read has enough
    except OSError as error:
        raise cant_write("to stdout", error) from error


def tell(line: str) -> None:
    """Print a line on stderr."""
    line = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in line)
    if _bars:
        _bars[-1].console.print(line, highlight=False, markup=False, soft_wrap=True)
    elif sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def tell_left_out(why: str) -> None:
    """Print on stderr which training picture is left out, and why."""
    tell(f"left out: {why}")


def tell_error(message: str, what: str = "error") -> None:
    """Print an error as one line on stderr."""
    red = tells_a_terminal() and "NO_COLOR" not in os.environ
    if sys.stderr is not None:
        sys.stderr.write(f"\x1b[1;31m{what}:\x1b[0m " if red else f"{what}: ")
    tell(message)


def tell_interrupted(what: str | None = None) -> None:
    """Print once on stderr that the program was interrupted, and `what` holds now, or what had been written."""
    if not _interruptions:
        _interruptions.append(f"interrupted; {what or written()}")
        tell(_interruptions[0])


def forget_interruption() -> None:
    """Begin a command: nobody has interrupted it."""
    _interruptions.clear()


def tells_a_terminal() -> bool:
    """Return whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as lines, each column as wide as it needs."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


@contextmanager
def report_console() -> Iterator[Any]:
    """Give rich's console that prints reports on stdout; where it is no terminal, tables are as wide as they need.

    Raises DdpmCodecError where stdout is closed, or can't be written to.
    """
    from rich.console import Console

    with _to_stdout():
        console = Console()
        yield console if console.is_terminal else Console(width=_NO_WIDTH)


@contextmanager
def bar_of(*fields: Any) -> Iterator[Any]:
    """Show a progress bar of rich's on stderr, which is a terminal; fields: its columns."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*fields, console=Console(stderr=True)) as bar:
        _bars.append(bar)
        try:
            yield bar
        finally:
            _bars.remove(bar)


@contextmanager
def progress_bar(what: str, total: int, show: bool) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr; the context gives a function that advances it, by one or by as many as it is given."""
    if not show or not tells_a_terminal():
        yield lambda amount=1: None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    fields = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with bar_of(*fields, TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda amount=1: bar.advance(task, amount)
