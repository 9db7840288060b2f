"""Program `ddpmcodec`, with all its commands."""

from __future__ import annotations

from ddpmcodec.cli.commands import load

app = load()
