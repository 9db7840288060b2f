"""Rate control by distortion: a plan's whole steps, then a short one that brings the picture to the error wanted.

Errors are of the very picture that a receiver decodes. What is foreseen only saves what would be tried in vain.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.codec.rate_control import PEAK, short_step
from ddpmcodec.codec.sender import Sender, SentStep
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import squared_error, to_bytes

_SHORT_TRIES = 3  # short steps tried in place of the last one of a given distortion, a network call or two each
_NEAR_ENOUGH = 0.02  # of the error wanted: no shorter step is looked for where one has so little less
_SHOWN = 0.985  # times the error of x̂_0 that a mean of two views has, about, until it is measured
_MANY_PIXELS, _ROWS_APART = 1 << 20, 8  # where a rough look takes one row in eight
_ROUGHLY = math.log(1.1)  # over the error wanted: from here on the picture that is shown is looked at, not x̂_0 alone


def to_distortion(sender: Sender, mse: float) -> Iterator[SentStep]:
    """Send one picture until the decoded one, in whole levels, has at most this mean squared error.

    Where the next step is foreseen to bring more than that, short ones are tried in its place, and the whole step is
    taken only if none of them will do. Raises DdpmCodecError where the plan's end has more.
    """
    curve, shown = sender.chain.model.curve, _SHOWN if sender.chain.model.mirrored else 1.0
    usual = np.log(
        curve.expected_mse(np.array([sender.chain.plan.level(n) for n in range(sender.chain.plan.steps + 1)]))
    )
    errors = [_log_error(sender, mse, roughly=True)]
    while not sender.ended:
        n = sender.chain.n
        foreseen = _foreseen(errors, usual[: n + 2]) + math.log(shown)
        before, bits = errors[-1] + math.log(shown), sender.streams[0].short_step().expected
        tried = foreseen < -_NEAR_ENOUGH
        if tried:
            found = None
            for found in _shorter(sender, mse, (before, foreseen), None, bits):  # noqa: B007
                pass  # one after the other: those of a large picture are large
            if found is not None:
                sender.adopt(found[0])
                yield found[1]
                return
        whole = sender.fork()
        sent = next(whole.send())
        roughly = after = _log_error(whole, mse, roughly=True)
        if roughly <= _ROUGHLY:
            after = _log_error(whole, mse)
            shown = math.exp(after - roughly)
        if after > 0:
            errors.append(roughly)
            sender.adopt(whole)
            yield sent
            del whole, sent  # large ones, of a large picture
            continue
        if not tried:
            more = after - roughly
            for other, taken in _shorter(sender, mse, (errors[-1] + more, after), math.exp(more), sent.packets[0].bits):
                if len(other.files()[0]) < len(whole.files()[0]):
                    whole, sent = other, taken
        sender.adopt(whole)
        yield sent
        return
    raise DdpmCodecError(
        f"{_described(mse)} is out of reach: this picture's chain ends at {_described(_distortion(sender))}; "
        "a better model may come nearer, and --lossless gives the exact picture"
    )


def _foreseen(errors: Sequence[float], usual: NDArray[np.float64]) -> float:
    """Return the logarithm of the error after the next whole step, by those after the steps so far and by what is usual
    after each, the next included: a picture's error falls as fast as it did in the step before, measured by that.
    """
    slope = 1.0
    if len(errors) > 1 and usual[-2] < usual[-3]:
        slope = (errors[-1] - errors[-2]) / float(usual[-2] - usual[-3])
    return errors[-1] + min(max(slope, 0.5), 2.0) * float(usual[-1] - usual[-2])


def _shorter(
    sender: Sender, mse: float, between: tuple[float, float], shown: float | None, bits: int
) -> Iterator[tuple[Sender, SentStep]]:
    """Yield short steps that reach the error, each shorter than the one before, where a whole step of `bits` bits does
    or is foreseen to. between: logarithms of the errors before and after it, over the one wanted. shown: how many times
    the error of x̂_0 a picture has that is shown, about; None: not measured yet.
    """
    step, curve = sender.streams[0].short_step(), sender.chain.model.curve

    def usual(units: int) -> float:
        """Return the logarithm of the error that pictures have after some units: this one's is a line over it."""
        level = step.log_snr(units * step.unit) if units else step.plan.level(step.n)
        return float(np.log(curve.expected_mse(np.array([level]))[0]))

    low, high = 0, min(bits, step.most_bits) // step.unit
    above, below = between
    unseen: tuple[Sender, SentStep] | None = None  # one that reaches the error by far, as its x̂_0 says
    for left in reversed(range(_SHORT_TRIES)):
        if high - low <= 1:
            break
        # What is aimed at is the middle of what is near enough.
        share = (above + _NEAR_ENOUGH / 2) / (above - below) if above > 0 > below else 0.5
        wanted, inside = usual(low) + share * (usual(high) - usual(low)), range(low + 1, high)
        guess = inside[bisect_left(inside, -wanted, hi=len(inside) - 1, key=lambda units: -usual(units))]
        other = sender.fork()
        sent = other.advance(*short_step(other, guess * step.unit))
        roughly = _log_error(other, mse, roughly=True)
        if sender.chain.model.mirrored and shown is None and roughly < -_NEAR_ENOUGH and left:
            high, below, unseen = guess, roughly + math.log(_SHOWN), (other, sent)  # spares the look at both views
            continue
        error = roughly + math.log(shown or 1.0)
        if (shown is None and roughly <= _ROUGHLY) or (error <= 0 and shown != 1):
            error = _log_error(other, mse)
            shown = math.exp(error - roughly)
        if error <= 0:
            high, below, unseen = guess, error, None
            yield other, sent
            del other, sent
            if error > -_NEAR_ENOUGH:
                return
        else:
            low, above = guess, error
    if unseen is not None and _log_error(unseen[0], mse) <= 0:
        yield unseen


def _log_error(sender: Sender, mse: float, roughly: bool = False) -> float:
    """Return the logarithm of the error of `_distortion`, over the one wanted."""
    return math.log(max(_distortion(sender, roughly), 1e-9) / mse)


def _distortion(sender: Sender, roughly: bool = False) -> float:
    """Return the squared error of the picture a receiver has here. roughly: of what x̂_0 shows, whose network call the
    next step makes as well, in some rows of a large picture; what is shown is better by less than exp(_ROUGHLY).
    """
    (picture,), header = sender.pictures, sender.header
    plane = sender.chain.pictures(roughly)[0]
    if roughly and sender.chain.model.mirrored and header.pixels > _MANY_PIXELS:  # no target is reached by a rough look
        plane, picture = plane[:, ::_ROWS_APART], picture[::_ROWS_APART]
    decoded = to_bytes(plane, *picture.shape[:2])
    return squared_error(decoded, picture) / picture.size


def _described(mse: float) -> str:
    return f"an RMSE of {mse**0.5:.3g} levels ({10 * math.log10(PEAK**2 / mse):.2f} dB)" if mse else "the exact picture"
