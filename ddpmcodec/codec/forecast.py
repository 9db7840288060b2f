"""Steps that a stream will have: known where steps say so, and forecast from what a picture showed where a target
does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.codec.options import Options
from ddpmcodec.codec.rate_control import mse_target, size_target
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.codec.trajectory import nearest_step, steps_of_plan, tail_step
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.error_curve import FRACTION
from ddpmcodec.io.images import squared_error, to_bytes
from ddpmcodec.models.base import CodecModel

_LEVEL = 127.5  # levels of 255 in one unit of x_0
# How much pictures differ in the logarithm of their error, by log-SNR: alike up to 2.4, and from there on less by a
# twelfth for each 1. By eight photographs held out from training.
_DIFFER, _ALIKE_BY = 1.2, 12


@dataclass
class Forecast:
    """Steps of one picture's stream. picture: (h, w, 3) uint8; options: those it is encoded with."""

    model: CodecModel
    options: Options
    picture: NDArray[np.uint8]
    last: int = field(init=False)  # steps of the stream, as far as is known
    # How many times the bits expected of them the next steps are taken to send: the root of what the last one did, for
    # pictures that differ from the usual differ less where noise is weaker.
    bits_ratio: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        options, (height, width) = self.options, self.picture.shape[:2]
        exact = options.lossless and options.steps is None
        plan = self.model.plan(steps_of_plan(self.model, options.plan_steps, height * width, exact=exact))
        end = options.end_log_snr(height * width)
        self._mse = mse_target(options.target_psnr, options.target_rmse)
        self._size = size_target(height * width, options.target_bytes, options.target_bpp)
        curve = np.array(self.model.curve.mse, np.float64) / 2.0**FRACTION * _LEVEL**2
        self._errors = np.interp(plan.log_snr, np.array(self.model.curve.log_snr) / 65536, curve)
        self._differ = np.clip(_DIFFER - np.array(plan.log_snr) / _ALIKE_BY, 1 / 4, 1)
        canvas = canvas_size(height, width, self.model.window)
        dims = self.model.channels * math.prod(canvas)
        self._bits = np.cumsum([plan.expected_bits(n, dims) for n in range(1, plan.steps + 1)], dtype=np.float64)
        self._sent = 0.0
        if options.steps is not None:
            self.last = min(options.steps, plan.steps)
        elif end is not None:
            self.last = nearest_step(plan, end)
        elif options.lossless:
            self.last = tail_step(self.model.curve, plan, height * width)
        else:
            self.last = self._until(1.0, 1.0)

    @property
    def last_takes(self) -> float:
        """Return how many steps' time the last one takes: for a distortion, that of a short step or two, each with the
        picture that it shows.
        """
        return 1.0 if self._mse is None else 2.0

    def after(self, sent: SentStep) -> int:
        """Return how many steps there will be, now that one more has been sent."""
        n = min(sent.n, len(self._bits))
        self._sent += sent.packets[0].bits
        expected = float(np.diff(self._bits, prepend=0.0)[n - 1])
        self.bits_ratio = math.sqrt(sent.packets[0].bits / max(1.0, expected))
        if self._mse is not None:
            height, width = self.picture.shape[:2]
            decoded = to_bytes(sent.reconstruct(roughly=True)[0], height, width)
            error = squared_error(decoded, self.picture) / self.picture.size / self._errors[n - 1]
            self.last = self._until(error ** (self._differ / self._differ[n - 1]), 1.0)
        elif self._size is not None:
            self.last = self._until(1.0, self._sent / max(1.0, float(self._bits[n - 1])))
        return max(self.last, n)

    def _until(self, error: NDArray[np.float64] | float, bits: float) -> int:
        """Steps to the target for a picture whose errors and bits are these multiples of the plan's."""
        reached = np.zeros(len(self._bits), bool)
        if self._mse is not None:
            reached = self._errors * error <= self._mse
        elif self._size is not None:
            reached = self._bits * bits >= 8 * self._size
        return int(reached.argmax()) + 1 if reached.any() else len(reached)
