"""Ways in which `determinism` decodes one stream: each a context that gives the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ddpmcodec.models import CodecModel, EpsModel, load_model, load_network

BATCH = 64
# Instruction sets of CPUs from before AVX, asked of torch, oneDNN, MKL, OpenBLAS and numpy.
OLD_CPU = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL",
}


class Skipped(Exception):
    """Way that this machine does not have."""


Way = Callable[[], AbstractContextManager[CodecModel]]


@contextmanager
def setting(get: Callable[[], Any], put: Callable[[Any], None], value: Any) -> Iterator[CodecModel]:
    """Give the model under a setting of the whole process, which is put back."""
    before = get()
    put(value)
    try:
        yield load_model()
    finally:
        put(before)


@contextmanager
def plain() -> Iterator[CodecModel]:
    yield load_model()


@contextmanager
def network(change: Callable[[torch.nn.Module], EpsModel]) -> Iterator[CodecModel]:
    """Give the model with its network run another way."""
    yield replace(load_model(), eps_model=change(load_network()[0]))


def channels_last(net: torch.nn.Module) -> torch.nn.Module:
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def in_float64(net: torch.nn.Module) -> EpsModel:
    net.double()

    def eps_model(x_t: Tensor, log_snr: Tensor) -> Tensor:
        return net(x_t.double(), log_snr.double()).float()  # type: ignore[no-any-return]

    return eps_model


def compiled(net: torch.nn.Module) -> EpsModel:
    fast = torch.compile(channels_last(net))
    try:
        with torch.inference_mode():
            fast(torch.zeros(1, 3, 32, 32), torch.zeros(1))
    except Exception as error:  # any kind: no compiler, no Python headers
        raise Skipped(f"torch.compile does not work here: {str(error).splitlines()[0][:100]}") from error
    return fast  # type: ignore[no-any-return]


@contextmanager
def autocast() -> Iterator[CodecModel]:
    with torch.autocast("cpu", torch.bfloat16):
        yield load_model()


@contextmanager
def careless(device: str) -> Iterator[CodecModel]:
    """Give the model on a device whose caller allows TF32 and computes under autocast, as many programs do."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            yield load_model(device=device)
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def cuda() -> Iterator[CodecModel]:
    if not torch.cuda.is_available():
        raise Skipped("no GPU here")
    with careless("cuda") as model:
        yield model


def _set_onednn(enabled: bool) -> None:
    torch.backends.mkldnn.enabled = enabled  # type: ignore[assignment]


def _onednn_is_on() -> bool:
    return bool(torch.backends.mkldnn.enabled)


THREADS = torch.get_num_threads, torch.set_num_threads
BATCHED, COMPILED, GPU = f"batch of {BATCH}", "torch.compile", "GPU, caller: TF32 and autocast"
SLOW = {BATCHED, COMPILED}  # run on the first two streams only: the others are batches of windows already
WAYS: dict[str, Way] = {
    "the same again": plain,
    "2 threads": lambda: setting(*THREADS, 2),
    "eager instead of frozen": lambda: network(channels_last),
    "eager, not channels_last": lambda: network(lambda net: net),
    COMPILED: lambda: network(compiled),
    "network in float64": lambda: network(in_float64),
    "oneDNN off": lambda: setting(_onednn_is_on, _set_onednn, False),
    BATCHED: plain,
    "caller: bfloat16 autocast": autocast,
    "caller: matmul precision medium": lambda: setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "caller: default dtype float64": lambda: setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    GPU: cuda,
}
PROCESSES = {"another process, a CPU without AVX": OLD_CPU}
