"""Algorithms 3 and 4 in bytes: sender, receiver, and what is built on them. What is public, `ddpmcodec` exports."""
