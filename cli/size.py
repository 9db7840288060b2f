"""Warnings of long jobs before they begin; very long ones ask."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ddpmcodec.cli.speech import tell, tells_a_terminal
from ddpmcodec.errors import DdpmCodecError

ASK_PIXELS = 16 << 20  # from which on a job asks
_SAY = 1 << 20  # pixels from which on it says how long it takes
_A_MINUTE = 60
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Begin jobs of more than 16 megapixels without asking.")]


def weigh(codec: Any, height: int, width: int, *, yes: bool, quiet: bool, pictures: int = 1, **what: Any) -> None:
    """Say how long much takes and what memory it needs, a picture or many; on a CPU, begin very much only with consent.

    what: for `estimate`. Raises DdpmCodecError without consent.
    """
    pixels = height * width * pictures
    asks = pixels > ASK_PIXELS and codec.device.type == "cpu" and not yes
    if pixels <= _SAY or (quiet and not asks):
        return
    from ddpmcodec.codec.estimate import estimate

    about = estimate(codec, height, width, pictures=pictures, **what)
    job = f"{width}x{height}" if pictures == 1 else f"{pictures} pictures of {width}x{height}"
    said = f"{job}: about {_duration(about.seconds)} and {about.memory / 2**30:.1f} GB of memory"
    if not asks:
        tell(said)
    elif not (sys.stdin is not None and sys.stdin.isatty() and tells_a_terminal() and not quiet):
        raise DdpmCodecError(f"{said}: add --yes to begin, or take less, or --device cuda")
    elif not typer.confirm(f"{said}. Begin?", err=True):
        raise DdpmCodecError("not begun")


def foretell(call: Callable[[], Any], times: float) -> None:
    """Say how long as many calls as `times` will take, by one, where that is more than a minute."""
    start = time.perf_counter()
    call()
    seconds = (time.perf_counter() - start) * times
    if seconds > _A_MINUTE:
        tell(f"this will take about {_duration(seconds)}; fewer images (--limit 8) or levels (--spacing 0.5) take less")


def _duration(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
