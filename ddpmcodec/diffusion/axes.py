"""Axes along which a picture's channels are decorrelated: colours of photographs, or any channels, as measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import ModelError

Axes = tuple[tuple[int, ...], ...]  # a rotation's rows, units of 2^-20
AXES_FRACTION = 20  # fixed-point bits; rounding leaves rows orthonormal to a millionth
MAX_CHANNELS = 64

# Rows: luminance, red - blue, green - magenta; the decorrelating rotation of natural pictures' colours, nearly.
OPPONENT = (np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])).astype(np.float32)


def principal_axes(covariance: NDArray[np.float64]) -> Axes:
    """Return the principal axes of a covariance (c, c), the strongest first; each points to where its largest part is
    positive.
    """
    _, vectors = np.linalg.eigh(covariance)  # weakest first, in columns
    rows = vectors.T[::-1]
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    return tuple(tuple(int(v) for v in row) for row in np.rint(rows * np.sign(largest)[:, None] * 2.0**AXES_FRACTION))


def rotation(axes: Axes) -> NDArray[np.float32]:
    """Return the rotation (c, c) that axes store; of none, that to opponent colours."""
    return (np.array(axes, np.float64) / 2.0**AXES_FRACTION).astype(np.float32) if axes else OPPONENT


def check_axes(axes: Axes, channels: int) -> None:
    """Raise ModelError unless the axes are a rotation of `channels` channels, to a thousandth."""
    if not 1 <= channels <= MAX_CHANNELS or (not axes and channels != 3):
        raise ModelError(f"the model's spectrum has {channels} channels: expected 3, or axes for 1 to {MAX_CHANNELS}")
    if axes:
        rows = np.array(axes, np.float64) if {len(row) for row in axes} == {channels} else np.zeros((0, channels))
        if rows.shape != (channels, channels) or np.abs(rows).max() > 2 << AXES_FRACTION:
            raise ModelError(f"the model's spectrum has axes that are no rotation of {channels} channels")
        rows /= 2.0**AXES_FRACTION
        if np.abs(rows @ rows.T - np.eye(channels)).max() > 1e-3:
            raise ModelError(f"the model's spectrum has axes that are no rotation of {channels} channels")
