"""Measurements: rate against the ideal, and benchmarks. Extra: ddpmcodec[eval]."""
