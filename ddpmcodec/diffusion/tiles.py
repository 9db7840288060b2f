"""Tiles, for a network that takes any size: whole pictures, and tiles with a halo where one would take too much memory.

The network is the same function of a neighbourhood everywhere, so tiles need no blending: what each predicts for its
own part is what the whole picture's pass would, but for what lies farther away than the halo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]
AT_A_TIME = 1 << 20  # pixels in the network at once, halo included: about half a gigabyte
# Pixels around a tile that its prediction sees, from each log-SNR on: the less noise, the nearer is all that matters.
# Of `photo-small`, cuts move x̂_0 by a level at most, from 4.5 on by nothing, and nowhere its squared error by 1e-4.
HALOS = ((-math.inf, 96), (1.0, 64), (4.5, 32))


def in_tiles(predict: Callable[[Tensor, float], Tensor], x_t: Array, log_snr: float, multiple: int) -> Array:
    """Return ε̂ of x_t (n, c, h, w), float32 like it; `predict` takes pictures whose sides are multiples of `multiple`.

    Other sides are extended by mirrored rows and columns.
    """
    n, _, height, width = x_t.shape
    more = [(0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)]
    padded = np.pad(x_t, more, mode="symmetric") if any(b for _, b in more) else x_t
    eps = np.empty_like(padded)
    pixels = padded.shape[2] * padded.shape[3]
    if pixels <= AT_A_TIME:
        count = max(1, AT_A_TIME // pixels)
        for first in range(0, n, count):
            part = np.array(padded[first : first + count])  # a copy: what callers give may be read-only
            eps[first : first + count] = predict(torch.from_numpy(part), log_snr).cpu().numpy()
    else:
        halo = _halo(log_snr, multiple)
        for rows, seen_rows in _spans(padded.shape[2], multiple, halo):
            for columns, seen_columns in _spans(padded.shape[3], multiple, halo):
                own = slice(rows.start - seen_rows.start, rows.stop - seen_rows.start)
                across = slice(columns.start - seen_columns.start, columns.stop - seen_columns.start)
                for i in range(n):
                    seen = np.array(padded[i : i + 1, :, seen_rows, seen_columns])
                    found = predict(torch.from_numpy(seen), log_snr).cpu().numpy()
                    eps[i, :, rows, columns] = found[0, :, own, across]
    return np.ascontiguousarray(eps[:, :, :height, :width])


def _halo(log_snr: float, multiple: int) -> int:
    """Return the halo at a level, in whole multiples."""
    pixels = next(halo for start, halo in reversed(HALOS) if start <= log_snr)
    return -(-pixels // multiple) * multiple


def _spans(length: int, multiple: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Return the parts of one side, about equal, and what each sees; all begin and end at multiples."""
    longest = max(multiple, (int(AT_A_TIME**0.5) - 2 * halo) // multiple * multiple)
    units, count = length // multiple, -(-length // longest)
    edges = [units * i // count * multiple for i in range(count + 1)]
    for start, stop in zip(edges, edges[1:], strict=False):
        yield slice(start, stop), slice(max(0, start - halo), min(length, stop + halo))
