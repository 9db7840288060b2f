"""Commands by name, each in a module of that name: importing it registers it."""

from __future__ import annotations

from importlib import import_module

from typer import Typer

from ddpmcodec.cli.common import app

COMMANDS = (
    "encode",
    "info",
    "decode",
    "join",
    "models",
    "nll",
    "plan",
    "rd",
    "sample",
    "train",
    "truncate",
    "verify",
    "view",
)


def load(name: str = "") -> Typer:
    """Return the app with the command of a name alone, which starts sooner, or else with all of them."""
    for each in (name,) if name in COMMANDS else COMMANDS:
        import_module(f"ddpmcodec.cli.{each}")
    return app
