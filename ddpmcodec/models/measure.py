"""Measures a model's error on training images, mse(log-SNR) and its spectrum: all that a plan and its priors need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.diffusion.error_curve import REFINE, ErrorCurve
from ddpmcodec.diffusion.gaussians import predict_x0, q_sample
from ddpmcodec.diffusion.spectrum import CLASSES, Spectrum, class_counts, classes, transform
from ddpmcodec.errors import ModelError
from ddpmcodec.models.base import checked_eps
from ddpmcodec.models.precision import full_precision
from ddpmcodec.numerics.philox import Key, gaussian

SPACING = 0.125  # between measured log-SNRs
BEYOND = 0.5  # how far past the cleanest trained level a chain may go; the network is then asked at that level


def measure_curve(
    eps_model: Callable[[Tensor, Tensor], Tensor],
    images: NDArray[np.uint8],
    *,
    min_log_snr: float = -8.0,
    max_log_snr: float = 9.5,
    spacing: float = SPACING,
    log_snrs: NDArray[np.float64] | None = None,
    batch: int = 50,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    coloured: bool = True,
) -> ErrorCurve:
    """mse(λ) = E|x_0 - x̂_0|²/d at even log-SNRs over the model's range, x̂_0 clipped, on x_t ~ q(x_t | x_0).

    images: (n, h, w, c) training images, n of a few hundred is enough; never the images to be tested on. The noise of an
    image is the same at every level, which makes the curve smooth. log_snrs: (k,) rising, the levels to measure at instead,
    of a network that knows only these (see `diffusers_levels`); plans then have no others. coloured: the error's spectrum is
    measured as well, and the chain's priors follow it; else they are white. Raises ModelError when the levels don't rise, and
    for a spectrum of pictures that are no RGB squares.
    """
    steps = round((max_log_snr + BEYOND - min_log_snr) / spacing)
    log_snr = np.linspace(min_log_snr, min_log_snr + steps * spacing, steps + 1)
    if log_snrs is not None:
        log_snr, max_log_snr = np.asarray(log_snrs, np.float64), float("inf")
        ErrorCurve.from_floats(log_snr, np.ones(len(log_snr)), dims=1, refine=1)  # refuses bad levels before the long part
    side = images.shape[1]
    if coloured and images.shape[1:] != (side, side, 3):
        raise ModelError(f"images of shape {images.shape}: expected square RGB pictures (n, side, side, 3) for a spectrum")
    total, energy = np.zeros(len(log_snr)), np.zeros((len(log_snr), CLASSES))
    done = 0
    for x_0, eps in _batches(images, batch):
        for i, level in enumerate(log_snr):
            with torch.inference_mode(), full_precision(torch.device(device)), _evaluating(eps_model):
                x_t = q_sample(x_0, float(level), eps).to(device)
                asked = min(float(level), max_log_snr)
                predicted = checked_eps(eps_model, x_t, asked).cpu()
            error = predict_x0(x_t.cpu(), predicted, asked) - x_0
            total[i] += float(error.double().square().sum())
            if coloured:
                of_coefficient = np.square(transform(error.numpy()), dtype=np.float64).sum(axis=0).ravel()
                energy[i] += np.bincount(classes(side, side), of_coefficient, CLASSES)
        done += len(x_0)
        progress(done, len(images))
    refine = REFINE if log_snrs is None else 1
    spectrum = None
    if coloured:
        levels = [int(level) for level in np.rint(log_snr * 65536)]
        spectrum = Spectrum.from_floats(levels, energy, class_counts(side, side))
    return ErrorCurve.from_floats(log_snr, total / images.size, int(np.prod(images.shape[1:])), refine, spectrum)


@contextmanager
def _evaluating(network: object) -> Iterator[None]:
    """A network in evaluation mode, as it will be in a codec; each of its modules is put back as it was."""
    modules = list(network.modules()) if isinstance(network, torch.nn.Module) else []
    before = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


def _batches(images: NDArray[np.uint8], batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(images[start : start + batch].copy()).permute(0, 3, 1, 2)
        noise = gaussian(Key(seed=1, step=start), pixels.numel()).reshape(pixels.shape)
        yield pixels.float() / 127.5 - 1, torch.from_numpy(noise)
