"""Training batches as a pure function of (seed, step): no state, so a resumed run sees what an uninterrupted one would."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import TrainingError


class TrainingImages:
    """Pictures of any size, at least the window; a batch takes a random crop of each and flips half of them.

    images: (n, h, w, 3) uint8, or a sequence of (h, w, 3) of several sizes. Raises TrainingError when there is none, or one is
    too small.
    """

    def __init__(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], window: int, seed: int):
        self.images, self.window, self.seed = images, window, seed
        if not len(images):
            raise TrainingError("no training images: expected at least one")
        for i, image in enumerate(images[:1] if isinstance(images, np.ndarray) else images):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < window:
                found = f"{'x'.join(map(str, image.shape))} {image.dtype}"
                raise TrainingError(f"training image {i} is {found}: expected uint8 RGB of at least {window}x{window}")

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, step: int, size: int, part: slice = slice(None)) -> NDArray[np.uint8]:
        """(size, window, window, 3), or the given part of it: each pass over the images is a new permutation, and batches
        run on across passes.
        """
        random = _generator(self.seed, 1, step)
        place = random.random((size, 2))
        flip = random.random(size) < 0.5
        wanted = range(size)[part]
        batch = np.empty((len(wanted), self.window, self.window, 3), np.uint8)
        for row, j in enumerate(wanted):
            epoch, i = divmod(step * size + j, len(self.images))
            image = self.images[_permutation(self.seed, epoch, len(self.images))[i]]
            top, left = (int(p * (side - self.window + 1)) for p, side in zip(place[j], image.shape, strict=False))
            crop = image[top : top + self.window, left : left + self.window]
            batch[row] = crop[:, ::-1] if flip[j] else crop
        return batch


def mixed_seed(*numbers: int) -> int:
    """A 63-bit seed from non-negative numbers; other numbers give, all but surely, another seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _generator(seed: int, purpose: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, purpose, index))))


@lru_cache(maxsize=2)  # a batch touches two passes at most, unless there are very few images
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return _generator(seed, 2, epoch).permutation(count)
