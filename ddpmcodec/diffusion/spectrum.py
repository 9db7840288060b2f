"""Spectrum of a network's error: how |x_0 - x0_hat|^2 is shared out among colours and spatial frequencies.

The error is far from white: at high noise its variance spans a factor of a thousand, low frequencies of the luminance
first. A prior that knows this needs fewer bits in the same steps, all the more so the larger the steps are. A spectrum
is measured with the error curve on training images and stored beside it, in integers, so that plans and the order of
coefficients are the same everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.axes import OPPONENT, Axes, check_axes, rotation
from ddpmcodec.errors import ModelError
from ddpmcodec.numerics.threads import WORTH_THREADS, workers

Array = NDArray[np.float32]
COLOURS, BANDS, TILE = 3, 32, 32
CLASSES = COLOURS * BANDS
# Equal runs of the coefficients, sorted by power, that share one power: of as few coefficients as the channel mixes.
LEAST_GROUPS, MOST_GROUPS, GROUP_SIZE = 24, 768, 128
SPACING = 1 << 14  # least distance between rows in log-SNR, units of 2^-16
POWER_FRACTION = 16  # fixed-point bits of a group's power
_STEPS = 16  # steps of a stored power to a factor of two
_LIMIT = 255  # largest stored power
_POWERS = (
    65536,
    68438,
    71468,
    74632,
    77936,
    81386,
    84990,
    88752,
    92682,
    96785,
    101070,
    105545,
    110218,
    115098,
    120194,
    125515,
)


@dataclass(frozen=True)
class Spectrum:
    """Mean square error of a coefficient of each class, at some log-SNRs.

    A class is a colour (of OPPONENT, or of `axes`) and a band of radial frequency: colour * 32 + band.
    """

    log_snr: tuple[int, ...]  # (rows,) rising, units of 2^-16
    power: tuple[tuple[int, ...], ...]  # (rows, 32 colours): 16 log2 of it, against any reference of the row
    axes: Axes = ()  # of the colours, as `axes.rotation` reads them

    def __post_init__(self) -> None:
        rising = all(b > a for a, b in zip(self.log_snr, self.log_snr[1:], strict=False))
        if not self.log_snr or len(self.power) != len(self.log_snr) or not rising:
            raise ModelError("the model's spectrum needs a row of powers for each of its rising log-SNRs")
        classes = BANDS * (len(self.axes) or COLOURS)
        if any(len(row) != classes or max(map(abs, row)) > _LIMIT for row in self.power):
            raise ModelError(f"the model's spectrum needs {classes} powers within ±{_LIMIT} in each row")
        check_axes(self.axes, self.channels)

    @property
    def channels(self) -> int:
        """Channels of the pictures it was measured on."""
        return len(self.power[0]) // BANDS

    @classmethod
    def from_floats(
        cls, log_snr: Sequence[int], energy: NDArray[np.float64], counts: NDArray[np.int64], axes: Axes = ()
    ) -> Spectrum:
        """Round a measured spectrum. log_snr: units of 2^-16; energy: (rows, classes) sums of squares over `counts`
        (classes,) coefficients.

        Rows nearer than SPACING to the one before are merged into it. A band that small windows don't have takes its
        neighbour's power. Raises ModelError where no error was measured at all.
        """
        starts = [0]
        for i, level in enumerate(log_snr):
            if level - log_snr[starts[-1]] >= SPACING:
                starts.append(i)
        rows = []
        for first, end in zip(starts, [*starts[1:], len(log_snr)], strict=True):
            mean = energy[first:end].sum(axis=0) / np.maximum(counts, 1)
            there = np.flatnonzero((counts > 0) & (mean > 0))
            if not len(there):
                raise ModelError("the network makes no error that a spectrum could be measured of")
            nearest = there[np.abs(np.arange(len(counts))[:, None] - there).argmin(axis=1)]
            level = np.rint(_STEPS * np.log2(mean[nearest] / mean[there].mean()))
            rows.append(tuple(int(v) for v in np.clip(level, -_LIMIT, _LIMIT)))
        return cls(tuple(log_snr[i] for i in starts), tuple(rows), axes)

    def row(self, log_snr: float) -> tuple[int, ...]:
        """Return the powers at a level, between two rows in proportion, rounded down; the first and last row stand for
        all levels beyond them.
        """
        level = int(min(max(log_snr * 65536, self.log_snr[0]), self.log_snr[-1]))
        i = max(bisect_right(self.log_snr, level) - 1, 0)
        part = level - self.log_snr[i]
        if not part:
            return self.power[i]
        span = self.log_snr[i + 1] - self.log_snr[i]
        each = zip(self.power[i], self.power[i + 1], strict=True)
        return tuple(before + (after - before) * part // span for before, after in each)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a model file has it; what there is none of is left out."""
        return {name: value for name, value in asdict(self).items() if name != "axes" or value}


