"""Channel codes against each other: `python -m ddpmcodec.eval.channels.compare`."""
