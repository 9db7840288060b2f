"""Range coding by constriction: symbols in and out, the bytes that are final, and the fewest that seal the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.numerics.symbol_model import SymbolModel

_GUARD = np.zeros(6, np.int32)  # 96 bits of each value bracket whatever the encoder may still write
_WORD = SymbolModel(6, 1 << 16)


def encode(encoder: Any, symbol_models: Sequence[SymbolModel], symbols: NDArray[np.int32]) -> None:
    start = 0
    for symbol_model in symbol_models:
        part = np.ascontiguousarray(symbols[start : start + symbol_model.count])
        start += symbol_model.count
        if symbol_model.model is not None:
            encoder.encode(part, symbol_model.model)


def decode(decoder: Any, symbol_model: SymbolModel, count: int) -> NDArray[np.int32] | None:
    """Return the next symbols; None for bytes that no encoder writes, as constriction finds of some all-0xFF
    endings.
    """
    if symbol_model.model is None:
        return np.zeros(count, np.int32)
    try:
        return np.asarray(decoder.decode(symbol_model.model, count), np.int32)
    except AssertionError:
        return None


def information(symbol_models: Sequence[SymbolModel], symbols: NDArray[np.int32]) -> float:
    """Return the symbols' information in bits: -log2 of the probability that the models give them."""
    bits, start = 0.0, 0
    for a in symbol_models:
        part = symbols[start : start + a.count]
        start += a.count
        if a.frequencies is None:
            bits += a.count * float(np.log2(a.size))
        else:
            weights = np.array(a.frequencies)
            bits += float(np.log2(weights.sum() / weights[part]).sum())
    return bits


def final(encoder: Any) -> bytes:
    """Return the bytes that nothing encoded later can change."""
    return _common(*_bracket(encoder))


def seal(encoder: Any) -> bytes:
    """Return the shortest bytes that decode to what was encoded, whatever follows them."""
    low, high = _bracket(encoder)
    common = len(_common(low, high))
    prefix, low, high = low[:common], low[common:], high[common:]
    floor, ceiling = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    for size in range(len(low) + 1):
        unit = 256 ** (len(low) - size)
        value = -(-floor // unit)
        if (value + 1) * unit - 1 <= ceiling:
            return bytes(prefix + value.to_bytes(size, "big"))
    return prefix + low


def _to_bytes(encoder: Any) -> bytes:
    return bytes(encoder.get_compressed().astype(">u4").tobytes())


def _bracket(encoder: Any) -> tuple[bytes, bytes]:
    """Return the least and the greatest byte string that a continuation of this encoder can become (to 96 bits)."""
    low, high = encoder.clone(), encoder.clone()
    low.encode(_GUARD, _WORD.model)
    high.encode(_GUARD + 65535, _WORD.model)
    a, b = _to_bytes(low), _to_bytes(high)
    n = max(len(a), len(b))
    return a.ljust(n, b"\x00"), b.ljust(n, b"\x00")


def _common(low: bytes, high: bytes) -> bytes:
    """Return the longest common prefix of two byte strings of equal length."""
    differ = np.flatnonzero(np.frombuffer(low, np.uint8) != np.frombuffer(high, np.uint8))
    return low[: int(differ[0])] if len(differ) else low
