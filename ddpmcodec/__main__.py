"""`python -m ddpmcodec` is the `ddpmcodec` program."""

from ddpmcodec.cli.app import app

app(prog_name="ddpmcodec")
