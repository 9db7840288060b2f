"""Arguments and results: numbers of any type, flags, texts, bytes, lists; arrays to be looked at, not written to."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError

Scalar = TypeVar("Scalar", bound=np.generic)


def whole(value: Any, what: str) -> int:
    """Return a whole number, numpy's and the like included, as Python's. what: its name. Raises DdpmCodecError."""
    try:
        if not isinstance(value, bool):  # which counts as 0 or 1, and is a flag at a wrong place
            return operator.index(value)
    except TypeError:
        pass
    raise DdpmCodecError(f"{what} {value!r}: expected a whole number")


def whole_or_none(value: Any, what: str) -> int | None:
    """Return None as it is, and anything else as `whole` does."""
    return None if value is None else whole(value, what)


def number_or_none(value: Any, what: str) -> float | None:
    """Return None as it is, and a real number, numpy's and the like included, as Python's. what: its name. Raises
    DdpmCodecError.
    """
    if value is None:
        return None
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # a whole number of hundreds of digits
            pass
    raise DdpmCodecError(f"{what} {value!r}: expected a number")


def number(value: Any, what: str) -> float:
    """Return a real number like `number_or_none`; None is none. what: its name. Raises DdpmCodecError."""
    found = number_or_none(value, what)
    if found is None:
        raise DdpmCodecError(f"{what} None: expected a number")
    return found


def flag(value: Any, what: str) -> bool:
    """Return True or False, numpy's included, as Python's. what: its name. Raises DdpmCodecError."""
    if not isinstance(value, bool | np.bool_):
        raise DdpmCodecError(f"{what} {value!r}: expected True or False")
    return bool(value)


def text(value: Any, what: str) -> str:
    """Return a text as it is. what: its name. Raises DdpmCodecError for anything else."""
    if not isinstance(value, str):
        raise DdpmCodecError(f"{what} {value!r}: expected a text")
    return value


def one_by_one(values: Any, what: str) -> Iterator[Any]:
    """Return the members of a list, an array or an iterator. what: their name. Raises DdpmCodecError for anything else,
    a text and bytes included, for it is one of them and no list.
    """
    try:
        if not isinstance(values, str | bytes | bytearray | memoryview | Mapping):
            return iter(values)
    except TypeError:
        pass
    raise DdpmCodecError(f"{what} of type {type(values).__name__}: expected a list")


def several(values: Any, what: str) -> list[Any]:
    """Return the members like `one_by_one`, as a list."""
    return list(one_by_one(values, what))


def octets(data: Any) -> bytes:
    """Return the bytes of anything that holds bytes. Raises DdpmCodecError for what doesn't, such as a file's name."""
    try:
        return bytes(memoryview(data))
    except TypeError as error:
        raise DdpmCodecError(
            f"a stream of type {type(data).__name__}: expected bytes; of a file give what it holds"
        ) from error


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a view of an array that can't be written to; whoever holds the array itself still can."""
    view = array.view()
    view.flags.writeable = False
    return view
