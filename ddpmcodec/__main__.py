"""`python -m ddpmcodec` is the `ddpmcodec` program."""

from ddpmcodec.cli.app import program

program()
