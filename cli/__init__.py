"""The `ddpmcodec` command."""
