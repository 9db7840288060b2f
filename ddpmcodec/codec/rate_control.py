"""Rate control by size: a plan's whole steps as far as they fit, then a short one for the rest.

Nothing is predicted that can be tried: a step's code is searched, written to a copy of the stream, and the file
measured. So a size is never exceeded.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator

import numpy as np

from ddpmcodec.bitstream.file import finish
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.codec.sender import Sender, SentStep
from ddpmcodec.codec.step_target import StepCosts
from ddpmcodec.errors import DdpmCodecError

_TRIES = 24  # searches spent on a short step of a given size; the trellis needs one or two, ordered random coding more
PEAK = 255.0


def size_target(pixels: int, target_bytes: int | None, target_bpp: float | None) -> int | None:
    """Return the bytes of the file; None where no size is asked for. Raises DdpmCodecError for what is no size."""
    if target_bytes is not None:
        return operator.index(target_bytes)
    if target_bpp is None:
        return None
    if not (math.isfinite(target_bpp) and target_bpp > 0):
        raise DdpmCodecError(f"a target of {target_bpp} bits a pixel: expected a number above 0")
    return math.floor(target_bpp * pixels / 8)


def mse_target(target_psnr: float | None, target_rmse: float | None) -> float | None:
    """Return the mean squared error in squared levels; None where none is asked for. Raises DdpmCodecError for what is
    none.
    """
    if target_psnr is not None:
        if not (math.isfinite(target_psnr) and 0 < target_psnr < 1000):
            raise DdpmCodecError(f"a target of {target_psnr} dB: expected a number above 0, such as 40")
        return PEAK**2 / 10 ** (target_psnr / 10)
    if target_rmse is None:
        return None
    if not (math.isfinite(target_rmse) and target_rmse > 0):
        raise DdpmCodecError(
            f"a target RMSE of {target_rmse} levels: expected a number above "
            "0, such as 3; --lossless gives the exact picture"
        )
    return target_rmse**2


def to_size(sender: Sender, size: int) -> Iterator[SentStep]:
    """Send one picture in at most `size` bytes, header and check included, and as few below as a short step allows.

    Raises DdpmCodecError where not even a first bit fits: at once where header and check alone are too long.
    """
    (stream,) = sender.streams
    count = stream.choose_short(stream.short_step().unit)
    code = np.zeros(sum(m.count for m in stream.channel.symbol_models(count.bits, stream.dims)), np.int32)
    if size <= len(sender.files()[0]) - len(stream.ended_here().sealed()):
        raise _too_small(size, _size(sender, _with(stream, Packet(count.index, count.bits, code, count.log_snr))))
    return _to_size(sender, size)


def _to_size(sender: Sender, size: int) -> Iterator[SentStep]:
    ahead, waiting = sender, list[SentStep]()
    while not ahead.ended:
        # the one network call of the step that is tried and of the short one that may take its place
        ahead.chain.x0_hat()
        ahead = ahead.fork()
        waiting.append(next(ahead.send()))
        if len(ahead.files()[0]) <= size:
            sender.adopt(ahead)
            ahead = sender
            yield from waiting
            waiting.clear()
        # Where only END doesn't fit, the plan's last step may: it needs none.
        elif len(finish(sender.header, ahead.streams[0])) > size:
            break
    if not sender.ended:
        found = _spend(sender, size)
        if found is not None:
            yield sender.advance(*found)


def _spend(sender: Sender, size: int) -> tuple[StepCosts, tuple[Packet, ...]] | None:
    """Return the longest short step that fits; None where none does. DdpmCodecError where the stream would hold
    nothing.

    Ordered random coding takes more or fewer bits as luck has it, so what doesn't fit is no bound for what may.
    """
    (stream,) = sender.streams
    step, before = stream.short_step(), _information(stream.ended_here())
    room = 8 * (size - len(sender.header.to_bytes()) - sender.header.check_bytes) - before  # bits
    most, fits, found = step.most_bits // step.unit, 0, None  # in units
    tried, guess = set[int](), int(room / step.unit)
    while len(tried) < _TRIES:
        if len(tried) > _TRIES // 2 and found is None:
            guess = guess // 2 if len(tried) < _TRIES - 1 else 1
        guess = next((k for k in range(max(guess, fits + 1), most + 1) if k not in tried), most)
        if guess in tried:
            break
        tried.add(guess)
        costs, packets = short_step(sender, guess * step.unit)
        trial = _with(stream, packets[0])
        took, spare = _information(trial) - before, size - _size(sender, trial)
        left = room - took
        if spare >= 0:
            fits, found = guess, (costs, packets)
        else:
            left = min(left - 2, -1)  # bytes are sealed in up to two bits more
        if 0 <= spare <= max(2, size // 50) or (spare < 0 and guess == 1):
            break
        guess += math.floor(left * guess / took)
    if found is None and not sender.chain.n:
        raise _too_small(size, size - spare)
    return found


def _too_small(size: int, least: int) -> DdpmCodecError:
    return DdpmCodecError(
        f"a target of {size} bytes is too small for this picture, header and check included: take {least}"
    )


def short_step(sender: Sender, bits: int) -> tuple[StepCosts, tuple[Packet, ...]]:
    """Return a short step of `bits` bits, searched."""
    count = sender.streams[0].choose_short(bits)
    target = sender.target(count.log_snr)
    return target.costs, sender.search(target, [count])


def _with(stream: StreamWriter, packet: Packet) -> StreamWriter:
    other = stream.fork()
    other.write(packet)
    return other


def _size(sender: Sender, stream: StreamWriter) -> int:
    return len(finish(sender.header, stream.ended_here()))


def _information(stream: StreamWriter) -> float:
    return sum(stream.step_bits) + stream.end_bits
