"""Command line: the `ddpmcodec` command."""
