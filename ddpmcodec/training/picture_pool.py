"""Pictures to take crops of, more of them than fit in memory."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import TrainingError


class PicturePool(Sequence[NDArray[np.uint8]]):
    """Pictures of any size, each decoded once: in memory while they are few, else in a temporary file mapped into it.

    pictures: each (h, w, 3) uint8; they come back read-only. in_memory: bytes, beyond which the file is made, where
    `tempfile` makes its own ($TMPDIR). It has no name and is gone with the process. Raises TrainingError where it finds
    no room.
    """

    def __init__(self, pictures: Iterable[NDArray[np.uint8]], in_memory: int = 1 << 28):
        self._places: list[tuple[int, tuple[int, ...]]] = []
        end = 0
        self._file = tempfile.SpooledTemporaryFile(in_memory)  # noqa: SIM115  (as long as the pool)
        for picture in pictures:
            self._places.append((end, picture.shape))
            end += picture.nbytes
            try:
                self._file.write(picture.tobytes())
                self._file.flush()  # so that a full disk is found here
            except OSError as error:
                with suppress(OSError):  # it writes what it still holds, once more
                    self._file.close()
                raise TrainingError(
                    f"{len(self._places)} pictures are {end} bytes decoded, and can't be kept in "
                    f"{tempfile.gettempdir()} ({error.strerror or error}): set "
                    "TMPDIR to a folder with room for all of them"
                ) from error
        self._file.seek(0)
        mapped = end > in_memory
        self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else self._file.read()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def values(self) -> NDArray[np.uint8]:
        """Return all pictures' values, one after another; read-only."""
        return np.frombuffer(self._bytes, np.uint8)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        start, shape = self._places[index]
        return np.frombuffer(self._bytes, np.uint8, int(np.prod(shape)), start).reshape(shape)
