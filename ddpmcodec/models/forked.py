"""Forked processes: OpenMP's threads don't survive a fork, so a child of a process that used them would wait
for ever.
"""

from __future__ import annotations

import os

import torch

_used = False


def remember_use() -> None:
    """Note that this process runs networks, so that its forked children keep to one thread, as torch's data
    loaders do.
    """
    global _used
    _used = True


def _in_child() -> None:
    if _used:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_in_child)
