"""`python -m ddpmcodec` is the `ddpmcodec` program."""

from ddpmcodec.cli.start import program

program()
