"""Reading of safetensors that may be a stranger's: numbers and text only, of a size that the file's own bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from ddpmcodec.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

MAX_METADATA_BYTES = 4 << 20  # bytes of JSON before the weights; the largest models known have a tenth of it
_DTYPES = {"F16", "BF16", "F32"}


def read_metadata(path: Path) -> dict[str, str]:
    """Return a file's metadata; its weights stay where they are, and torch is not asked. Raises ModelError."""
    with _opened(path, "np") as file:
        return dict(file.metadata() or {})


def read_file(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a file's metadata and its tensors, all finite floating-point numbers. Raises ModelError."""
    with _opened(path, "pt") as file:
        return dict(file.metadata() or {}), {k: _tensor(path, file, k) for k in file.keys()}  # noqa: SIM118  (not a dict)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Any]:
    try:
        with path.open("rb") as start:
            length = int.from_bytes(start.read(8), "little")
        if length > MAX_METADATA_BYTES:  # parsing takes many times a header's size in memory
            raise ModelError(
                f"{path} is not a readable safetensors file: its header takes {length} bytes, expected at most "
                f"{MAX_METADATA_BYTES}"
            )
        with safe_open(path, kind) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {one_line(error)}") from error


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a metadata entry holds. Raises ModelError."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the model's metadata is not understood: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise ModelError(
            f"the model's metadata is not understood: found {type(values).__name__}, expected a JSON object"
        )
    return values


def printable(text: str) -> str:
    """Return a name fit for terminals, where control characters could do anything."""
    return "".join(c if c.isprintable() else "?" for c in text)


def one_line(error: Exception) -> str:
    """Return what an error says, short and safe to print."""
    return printable(" ".join(str(error).split())[:300])


def _tensor(path: Path, file: Any, name: str) -> Tensor:
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _DTYPES:
        raise ModelError(
            f"{path}: weight {name[:80]!r} is of type {dtype}, expected one of {', '.join(sorted(_DTYPES))}"
        )
    tensor: Tensor = file.get_tensor(name)
    if not bool(tensor.isfinite().all()):
        raise ModelError(f"{path}: weight {name[:80]!r} has values that are no finite numbers: its training diverged")
    return tensor
