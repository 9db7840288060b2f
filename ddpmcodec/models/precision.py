"""Plain float32 where sender and receiver compute: reduced precision would make the picture depend on the machine.

Autocast belongs to a thread, and is switched off in it. TF32 and bfloat16 products belong to the whole process: they
are switched off while any thread computes, and put back exactly as they were when the last one is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch

_lock = threading.Lock()
_inside = 0  # threads that compute
_undo: list[Callable[[], None]] = []  # what the first of them changed, in order

# Where torch 2.9 and later keep the precision of float32 products, parents first: what is not set takes its parent's.
_PARENTS = [("generic", "all"), ("cuda", "all"), ("mkldnn", "all")]
_OPERATIONS = [("cuda", "matmul"), ("cuda", "conv"), ("mkldnn", "matmul"), ("mkldnn", "conv")]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in plain float32 on `device`: no autocast, no TF32, no bfloat16 products. The caller's settings are
    put back afterwards.
    """
    global _inside
    with _no_autocast(device.type):
        with _lock:
            if not _inside:
                try:
                    _switch_off()
                except BaseException:
                    _put_back()
                    raise
            _inside += 1
        try:
            yield
        finally:
            with _lock:
                _inside -= 1
                if not _inside:
                    _put_back()


def _no_autocast(kind: str) -> AbstractContextManager[object]:
    try:
        return torch.autocast(kind, enabled=False)
    except RuntimeError:  # a kind of device that has none
        return nullcontext()


def _put_back() -> None:
    """Undo what was changed, the last first; what can't be undone doesn't keep the rest from it."""
    with ExitStack() as stack:
        for undo in _undo:
            stack.callback(undo)
        _undo.clear()


def _switch_off() -> None:
    """Change only what has to be changed, so that all else stays as the caller left it, set or not."""
    has_cuda = bool(torch.backends.cuda.is_built())  # type: ignore[no-untyped-call]
    try:
        precision = torch.get_float32_matmul_precision()
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
            _undo.append(lambda: torch.set_float32_matmul_precision(precision))
    except RuntimeError:  # the caller uses the newer settings
        pass
    try:
        if has_cuda and torch.backends.cudnn.allow_tf32:
            _allow_tf32(False)
            _undo.append(lambda: _allow_tf32(True))
    except RuntimeError:
        pass
    get, put = (getattr(torch._C, f"_{verb}_fp32_precision_{verb}ter", None) for verb in ("get", "set"))
    if get is None or put is None:
        return
    relevant = [(b, o) for b, o in _OPERATIONS if has_cuda or b != "cuda"]
    for backend, operation in [*_PARENTS, *relevant]:
        if all(get(*name) in ("none", "ieee") for name in relevant):
            return
        # With its parents at ieee already, what an entry shows otherwise is its own value.
        value = get(backend, operation)
        if value != "ieee":
            put(backend, operation, "ieee")
            _undo.append(_putting(put, backend, operation, value))


def _putting(put: Callable[[str, str, str], None], backend: str, operation: str, value: str) -> Callable[[], None]:
    return lambda: put(backend, operation, value)


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
