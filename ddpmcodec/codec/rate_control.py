"""Rate control: a plan's whole steps as far as a target goes, then a short one for the rest.

Nothing is predicted that can be tried: a step's code is searched, written to a copy of the stream, and the file
measured. So a size is never exceeded, and a distortion is that of the very picture a receiver decodes.
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
from ddpmcodec.codec.step_target import StepTarget
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import to_bytes

_TRIES = 24  # searches spent on a short step of a given size; the trellis needs one or two, ordered random coding more
SHORT_TRIES = 3  # short steps tried in place of the last one of a given distortion, a network call or two each
_NEAR_ENOUGH = 0.015  # of the error wanted: no shorter step is looked for where one has so little less
_PEAK = 255.0
_ROUGHLY = 1.1  # times the error wanted: from here on the picture that is shown is looked at, not x̂_0 alone


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
        return _PEAK**2 / 10 ** (target_psnr / 10)
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


def to_distortion(sender: Sender, mse: float) -> Iterator[SentStep]:
    """Send one picture until the decoded one, in whole levels, has at most this mean squared error.

    Raises DdpmCodecError where the plan's end has more.
    """
    after = _distortion(sender, roughly=True)
    while not sender.ended:
        before, whole = after, sender.fork()
        sent = next(whole.send())
        roughly = after = _distortion(whole, roughly=True)
        if roughly <= _ROUGHLY * mse:
            after = _distortion(whole)
        if after > mse:
            sender.adopt(whole)
            yield sent
            continue
        shown = after / roughly if roughly else 1.0
        for other, taken in _shorter(sender, mse, (before * shown, after), shown, sent.packets[0].bits):
            if len(other.files()[0]) < len(whole.files()[0]):
                whole, sent = other, taken
        sender.adopt(whole)
        yield sent
        return
    raise DdpmCodecError(
        f"{_described(mse)} is out of reach: this picture's chain ends at {_described(_distortion(sender))}; "
        "a better model may come nearer, and --lossless gives the exact picture"
    )


def _spend(sender: Sender, size: int) -> tuple[StepTarget, tuple[Packet, ...]] | None:
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
        target, packets = _short(sender, guess * step.unit)
        trial = _with(stream, packets[0])
        took, spare = _information(trial) - before, size - _size(sender, trial)
        left = room - took
        if spare >= 0:
            fits, found = guess, (target, packets)
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


def _shorter(
    sender: Sender, mse: float, between: tuple[float, float], shown: float, bits: int
) -> Iterator[tuple[Sender, SentStep]]:
    """Yield short steps that reach the error where a whole step of `bits` bits does. between: the errors before and
    after it. shown: how many times the error of x̂_0 a picture has that is shown, about.
    """
    step = sender.streams[0].short_step()
    low, high = 0, min(bits, step.most_bits) // step.unit
    above, below = (math.log(max(error, 1e-9) / mse) for error in between)
    for _ in range(SHORT_TRIES):
        if high - low <= 1:
            return
        # The error's logarithm falls about evenly with bits.
        share = above / (above - below) if above > 0 > below else 0.5
        guess = min(max(low + math.ceil(share * (high - low)), low + 1), high - 1)
        other = sender.fork()
        sent = other.advance(*_short(other, guess * step.unit))
        error = math.log(max(_distortion(other, roughly=True) * shown, 1e-9) / mse)
        if error <= 0 and shown != 1:
            error = math.log(max(_distortion(other), 1e-9) / mse)
        if error <= 0:
            high, below = guess, error
            yield other, sent
            if error > -_NEAR_ENOUGH:
                return
        else:
            low, above = guess, error


def _short(sender: Sender, bits: int) -> tuple[StepTarget, tuple[Packet, ...]]:
    """Return a short step of `bits` bits, searched."""
    count = sender.streams[0].choose_short(bits)
    target = sender.target(count.log_snr)
    return target, sender.search(target, [count])


def _with(stream: StreamWriter, packet: Packet) -> StreamWriter:
    other = stream.fork()
    other.write(packet)
    return other


def _size(sender: Sender, stream: StreamWriter) -> int:
    return len(finish(sender.header, stream.ended_here()))


def _information(stream: StreamWriter) -> float:
    return sum(stream.step_bits) + stream.end_bits


def _distortion(sender: Sender, roughly: bool = False) -> float:
    """Return the squared error of the picture a receiver has here. roughly: of what x̂_0 shows, whose network call the
    next step makes as well; what is shown is better by less than _ROUGHLY.
    """
    (picture,), header = sender.pictures, sender.header
    decoded = to_bytes(sender.chain.pictures(roughly)[0], header.height, header.width)
    return float(np.mean((decoded.astype(np.float64) - picture) ** 2))


def _described(mse: float) -> str:
    return (
        f"an RMSE of {mse**0.5:.3g} levels ({10 * math.log10(_PEAK**2 / mse):.2f} dB)" if mse else "the exact picture"
    )
