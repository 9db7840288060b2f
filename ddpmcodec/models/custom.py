"""Networks of callers, each as a codec, without a file."""

from __future__ import annotations

import copy
import math

import torch

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.io.limits import MAX_PIXELS
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.device import usable_device
from ddpmcodec.models.fingerprint import fingerprint
from ddpmcodec.models.outputs import EpsOf
from ddpmcodec.models.safetensors_file import one_line
from ddpmcodec.models.space import Pixels, Space
from ddpmcodec.numerics.arguments import flag, number, text, whole


def codec_model(
    network: torch.nn.Module,
    curve: ErrorCurve,
    name: str,
    *,
    predicts: str = "epsilon",
    window: int = 32,
    any_size: bool = False,
    channels: int = 3,
    min_log_snr: float = -8.0,
    max_log_snr: float = 9.5,
    device: str | torch.device = "cpu",
    space: Space | None = None,
) -> CodecModel:
    """Return any trained network as a codec: `network(x_t, log_snr)` as `EpsModel` says, `curve` from `measure_curve`.

    predicts: "epsilon"; "v_prediction"; "sample", which is x_0; "flow_prediction", the velocity ε - x_0 of a rectified
    flow, whose network sees (1 - s) x_0 + s ε; or "edm", whose network sees c_in x (see `prediction` for the formulas).
    All are told the log-SNR. The network may return a tensor, a tuple that begins with it, or an object with `.sample`;
    behind it there may be as many channels of learned variances. space: of a network of latents, the way to pictures.

    The fingerprint covers the network's state and the numbers given here, so sender and receiver must build it alike.
    The codec has a copy of the network: training that goes on changes no stream, and the network's mode and device stay
    as they are. Raises ModelError for what is no torch module, and so has no state, for state that is no plain
    tensors, and for numbers that can't be.
    """
    if not isinstance(network, torch.nn.Module):
        raise ModelError(
            f"the network is a {type(network).__name__}: expected a torch.nn.Module, whose weights the fingerprint "
            "covers"
        )
    text(name, "name")
    if not isinstance(curve, ErrorCurve):
        raise ModelError(f"the curve is a {type(curve).__name__}: expected what measure_curve gives")
    window, channels = whole(window, "window"), whole(channels, "channels")
    any_size = flag(any_size, "any_size")
    min_log_snr, max_log_snr = number(min_log_snr, "min_log_snr"), number(max_log_snr, "max_log_snr")
    if not (isinstance(space, Space) or space is None):
        raise ModelError(f"the space is a {type(space).__name__}: expected a way to pictures, or None")
    a_range = min_log_snr < max_log_snr and math.isfinite(max_log_snr - min_log_snr)
    if window < 1 or window * window > MAX_PIXELS or not a_range:
        raise ModelError(
            f"a window of {window}, log-SNRs from {min_log_snr} to {max_log_snr}: expected 1 to 8192, and a range"
        )
    config = {
        "class": type(network).__qualname__,
        "predicts": predicts,
        "window": window,
        "any_size": any_size,
        "channels": channels,
        "log_snr": [min_log_snr, max_log_snr],
    }
    where = usable_device(device)
    try:
        mark = fingerprint(dict(network.state_dict()), config, curve.to_dict())
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"the network's state can't be read: {one_line(error)}; expected plain tensors that hold their values"
        ) from error
    try:
        own = copy.deepcopy(network)
        own.eval()
        own.to(where)
        for parameter in own.parameters():
            parameter.detach_()
    except (AttributeError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"the network can't be copied: {one_line(error)}; give one that copy.deepcopy takes"
        ) from error
    eps_model = EpsOf(own, predicts)
    seen = Pixels(channels) if space is None else space
    return CodecModel(name, eps_model, curve, mark, window, channels, min_log_snr, max_log_snr, any_size, where, seen)
