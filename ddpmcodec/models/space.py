"""Space that the chain runs on, seen from pictures: their own pixels, or an autoencoder's latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import ImageError, ModelError

Array = NDArray[np.float32]


@runtime_checkable
class Space(Protocol):
    """Way from pictures to x_0, and back."""

    @property
    def factor(self) -> int:
        """Pixels along a side for each value."""
        ...

    @property
    def lossless(self) -> str:
        """Why x̂_0 can't be followed by the exact picture; "" where it can."""
        ...

    @property
    def has_colours(self) -> bool:
        """Return whether channels are colours, which are equal in a grey picture."""
        ...

    def of_pictures(self, planes: Array) -> Array:
        """Return x_0 (n, c, ⌈h/factor⌉, ⌈w/factor⌉) of pictures (n, 3, h, w) on [-1, 1]. Raises ImageError."""
        ...

    def to_pictures(self, x_0: Array, height: int, width: int) -> Array:
        """Return the pictures (n, 3, height, width) on [-1, 1] in the top left of x_0, (n, c, canvas)."""
        ...


@dataclass(frozen=True)
class Pixels:
    """Pixels of three colours, or of one: grey pictures."""

    channels: int = 3
    factor: int = 1
    lossless: str = ""
    has_colours: bool = True

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ModelError(f"a model of {self.channels} channels: expected 3, or 1 for grey pictures")

    def of_pictures(self, planes: Array) -> Array:
        if self.channels == 1 and not (planes == planes[:, :1]).all():
            raise ImageError("a picture in colours, and a model of grey ones: make it grey, or take another model")
        return planes[:, : self.channels]

    def to_pictures(self, x_0: Array, height: int, width: int) -> Array:
        planes = x_0[:, :, :height, :width]
        return planes if self.channels == 3 else np.repeat(planes, 3, axis=1)
