"""Errors that a caller can act on. Each message says what was found, what was expected and what to do."""

from __future__ import annotations

from typing import Any


class DdpmCodecError(ValueError):
    """Base of every error this package raises on bad input."""


class ImageError(DdpmCodecError):
    """Image that can't be coded as it is: wrong type, depth, mode or size."""


class ModelError(DdpmCodecError):
    """Model that can't be found, read or used."""


class UnknownModelError(ModelError):
    """Model that a file names and that is in none of the places where models are looked for."""


class FormatError(DdpmCodecError):
    """Bytes that aren't a ddpmcodec stream this version understands, or don't pass their check."""


class TruncatedStreamError(FormatError):
    """Stream that ends before its last step; `intact_steps` whole steps can be decoded."""

    def __init__(self, message: str, intact_steps: int):
        super().__init__(message)
        self.intact_steps = intact_steps

    def __reduce__(self) -> tuple[Any, ...]:  # or pickle would call it without the number, and a pool of processes hang
        return type(self), (str(self), self.intact_steps), self.__dict__


class TruncatedArchiveError(FormatError):
    """Archive that is cut or damaged; the first `intact_pictures` lie wholly in what is there."""

    def __init__(self, message: str, intact_pictures: int):
        super().__init__(message)
        self.intact_pictures = intact_pictures

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.intact_pictures), self.__dict__


class TrainingError(DdpmCodecError):
    """Training that can't start or go on: bad settings or data, a full disk, a loss that is no number."""
