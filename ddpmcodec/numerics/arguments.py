"""Arguments and results: whole numbers of any type, and arrays that can be looked at and not written to."""

from __future__ import annotations

import operator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError

Scalar = TypeVar("Scalar", bound=np.generic)


def whole(value: Any, what: str) -> int:
    """Return a whole number, numpy's and the like included, as Python's. what: its name. Raises DdpmCodecError."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise DdpmCodecError(f"{what} {value!r}: expected a whole number") from error


def whole_or_none(value: Any, what: str) -> int | None:
    """Return None as it is, and anything else as `whole` does."""
    return None if value is None else whole(value, what)


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a view of an array that can't be written to; whoever holds the array itself still can."""
    view = array.view()
    view.flags.writeable = False
    return view
