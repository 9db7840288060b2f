"""Failures of the machine rather than of the program, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ddpmcodec.errors import TrainingError
from ddpmcodec.models.memory import is_out_of_memory


class LocalError(TrainingError):
    """Failure of one process among several, so that it has to report it itself."""

    local = True


@contextmanager
def explained(compiled: bool = False) -> Iterator[None]:
    """Turn memory that runs out, and a torch.compile that can't, into TrainingErrors.

    compiled: the block runs a network that torch.compile made.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise _no_memory(error) from error
        if compiled and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise LocalError(
                f"torch.compile can't compile the network here: {_first_line(error)}; it needs a C++ "
                "compiler and Python's headers; leave out --compile"
            ) from error
        raise


def _no_memory(error: BaseException) -> LocalError:
    return LocalError(
        f"out of memory: {_first_line(error)}; a smaller --batch needs less, as does --bf16 on a "
        "GPU; the last checkpoint, if there is one, is kept"
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
