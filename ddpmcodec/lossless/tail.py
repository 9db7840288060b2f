"""Tail: x_0 exactly, given the last x_t. The network's picture is rounded alike on both sides, then its errors coded.

    range-coded (which dither rounds each block | for each band of each group: its way, its sub-pixels)
    CRC-32 of the picture

The CRC, over the rows of RGB bytes, is for a receiver whose floats are off by more than `rounding.TOLERANCE`: it gets
an error instead of a wrong picture.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.header import TAIL_CHECK_BYTES
from ddpmcodec.bitstream.range_coder import seal
from ddpmcodec.diffusion.error_curve import FRACTION, ErrorCurve
from ddpmcodec.errors import FormatError
from ddpmcodec.lossless.adaptation import best_way, tempered, way_model
from ddpmcodec.lossless.distribution import TOGETHER, bits_of, frequencies
from ddpmcodec.lossless.lattice import GREEN, RADIUS, Group, bands, groups, neighbours
from ddpmcodec.lossless.network import Mixtures, inputs, layers, mixtures
from ddpmcodec.lossless.rounding import ESCAPE, TOLERANCE, UNIT, blocks, choose, rounded, try_model
from ddpmcodec.numerics.philox import ROUNDING, Key

_ROWS = constriction.stream.model.Categorical(perfect=False)  # one row of frequencies a symbol
Planes = NDArray[np.int64]  # (3, h, w)


@dataclass(frozen=True)
class TailLevel:
    """Level where diffusion stopped, as the tail knows it: integers from the model's error curve."""

    log_snr: int  # x_t's level, in 2^-16
    scale: int  # expected root mean square of x_0 - x0_hat, in 1/512 of a level

    @classmethod
    def of(cls, curve: ErrorCurve, log_snr: float) -> TailLevel:
        """Return what is known at one of the curve's levels."""
        level = round(log_snr * 65536)
        mse = curve.mse[curve.log_snr.index(level)]
        scale = math.isqrt(mse * (255 * UNIT) ** 2 >> (FRACTION + 2))  # [-1, 1] is 255 levels wide
        return cls(level, min(max(scale, UNIT // 8), 64 * UNIT))


def encode_tail(
    picture: NDArray[np.uint8], x0_hat: NDArray[np.float32], level: TailLevel, key: Key, grey: bool = False
) -> bytes:
    """Return the tail of a picture (h, w, 3). x0_hat: (3, h, w) on [-1, 1], given the last x_t. key: shared with the
    receiver. grey: all colours are alike, in the picture and in x0_hat, and one of them is coded.
    """
    encoder = constriction.stream.queue.RangeEncoder()
    values = _in_units(x0_hat[:1] if grey else x0_hat)
    predictions = np.empty(values.size, np.int64)
    for i, block in enumerate(blocks(values.size)):
        part = Key(key.seed, key.step, ROUNDING, i)
        chosen = choose(values[block], part)
        _write_tries(encoder, chosen, block.stop - block.start)
        predictions[block] = rounded(values[block], part, chosen)
    truth = picture.transpose(2, 0, 1).astype(np.int64)

    def put(mixture: Mixtures, own: NDArray[np.int64], group: Group, band: slice) -> NDArray[np.int64]:
        values = group.of(truth)[band].reshape(-1)
        way = best_way(mixture, own, values)
        encoder.encode(np.array([way], np.int32), way_model().model)
        for part in _parts(len(values)):
            encoder.encode(values[part].astype(np.int32), _ROWS, frequencies(_part(tempered(mixture, own, way), part)))
        return values

    _visit(_planes(predictions, x0_hat), level, put, grey)
    return seal(encoder) + zlib.crc32(picture.tobytes()).to_bytes(TAIL_CHECK_BYTES, "big")


def decode_tail(
    data: bytes, x0_hat: NDArray[np.float32], level: TailLevel, key: Key, grey: bool = False
) -> NDArray[np.uint8]:
    """Return the picture (h, w, 3). Raises FormatError when it isn't the exact one: data damaged, or floats too far
    off.
    """
    if len(data) < TAIL_CHECK_BYTES:
        raise FormatError(
            f"the lossless tail has {len(data)} bytes; expected {TAIL_CHECK_BYTES} at least: the file is damaged"
        )
    coded, check = data[:-TAIL_CHECK_BYTES], data[-TAIL_CHECK_BYTES:]
    padded = coded + bytes(16 - len(coded) % 4)
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
    again = (
        constriction.stream.queue.RangeEncoder()
    )  # what was read is written again: only the sender's own bytes will do
    values = _in_units(x0_hat[:1] if grey else x0_hat)
    predictions = np.empty(values.size, np.int64)

    def get(mixture: Mixtures, own: NDArray[np.int64], group: Group, band: slice) -> NDArray[np.int64]:
        way, values = int(decoder.decode(way_model().model)), np.empty(len(own), np.int64)
        again.encode(np.array([way], np.int32), way_model().model)
        for part in _parts(len(values)):
            model = frequencies(_part(tempered(mixture, own, way), part))
            values[part] = decoder.decode(_ROWS, model)
            again.encode(values[part].astype(np.int32), _ROWS, model)
        return values

    try:
        for i, block in enumerate(blocks(values.size)):
            chosen = _read_tries(decoder, block.stop - block.start)
            _write_tries(again, chosen, block.stop - block.start)
            predictions[block] = rounded(values[block], Key(key.seed, key.step, ROUNDING, i), chosen)
        truth = _visit(_planes(predictions, x0_hat), level, get, grey)
    except AssertionError as error:  # constriction's, for words that no encoder writes
        raise FormatError("the lossless tail can't be decoded: the file is damaged") from error
    picture = np.ascontiguousarray(truth.astype(np.uint8).transpose(1, 2, 0))
    if zlib.crc32(picture.tobytes()).to_bytes(TAIL_CHECK_BYTES, "big") != check or seal(again) != coded:
        raise FormatError(
            "the picture's CRC-32 does not match: the file is damaged, or this machine's network differs from the "
            f"sender's by more than {TOLERANCE / UNIT:.4f} of a level; decode it "
            "lossily (--steps), or with the sender's versions"
        )
    return picture


def symbol_bits(picture: NDArray[np.uint8], predictions: Planes, level: TailLevel) -> float:
    """Return -log2 of the probability that the networks give the picture (h, w, 3): what an ideal range coder spends on
    it.

    predictions: (3, h, w) in 1/512 of a level, however they were rounded. For measurements.
    """
    truth, bits = picture.transpose(2, 0, 1).astype(np.int64), 0.0

    def add(mixture: Mixtures, own: NDArray[np.int64], group: Group, band: slice) -> NDArray[np.int64]:
        nonlocal bits
        values = group.of(truth)[band].reshape(-1)
        bits += bits_of(tempered(mixture, own, best_way(mixture, own, values)), values)
        return values

    _visit(predictions, level, add)
    return bits


def _in_units(x0_hat: NDArray[np.float32]) -> NDArray[np.float64]:
    return ((x0_hat.astype(np.float64) + 1.0) * (127.5 * UNIT)).reshape(-1)


def _planes(predictions: NDArray[np.int64], x0_hat: NDArray[np.float32]) -> Planes:
    """Return the predictions (3, h, w) of all colours, or one for all."""
    return np.broadcast_to(predictions.reshape(-1, *x0_hat.shape[1:]), x0_hat.shape)


def _write_tries(encoder: Any, tries: int, size: int) -> None:
    symbols = [ESCAPE] * (tries // ESCAPE) + [tries % ESCAPE]
    encoder.encode(np.array(symbols, np.int32), try_model(size).model)


def _read_tries(decoder: Any, size: int) -> int:
    total = 0
    while total < 1 << 20:
        symbol = int(decoder.decode(try_model(size).model))
        total += symbol
        if symbol != ESCAPE:
            return total
    raise FormatError("the lossless tail can't be decoded: the file is damaged")


def _visit(
    predictions: Planes,
    level: TailLevel,
    code: Callable[[Mixtures, NDArray[np.int64], Group, slice], NDArray[np.int64]],
    grey: bool = False,
) -> Planes:
    """Go through the sub-pixels in their order.

    `code` takes the mixtures and predictions of a band of a group, and gives its true values. grey: green is red and
    blue.
    """
    _, height, width = predictions.shape
    truth = np.zeros_like(predictions)
    margin = ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS))
    around, errors = np.pad(predictions, margin, mode="edge"), np.pad(truth, margin)
    inside = errors[:, RADIUS : RADIUS + height, RADIUS : RADIUS + width]
    for group, net in zip(groups(), layers(), strict=True):
        columns = group.shape(height, width)[1]
        copied = grey and group.colour != GREEN
        if copied:
            group.of(truth)[:] = replace(group, colour=GREEN).of(truth)
        for band in () if copied else bands(group, height, width):
            own = group.of(predictions)[band].reshape(-1)
            known = neighbours(errors, group, group.known, band, columns)
            texture = neighbours(around, group, group.around, band, columns)
            mixture = mixtures(net, inputs(known, texture, own, level.scale, level.log_snr), own, level.scale)
            group.of(truth)[band] = code(mixture, own, group, band).reshape(-1, columns)
        group.of(inside)[:] = group.of(truth) * UNIT - group.of(predictions)
    return truth


def _parts(count: int) -> list[slice]:
    return [slice(first, min(first + TOGETHER, count)) for first in range(0, count, TOGETHER)]


def _part(mixture: Mixtures, part: slice) -> Mixtures:
    return Mixtures(mixture.centre[part], mixture.scale[part], mixture.odds[part])
