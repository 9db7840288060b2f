"""Memory that runs out: how the libraries below say so. Loads none of them."""

from __future__ import annotations

import errno
import sys

# How allocators of CPUs, drivers, threads and the loader of libraries put it.
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "could not create a primitive",  # oneDNN
    "can't start new thread",
    "failed to map segment from shared object",
)
_NO_RIGHT = "operation not permitted"  # to run what lies there, which isn't memory's fault


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or what it was raised from, means that memory has run out, on the machine or on its
    accelerator.
    """
    if error.__cause__ is not None and is_out_of_memory(error.__cause__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    torch = sys.modules.get("torch")
    if isinstance(error, (MemoryError, getattr(torch, "OutOfMemoryError", MemoryError))):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | ImportError) and any(w in said for w in _WORDS) and _NO_RIGHT not in said
