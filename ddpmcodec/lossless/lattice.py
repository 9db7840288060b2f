"""Lattices: in which order sub-pixels are coded, and what is known of the neighbours when one's turn comes.

Twelve groups: four interleaved lattices of pixels, (even, even), (odd, odd), (even, odd), (odd, even), and in each
green, red, blue. A group's members don't depend on each other, so a whole group is coded at once, and its contexts are
array arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RADIUS = 2  # contexts have neighbours up to two pixels away
_PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))
GREEN = 1
_COLOURS = (GREEN, 0, 2)
_OFFSETS = tuple(
    (c, dy, dx) for c in range(3) for dy in range(-RADIUS, RADIUS + 1) for dx in range(-RADIUS, RADIUS + 1)
)
CHUNK = 1 << 14  # positions whose contexts are held at a time


@dataclass(frozen=True)
class Group:
    """Sub-pixels of one colour on one lattice. `known`: neighbours (colour, dy, dx) that earlier groups have coded."""

    colour: int
    row: int
    column: int
    known: tuple[tuple[int, int, int], ...]

    @property
    def around(self) -> tuple[tuple[int, int, int], ...]:
        """Return the neighbours in every colour, all but the sub-pixel itself: where the prediction is known."""
        return tuple(o for o in _OFFSETS if o != (self.colour, 0, 0))

    def shape(self, height: int, width: int) -> tuple[int, int]:
        return (height - self.row + 1) // 2, (width - self.column + 1) // 2

    def of(self, planes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the group's members in (3, h, w): a view."""
        return planes[self.colour, self.row :: 2, self.column :: 2]


@cache
def groups() -> tuple[Group, ...]:
    done: set[tuple[int, int, int]] = set()
    found = []
    for row, column in _PHASES:
        for colour in _COLOURS:
            known = tuple((c, dy, dx) for c, dy, dx in _OFFSETS if (c, (row + dy) % 2, (column + dx) % 2) in done)
            found.append(Group(colour, row, column, known))
            done.add((colour, row, column))
    return tuple(found)


def bands(group: Group, height: int, width: int) -> Iterator[slice]:
    """Yield the group's rows in bands of at most CHUNK members, a row at least."""
    rows, columns = group.shape(height, width)
    step = max(1, CHUNK // max(columns, 1))
    for first in range(0, rows if columns else 0, step):
        yield slice(first, min(first + step, rows))


def neighbours(
    padded: NDArray[np.int64], group: Group, offsets: tuple[tuple[int, int, int], ...], band: slice, columns: int
) -> NDArray[np.int64]:
    """Return values (members of the band, len(offsets)): `padded` is (3, h, w) with RADIUS more on every side."""
    count = band.stop - band.start
    out = np.empty((count, columns, len(offsets)), np.int64)
    for k, (c, dy, dx) in enumerate(offsets):
        top, left = RADIUS + group.row + dy + 2 * band.start, RADIUS + group.column + dx
        out[:, :, k] = padded[c, top : top + 2 * count - 1 : 2, left : left + 2 * columns - 1 : 2]
    return out.reshape(count * columns, len(offsets))
