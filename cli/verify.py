"""Command that checks files: verify."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, JsonOption, ModelOption, QuietOption, command
from ddpmcodec.cli.files import read_input
from ddpmcodec.cli.speech import say
from ddpmcodec.errors import DdpmCodecError


@command
def verify(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Streams and archives, or - for stdin.")],
    model: ModelOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Check that files are whole and undamaged; runs no network. Exit code 2 if any is not."""
    from ddpmcodec.codec.verification import verify as check

    reports = list[dict[str, Any]]()
    for name in files:
        report: dict[str, Any] = {"file": name, "sound": True}
        try:
            found = check(read_input(name), model)
            report |= {
                "kind": "archive" if found.archive else "stream",
                "bytes": found.size,
                "width": found.header.width,
                "height": found.header.height,
                "pictures": found.pictures,
                "fingerprint": found.header.fingerprint,
                "model": found.model,
                "steps": None if found.steps is None else list(found.steps),
            }
        except DdpmCodecError as error:
            report |= {"sound": False, "error": str(error)}
        reports.append(report)
        if not as_json and not (quiet and report["sound"]):
            say(f"{name}: {_line(report)}")
    if as_json:
        say(json.dumps(reports))
    if not all(report["sound"] for report in reports):
        raise typer.Exit(2)


def _line(report: dict[str, Any]) -> str:
    if not report["sound"]:
        return f"FAILED, {report['error']}"
    size = f"{report['width']}x{report['height']}, {report['bytes']} bytes"
    what = f"{report['pictures']} pictures of {size}" if report["kind"] == "archive" else size
    if report["steps"] is None:
        return f"ok, {what}; check only: its model ({report['fingerprint']}) isn't here, or not the one given (--model)"
    fewest, most = min(report["steps"]), max(report["steps"])
    return f"ok, {what}, {fewest if fewest == most else f'{fewest} to {most}'} steps"
