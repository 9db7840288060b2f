"""Measures a model's error on training images, mse(log-SNR), its spectrum, and the best size to look at: what a plan
needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.diffusion.axes import principal_axes
from ddpmcodec.diffusion.denoiser import x0_hat, x0_hat_of_both
from ddpmcodec.diffusion.error_curve import REFINE, ErrorCurve
from ddpmcodec.diffusion.gaussians import q_sample
from ddpmcodec.diffusion.placement import placed
from ddpmcodec.diffusion.resolution import Resolution, Resolutions
from ddpmcodec.diffusion.spectrum import BANDS, Spectrum, band_covariances, by_class, class_counts
from ddpmcodec.errors import ModelError
from ddpmcodec.models.base import checked_eps
from ddpmcodec.models.device import usable_device
from ddpmcodec.models.measured_levels import check_images, even_levels, own_levels_of, whole_numbers
from ddpmcodec.models.outputs import EpsOf
from ddpmcodec.models.precision import full_precision
from ddpmcodec.models.space import Space
from ddpmcodec.numerics.arguments import flag
from ddpmcodec.numerics.philox import Key, gaussian

SPACING = 0.125  # between measured log-SNRs
STORED_PLANS = (8, 12, 16, 20, 22, 24, 26, 28, 33, 46, 64, 100)  # lengths of the plans whose steps are placed with care
_CHEAPER = 1.01  # a smaller size is taken if its error is at most the least times this
_MIRRORED_WORTH = 0.995  # pictures are shown as the mean of two views if that has at most this part of the error
_MIRRORED_PICTURES = 64  # that this is tried on
_MIRRORED_TRIED = 1.0  # between the log-SNRs at which it is tried
# Where a size is worth measuring, in log-SNR; no photograph or network seen had its best size elsewhere by much.
_TRIED = {
    Resolution(1): (-4.0, 99.0),
    Resolution(2, merged=True): (-3.0, 3.0),
    Resolution(2): (-99.0, 2.0),
    Resolution(4): (-99.0, 0.5),
    Resolution(8): (-99.0, -1.0),
}


@dataclass(frozen=True)
class _Network:
    """Network as a Denoiser that looks at one size."""

    eps_model: Callable[[Tensor, Tensor], Tensor]
    window: int
    any_size: bool
    limits: tuple[float, float]
    device: torch.device
    resolutions: Resolutions | None = None
    channels: int = 3
    bound: float = 1.0

    def trained_level(self, log_snr: float) -> float:
        return min(max(log_snr, self.limits[0]), self.limits[1])

    def predict_eps(self, x_t: Tensor, log_snr: float) -> Tensor:
        with torch.inference_mode(), full_precision(self.device):
            return checked_eps(self.eps_model, x_t.to(self.device), log_snr).cpu()


def measure_curve(
    network: Callable[[Tensor, Tensor], Any],
    images: NDArray[np.uint8],
    *,
    predicts: str = "epsilon",
    min_log_snr: float = -8.0,
    max_log_snr: float = 9.5,
    window: int | None = None,
    any_size: bool = False,
    factors: Sequence[int] = (1,),
    spacing: float = SPACING,
    log_snrs: NDArray[np.float64] | None = None,
    batch: int = 50,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    coloured: bool = True,
    space: Space | None = None,
    plans: Sequence[int] = STORED_PLANS,
) -> ErrorCurve:
    """Return mse(λ) = E|x_0 - x̂_0|²/d at even log-SNRs over the model's range, x̂_0 clipped, on x_t ~ q(x_t | x_0).

    network, predicts: as `codec_model` takes them. images: (n, h, w, c) training images, n of a few hundred is enough;
    never the images to be tested on. The noise of an image is the same at every level, which makes the curve smooth.
    window: side of the squares that the network takes, the images' own by default; with any_size, what sides must be
    multiples of. factors: sizes at which the network may look at pictures (see `Resolution`), of images large enough
    for all of them; the best at each level is found and stored, and whether pictures are better shown as the mean of
    two views (`denoiser.x0_hat_of_both`). log_snrs: (k,) rising, the levels to measure at
    instead, of a network that knows only these (see `own_levels`); plans then have no others. coloured: the error's
    spectrum is measured as well, and the chain's priors follow it; else they are white. space: of a latent model, whose
    x_0 are its latents; the axes along which channels are decorrelated are then measured, too, as they are for other
    than three channels. plans: lengths of the plans to place and store, where priors are coloured: seconds to minutes.
    Raises ModelError when the levels don't rise, and for images that are no bytes or no squares.
    """
    check_images(images)
    factors, plans = whole_numbers(factors, "factors", {r.factor for r in _TRIED}), whole_numbers(plans, "plans")
    window = None if window is None else whole_numbers([window], "window")[0]
    (batch,), any_size = whole_numbers([batch], "batch"), flag(any_size, "any_size")
    coloured = flag(coloured, "coloured")
    if not (isinstance(space, Space) or space is None):
        raise ModelError(f"the space is a {type(space).__name__}: expected a way to pictures, or None")
    log_snr = even_levels(min_log_snr, max_log_snr, spacing, factors)
    if log_snrs is not None:
        log_snr, max_log_snr = own_levels_of(log_snrs), float("inf")
    if (coloured or space is not None) and images.shape[1] != images.shape[2]:
        raise ModelError(f"images of shape {images.shape}: expected squares (n, side, side, channels)")
    side = images.shape[1] // space.factor if space is not None else images.shape[1]
    if side < max(factors) * (window or side):
        raise ModelError(
            f"images of {side}x{side}: expected at least {max(factors) * (window or side)}, or fewer sizes"
        )
    eps_model = EpsOf(network, predicts)
    clean = list(_clean(images, batch, space))
    channels, dims, largest = clean[0].shape[1], clean[0][0].size, max(float(np.abs(x_0).max()) for x_0 in clean)
    bound = None if space is None else max(1 << 16, math.ceil(min(largest, 1024) * 65536))
    limits = (min_log_snr, max_log_snr)
    asked = _Network(eps_model, window or side, any_size, limits, usable_device(device), channels=channels)
    asked = asked if bound is None else replace(asked, bound=bound / 65536)
    tried = [_candidates(float(level), factors, any_size) for level in log_snr]
    total = [dict.fromkeys(of_level, 0.0) for of_level in tried]
    energy = [{r: np.zeros((BANDS, channels, channels)) for r in of_level} for of_level in tried]
    done = 0
    for x_0 in clean:
        eps = gaussian(Key(seed=1, step=done), x_0.size).reshape(x_0.shape)
        for i, level in enumerate(log_snr):
            x_t = q_sample(x_0, float(level), eps)
            for resolution in tried[i]:
                with _evaluating(network):
                    error = x0_hat(_looking(asked, resolution), x_t, float(level)) - x_0
                total[i][resolution] += float(np.square(error, dtype=np.float64).sum())
                if coloured:
                    energy[i][resolution] += band_covariances(error)
        done += len(x_0)
        progress(done, len(images))
    chosen = [_best(found) for found in total]
    refine = max(REFINE, round(REFINE * spacing / SPACING)) if log_snrs is None else 1
    spectrum = None
    if coloured:
        levels = [int(level) for level in np.rint(log_snr * 65536)]
        best = np.array([found[r] for found, r in zip(energy, chosen, strict=True)])
        axes = () if space is None and channels == 3 else principal_axes(_weighed(best))
        spectrum = Spectrum.from_floats(levels, by_class(best, axes), class_counts(side, side, channels), axes)
    resolutions = Resolutions.of(log_snr, chosen) if max(factors) > 1 else None
    mse = np.array([found[r] for found, r in zip(total, chosen, strict=True)]) / (len(images) * dims)
    curve = ErrorCurve.from_floats(log_snr, mse, dims, refine, spectrum, resolutions)
    looking = replace(asked, resolutions=resolutions)
    with _evaluating(network):
        mirrored = _mirrored(looking, clean, log_snr[:: max(1, round(_MIRRORED_TRIED / spacing))])
    curve = replace(curve, bound=bound, mirrored=int(mirrored <= _MIRRORED_WORTH))
    return replace(curve, plans=placed(curve, plans)) if coloured else curve


def _candidates(level: float, factors: Sequence[int], any_size: bool) -> list[Resolution]:
    """Sizes worth trying at a level; where nothing but the picture as it is may be looked at, that one everywhere.

    Merging makes up for windows that show too little; a network that sees whole pictures doesn't need it.
    """
    if max(factors) == 1:
        return [Resolution(1)]
    tried = {r: span for r, span in _TRIED.items() if r.factor in factors and not (r.merged and any_size)}
    return [r for r, (low, high) in tried.items() if low <= level <= high]


def _best(found: dict[Resolution, float]) -> Resolution:
    """Return the smallest size whose error is next to the least."""
    least = min(found.values())
    return max((r for r, v in found.items() if v <= _CHEAPER * least), key=lambda r: (not r.merged, r.factor))


def _mirrored(network: _Network, clean: Sequence[NDArray[np.float32]], log_snrs: NDArray[np.float64]) -> float:
    """Return how many times the error of x_0 as seen the mean of that and of its mirror image has: over the levels, the
    geometric mean. A few pictures are enough, for both errors are of the same noise.
    """
    x_0 = clean[0][:_MIRRORED_PICTURES]
    eps, ratios = gaussian(Key(seed=1, step=0), x_0.size).reshape(x_0.shape), []
    for level in log_snrs:
        x_t = q_sample(x_0, float(level), eps)
        alone = x0_hat(network, x_t, float(level))
        both = x0_hat_of_both(network, x_t, float(level), alone)
        ratios.append([np.square(found - x_0, dtype=np.float64).sum() for found in (both, alone)])
    errors = np.log(np.maximum(np.array(ratios), 1e-30))
    return float(np.exp((errors[:, 0] - errors[:, 1]).mean()))


def _looking(network: _Network, resolution: Resolution) -> _Network:
    return replace(network, resolutions=Resolutions((0,), (resolution.factor,), (int(resolution.merged),)))


def _weighed(covariances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over levels of the error's covariance (levels, bands, c, c): each level counts alike."""
    of_level = covariances.sum(axis=1)
    power = np.trace(of_level, axis1=1, axis2=2)
    if not (power > 0).any():
        raise ModelError("the network makes no error that a spectrum could be measured of")
    return (of_level[power > 0] / power[power > 0, None, None]).mean(axis=0)  # type: ignore[no-any-return]


@contextmanager
def _evaluating(network: object) -> Iterator[None]:
    """Put a network in evaluation mode, as it will be in a codec; each of its modules is put back as it was.

    Modes are changed by `train`, for some networks do more there than set a flag.
    """
    if not isinstance(network, torch.nn.Module) or not any(module.training for module in network.modules()):
        yield
        return
    before = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in before:  # each before those inside it
            module.train(training)


def _clean(images: NDArray[np.uint8], batch: int, space: Space | None) -> Iterator[NDArray[np.float32]]:
    """x_0 of `batch` images at a time."""
    for start in range(0, len(images), batch):
        pixels = np.ascontiguousarray(images[start : start + batch].transpose(0, 3, 1, 2))
        planes = pixels.astype(np.float32) / np.float32(127.5) - 1
        yield planes if space is None else space.of_pictures(planes)
