"""Memory that runs out: how the libraries below say so."""

from __future__ import annotations

import errno

import torch

_ERRORS: tuple[type[BaseException], ...] = (
    MemoryError,  # numpy's, and Python's own
    getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError),
)
_ALLOCATOR = ("out of memory", "can't allocate memory", "not enough memory")  # how CPU allocators and drivers put it


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory has run out, on the machine or on its accelerator."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, _ERRORS) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATOR)
    )