def tiles(length: int) -> list[tuple[int, int]]:
    """Return (count, size) of the tiles along one side, larger ones first: as near to 32 as equal shares of it
    can be.
    """
    count = max(1, (length + TILE // 2) // TILE)
    size, larger = divmod(length, count)
    return [run for run in ((larger, size + 1), (count - larger, size)) if run[0]]


def transform(x: Array, rotation: Array = OPPONENT) -> Array:
    """Return coefficients in their places, (..., c, h, w) as the planes: rotated colours, tiles, an orthonormal 2-D
    DCT-II of each.
    """
    y = np.einsum("ab,...bhw->...ahw", rotation, x)
    return _in_tiles(_in_tiles(y, own=True).swapaxes(-1, -2), own=True).swapaxes(-1, -2)


def transform_back(y: Array, rotation: Array = OPPONENT, own: bool = False) -> Array:
    """Return the planes of coefficients: the inverse of `transform`. own: y may be written over."""
    x = _in_tiles(_in_tiles(y, back=True, own=own).swapaxes(-1, -2), back=True, own=True).swapaxes(-1, -2)
    return np.einsum("ab,...ahw->...bhw", rotation, x)  # type: ignore[no-any-return]


def _in_tiles(x: Array, back: bool = False, own: bool = False) -> Array:
    """Transform each tile along the last axis. own: x may be written over."""
    from scipy.fft import dct, idct  # a third of a second to load, which models without a spectrum need not

    function, parts, start = idct if back else dct, [], 0
    threads = workers() if x.size >= WORTH_THREADS else 1
    for count, size in tiles(x.shape[-1]):
        part = x[..., start : start + count * size]
        parts.append(
            function(
                part.reshape(*part.shape[:-1], count, size), norm="ortho", overwrite_x=own, workers=threads
            ).reshape(part.shape)
        )
        start += count * size
    return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


@lru_cache(maxsize=8)
def bands(height: int, width: int) -> NDArray[np.uint8]:
    """Return the band (height, width) of each coefficient, 32 up to Nyquist's; the last has the corners, too."""

    def frequencies(length: int) -> NDArray[np.int64]:
        return np.concatenate(
            [np.tile((np.arange(size, dtype=np.int64) << 20) // size, n) for n, size in tiles(length)]
        )

    y, x = frequencies(height), frequencies(width)
    radius = np.array([isqrt(k) for k in range(2 * BANDS * BANDS)], np.uint8)  # roots in whole numbers throughout
    band: NDArray[np.uint8] = np.minimum(radius[(y[:, None] ** 2 + x**2) >> 30], BANDS - 1).astype(np.uint8)
    return band


@lru_cache(maxsize=8)
def class_counts(height: int, width: int, colours: int = COLOURS) -> NDArray[np.int64]:
    """Return how many coefficients each class has, (32 colours,)."""
    return np.tile(np.bincount(bands(height, width).ravel(), minlength=BANDS), colours)


def band_covariances(error: Array) -> NDArray[np.float64]:
    """Return the sums (32, c, c) over each band's coefficients of products of two channels, of errors (n, c, h, w)."""
    height, width, channels = *error.shape[2:], error.shape[1]
    coefficients = transform(error, np.eye(channels, dtype=np.float32)).astype(np.float64)
    band, sums = bands(height, width).ravel(), np.empty((BANDS, channels, channels))
    for a in range(channels):
        for b in range(a + 1):
            products = (coefficients[:, a] * coefficients[:, b]).sum(axis=0).ravel()
            sums[:, a, b] = sums[:, b, a] = np.bincount(band, products, BANDS)
    return sums


def by_class(covariances: NDArray[np.float64], axes: Axes) -> NDArray[np.float64]:
    """Return the sums of squares (rows, classes) along axes, of what `band_covariances` returns: (rows, 32, c, c)."""
    along = rotation(axes).astype(np.float64)
    energy = np.einsum("ax,rbxy,ay->rab", along, covariances, along)
    return np.maximum(energy, 0).reshape(len(energy), -1)


def by_power(row: tuple[int, ...]) -> list[int]:
    """Return the classes, strongest first; ties to the lower class."""
    return sorted(range(len(row)), key=lambda c: (-row[c], c))


def group_count(dims: int) -> int:
    """Return how many groups pictures of `dims` values have: 24 at 32×32, and at most 768."""
    return min(max(dims // GROUP_SIZE, LEAST_GROUPS), MOST_GROUPS)


def group_edges(dims: int) -> list[int]:
    """Return where each run (groups + 1,) of the sorted coefficients begins, and the end."""
    count = group_count(dims)
    return [g * dims // count for g in range(count + 1)]


@lru_cache(maxsize=256)
def group_power(row: tuple[int, ...], height: int, width: int) -> tuple[int, ...]:
    """Return the power (groups,) of a coefficient of each group over that of all, units of 2^-16; falls. ModelError
    for a tiny canvas.
    """
    colours = len(row) // BANDS
    if colours * height * width < LEAST_GROUPS:
        raise ModelError(
            f"a model with a spectrum has a window of {width}x{height}: expected at least {LEAST_GROUPS} sub-pixels"
        )
    counts = class_counts(height, width, colours)
    edges = group_edges(colours * height * width)
    groups = len(edges) - 1
    total, place, group, sums = 0, 0, 0, [0] * groups
    for c in by_power(row):
        power = _POWERS[row[c] % _STEPS] << (row[c] // _STEPS + _STEPS)
        left = int(counts[c])
        total += power * left
        while left:
            taken = min(left, edges[group + 1] - place)
            sums[group] += power * taken
            place, left = place + taken, left - taken
            group += place == edges[group + 1] and group < groups - 1
    sizes = (b - a for a, b in zip(edges, edges[1:], strict=False))
    return tuple((s * edges[-1] << POWER_FRACTION) // (total * size) for s, size in zip(sums, sizes, strict=True))
