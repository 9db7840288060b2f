"""Inner loops of the channel in C (native.c), where they were built: the same integers as numpy's, sooner and without
the GIL.

The environment variable DDPMCODEC_SEARCH chooses: `native`, or `numpy`; unset, native code is used where it is there.
Callers ask `enabled()`, and have numpy do the same where it says no. They answer for shapes and ranges; arrays are
C-contiguous.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError

VARIABLE = "DDPMCODEC_SEARCH"


def enabled() -> bool:
    """Return whether native code runs. Raises DdpmCodecError where DDPMCODEC_SEARCH asks for it in vain, or for
    something else.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "native", "numpy"):
        raise DdpmCodecError(f"{VARIABLE}={wanted!r}: expected native, numpy or nothing")
    if wanted == "native" and _library() is None:
        raise DdpmCodecError(
            f"{VARIABLE}=native, but native code was not built, or does not load here: install again with a C "
            f"compiler (GCC or Clang), or unset {VARIABLE} to search with numpy"
        )
    return wanted != "numpy" and _library() is not None


def built() -> bool:
    """Return whether there is native code for this machine, wanted or not."""
    return _library() is not None


def description() -> str:
    """Say in a few words what runs the search on the CPU."""
    return f"native, {8 * use_vectors()}-bit vectors" if enabled() else "numpy"


def use_vectors(most: int = 32) -> int:
    """Limit the vectors of native code to `most` bytes, for tests; return how many it uses from now on."""
    return int(_loaded().use_vectors(most))


def search(metrics: NDArray[np.int16], memory: int, initial: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Search one code like `viterbi.search`. metrics: (steps, 2^older, 2^newer); initial: (2^memory,) metrics before
    step 0.
    """
    steps, older, newer = len(metrics), metrics.shape[1].bit_length() - 1, metrics.shape[2].bit_length() - 1
    paths, bits = np.empty((2, 1 << memory), np.int16), np.empty(steps, np.uint8)
    paths[:] = initial
    decisions = np.empty(steps << (memory - 4), np.uint16)
    _loaded().search(*_at(metrics), steps, memory, older, newer, *_at(paths, decisions, bits))
    return bits


def branch_metrics(
    y: NDArray[np.int32], taps: NDArray[np.int16], edges: NDArray[np.int64], order: int, scale: float, limit: int
) -> NDArray[np.int16]:
    """Return (steps, 2^order): round(scale * Σ ±y), clipped to ±limit; y and taps: (dims,), edges: (steps + 1,) into
    them.
    """
    metrics = np.empty((len(edges) - 1, 1 << order), np.int16)
    _loaded().branch_metrics(*_at(y, taps, edges), len(metrics), order, scale, limit, *_at(metrics))
    return metrics


def hadamard(x: NDArray[np.int32]) -> None:
    """Transform each row (rows, 2^order), order >= 4, in place by Walsh and Hadamard; sums must fit 32 bits."""
    _loaded().hadamard(*_at(x), len(x), x.shape[1].bit_length() - 1)


def philox(first: int, count: int, rest: tuple[int, int, int], key: int) -> NDArray[np.uint32]:
    """Return the words (count, 4) of the counters (first + i, *rest)."""
    words = np.empty((count, 4), np.uint32)
    _loaded().philox(*_at(words), count, first, *rest, key)
    return words


def _at(*arrays: NDArray[np.generic]) -> list[int]:
    assert all(a.flags.c_contiguous for a in arrays)
    return [a.ctypes.data for a in arrays]


def _loaded() -> ctypes.CDLL:
    library = _library()
    assert library is not None
    return library


@cache
def _library() -> ctypes.CDLL | None:
    """Load what setup.py built beside this file; None where it didn't, or where it was built for another machine."""
    for path in (Path(__file__).with_name("_native" + suffix) for suffix in EXTENSION_SUFFIXES):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        pointer, whole, small, word = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_uint32
        library.search.argtypes = [pointer, whole, small, small, small, pointer, pointer, pointer]
        library.branch_metrics.argtypes = [pointer, pointer, pointer, whole, small, ctypes.c_double, small, pointer]
        library.hadamard.argtypes = [pointer, whole, small]
        library.philox.argtypes = [pointer, whole, ctypes.c_uint64, word, word, word, ctypes.c_uint64]
        library.use_vectors(32)
        for function in (library.search, library.branch_metrics, library.hadamard, library.philox):
            function.restype = None
        return library
    return None
