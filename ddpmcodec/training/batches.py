"""Training crops as a pure function of (seed, step): no state, so a resumed run sees what an uninterrupted one would.

Which picture, where, and whether mirrored is drawn on the host, a few numbers a crop; the pictures lie on the training
device as bytes, and are cut and flipped there.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.errors import TrainingError
from ddpmcodec.training.picture_pool import PicturePool

_DIGEST_VALUES = 1 << 20  # values sampled for a digest


class TrainingImages:
    """Pictures of any size, at least the window; a batch takes a random crop of each and flips half of them.

    images: (n, h, w, 3) uint8, or a sequence of (h, w, 3) of several sizes. Raises TrainingError when there is none, or
    one is too small. device: where their bytes are kept and crops are made.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        window: int,
        seed: int,
        device: torch.device | None = None,
    ):
        self.window, self.seed = window, seed
        if not len(images):
            raise TrainingError("no training images: expected at least one")
        alike = isinstance(images, np.ndarray)
        for i, image in enumerate(images[:1] if alike else images):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < window:
                found = f"{'x'.join(map(str, image.shape))} {image.dtype}"
                raise TrainingError(f"training image {i} is {found}: expected uint8 RGB of at least {window}x{window}")
        sides = [images.shape[1:3]] * len(images) if isinstance(images, np.ndarray) else [p.shape[:2] for p in images]
        self._sides = np.array(sides, np.int64)  # (n, 2) height, width
        start = np.concatenate([[0], 3 * self._sides.prod(axis=1).cumsum()[:-1]])
        if isinstance(images, PicturePool):
            values = images.values
        elif isinstance(images, np.ndarray):
            values = images.reshape(-1)
        else:
            values = np.concatenate([np.ascontiguousarray(image).reshape(-1) for image in images])
        device = device or torch.device("cpu")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nothing writes to it
            self._values = torch.from_numpy(values).to(device)
        self._start, self._width = (torch.from_numpy(a.copy()).to(device) for a in (start, self._sides[:, 1]))

        self.digest = _digest(self._sides, values)

    def __len__(self) -> int:
        return len(self._sides)

    def count(self, side: int) -> int:
        """Return how many pictures a side x side crop can be taken of."""
        return len(self._of_at_least(side))

    def picks(self, step: int, size: int, side: int, stream: int = 0, part: slice = slice(None)) -> NDArray[np.int64]:
        """Return (n, 4): picture, top, left and mirrored for each crop of a step's batch of `size`, or for the given
        part of it.

        Each pass over the pictures large enough is a new permutation, and batches run on across passes. Streams of one
        step are independent of one another. Raises TrainingError when no picture is large enough.
        """
        able = self._of_at_least(side)
        if not len(able):
            raise TrainingError(f"no training image is {side}x{side} or larger: views this large need larger pictures")
        random = _generator(self.seed, 1, step, stream)
        place, flip = random.random((size, 2)), random.random(size) < 0.5
        epoch, i = np.divmod(step * size + np.arange(size), len(able))
        picture = np.empty(size, np.int64)
        for e in np.unique(epoch):
            now = epoch == e
            picture[now] = able[_permutation(self.seed, int(e), len(able), stream)[i[now]]]
        corner = (place * (self._sides[picture] - side + 1)).astype(np.int64)
        return np.column_stack([picture, corner, flip])[part]

    def crops(self, picks: Tensor, side: int) -> Tensor:
        """Return the crops (n, side, side, 3) uint8 that `picks` on the device name."""
        picture, top, left, flip = picks.unbind(1)
        along = torch.arange(side, device=picks.device)
        columns = left[:, None] + torch.where(flip[:, None] > 0, side - 1 - along, along)
        rows = (top[:, None] + along) * self._width[picture][:, None]
        places = self._start[picture][:, None, None] + 3 * (rows[:, :, None] + columns[:, None, :])
        return self._values[places[..., None] + torch.arange(3, device=picks.device)]

    def batch(self, step: int, size: int, part: slice = slice(None)) -> NDArray[np.uint8]:
        """Return a step's crops of the window's size, (n, window, window, 3), or the given part of them."""
        picks = torch.from_numpy(self.picks(step, size, self.window, part=part)).to(self._values.device)
        return self.crops(picks, self.window).cpu().numpy()

    @lru_cache(maxsize=8)  # noqa: B019  (pictures live as long as a run)
    def _of_at_least(self, side: int) -> NDArray[np.int64]:
        return np.flatnonzero((self._sides >= side).all(axis=1))


def mixed_seed(*numbers: int) -> int:
    """Return a 63-bit seed from non-negative numbers; other numbers give, all but surely, another seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _generator(seed: int, purpose: int, index: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, purpose, index, stream))))


@lru_cache(maxsize=16)  # a batch touches two passes at most, unless there are very few images; one for each stream
def _permutation(seed: int, epoch: int, count: int, stream: int) -> NDArray[np.int64]:
    return _generator(seed, 2, epoch, stream).permutation(count)


def _digest(sides: NDArray[np.int64], values: NDArray[np.uint8]) -> str:
    """Return hexadecimal digits that tell these pictures from others, by number, sizes, order and a sample of their
    values.

    Copies of the files on another machine, under other names and dates, have the same one.
    """
    sample = values[:: max(1, values.size // _DIGEST_VALUES)]
    return hashlib.sha256(sides.astype("<i8").tobytes() + np.ascontiguousarray(sample).tobytes()).hexdigest()[:32]
