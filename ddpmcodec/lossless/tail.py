"""Tail: x_0 exactly, given the last x_t. The network's picture is rounded alike on both sides, then its errors coded.

    range-coded (which dither rounds each block | for each band of each group: its way, its sub-pixels)
    CRC-32 of the picture

A tail that learns (`learning`) has no ways.

The CRC, over the rows of RGB bytes, is for a receiver whose floats are off by more than `rounding.TOLERANCE`: it gets
an error instead of a wrong picture.
"""

from __future__ import annotations

import zlib
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.header import TAIL_CHECK_BYTES
from ddpmcodec.bitstream.range_coder import seal
from ddpmcodec.errors import FormatError
from ddpmcodec.lossless.coders import Counting, Reading, Writing
from ddpmcodec.lossless.rounding import ESCAPE, TOLERANCE, UNIT, blocks, choose, rounded, try_model
from ddpmcodec.lossless.visit import Planes, TailLevel, visit
from ddpmcodec.numerics.philox import ROUNDING, Key


def encode_tail(
    picture: NDArray[np.uint8],
    x0_hat: NDArray[np.float32],
    level: TailLevel,
    key: Key,
    grey: bool = False,
    learns: bool = False,
) -> bytes:
    """Return the tail of a picture (h, w, 3). x0_hat: (3, h, w) on [-1, 1], given the last x_t. key: shared with the
    receiver. grey: all colours are alike, in the picture and in x0_hat, and one of them is coded. learns: the networks
    go on to learn from the picture.
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
    visit(_planes(predictions, x0_hat), level, Writing(truth, encoder), grey, learns)
    return seal(encoder) + zlib.crc32(picture.tobytes()).to_bytes(TAIL_CHECK_BYTES, "big")


def decode_tail(
    data: bytes, x0_hat: NDArray[np.float32], level: TailLevel, key: Key, grey: bool = False, learns: bool = False
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
    try:
        for i, block in enumerate(blocks(values.size)):
            chosen = _read_tries(decoder, block.stop - block.start)
            _write_tries(again, chosen, block.stop - block.start)
            predictions[block] = rounded(values[block], Key(key.seed, key.step, ROUNDING, i), chosen)
        truth = visit(_planes(predictions, x0_hat), level, Reading(decoder, again), grey, learns)
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


def symbol_bits(picture: NDArray[np.uint8], predictions: Planes, level: TailLevel, learns: bool = False) -> float:
    """Return -log2 of the probability that the networks give the picture (h, w, 3): what an ideal range coder spends on
    it.

    predictions: (3, h, w) in 1/512 of a level, however they were rounded. For measurements.
    """
    counting = Counting(picture.transpose(2, 0, 1).astype(np.int64))
    visit(predictions, level, counting, learns=learns)
    return counting.bits


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
