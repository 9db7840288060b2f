"""What several tests share: a picture, the embedded model, and a model that cheats so that nothing needs training."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.spectrum import BANDS, Spectrum, bands, class_counts, transform, transform_back
from ddpmcodec.models import CodecModel, frozen, load_model
from ddpmcodec.numerics import native

settings.register_profile("ddpmcodec", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("ddpmcodec")

WINDOW = 32
PRIOR_VARIANCE = 0.04
TRACED = frozen._frozen


def prior_mean() -> NDArray[np.float32]:
    """(3, 32, 32): the fixed smooth picture around which the cheating model believes all pictures lie."""
    y, x = np.mgrid[:WINDOW, :WINDOW] / (WINDOW - 1)
    return np.stack([0.4 * np.sin(2 * x + y), 0.4 * np.cos(3 * y), 0.3 * x - 0.2 * y]).astype(np.float32)


class WienerModel:
    """eps of the posterior mean of x_0 under x_0 ~ N(prior_mean, PRIOR_VARIANCE I): exact, in one line, without
    training.
    """

    def __init__(self) -> None:
        self.mean = torch.from_numpy(prior_mean())

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        snr = math.exp(float(log_snr[0]))
        alpha_bar, gain = snr / (1 + snr), PRIOR_VARIANCE * snr / (1 + PRIOR_VARIANCE * snr)
        x_0 = self.mean + gain * (x_t / math.sqrt(alpha_bar) - self.mean)
        return (x_t - math.sqrt(alpha_bar) * x_0) / math.sqrt(1 - alpha_bar)


def wiener_mse(log_snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cheating model's error on pictures of its prior."""
    return PRIOR_VARIANCE / (1 + PRIOR_VARIANCE * np.exp(log_snr))


def class_variances() -> NDArray[np.float64]:
    """(96,): variance of a coefficient of each class in the coloured cheating model's pictures."""
    return np.concatenate([strength / (1 + np.arange(BANDS)) ** 2 for strength in (4.0, 1.0, 0.5)])


def coefficient_variances() -> NDArray[np.float32]:
    """(3, 32, 32) in the places of `transform`."""
    band = bands(WINDOW, WINDOW)
    return np.stack([class_variances()[colour * BANDS + band] for colour in range(3)]).astype(np.float32)


class SpectralModel:
    """Like WienerModel for pictures whose coefficients (see `spectrum`) are independent, of `coefficient_variances`."""

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        snr = math.exp(float(log_snr[0]))
        alpha_bar = snr / (1 + snr)
        gain = coefficient_variances() * snr / (1 + coefficient_variances() * snr)
        x_0 = torch.from_numpy(transform_back(gain * transform(x_t.numpy() / np.float32(math.sqrt(alpha_bar)))))
        return (x_t - math.sqrt(alpha_bar) * x_0) / math.sqrt(1 - alpha_bar)


def spectral_curve() -> ErrorCurve:
    """The coloured cheating model's own, with the spectrum."""
    log_snr, counts = np.linspace(-6.0, 4.0, 13), class_counts(WINDOW, WINDOW)
    energy = counts * class_variances() / (1 + class_variances() * np.exp(log_snr[:, None]))
    spectrum = Spectrum.from_floats([round(v * 65536) for v in log_snr], energy, counts)
    dims = 3 * WINDOW * WINDOW
    return ErrorCurve.from_floats(log_snr, energy.sum(axis=1) / dims, dims, spectrum=spectrum)


@pytest.fixture(scope="session")
def coloured_model() -> CodecModel:
    """A codec with a spectrum whose eps-model knows the pictures' distribution."""
    return CodecModel("coloured", SpectralModel(), spectral_curve(), "fedcba9876543210" * 4)


def coloured_pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, 32, 32, 3): pictures as the coloured cheating model expects them."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, WINDOW, WINDOW)).astype(np.float32)
    x_0 = transform_back(noise * np.sqrt(coefficient_variances()))
    return np.clip(np.rint((x_0 + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """The operating system refuses to let any file grow longer, as it would on a full disk."""
    import resource  # POSIX only

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session", autouse=True)
def _no_models_of_the_user_s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that tests do depends on, or ends up in, the folder where a user's models are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDPMCODEC_MODELS", str(tmp_path_factory.mktemp("models")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _equal_networks_are_traced_once() -> Iterator[None]:
    """A command loads its model anew, and most of that is tracing: here equal networks share what was traced."""
    kept = dict[tuple[object, ...], Any]()

    def once(network: Any) -> Any:
        weights, layout = hashlib.sha256(), list[object]()
        for name, value in network.state_dict().items():
            weights.update(value.flatten().view(torch.uint8).numpy())
            layout.append((name, value.dtype, value.stride()))
        key = (type(network), network.config, network.training, tuple(layout), weights.digest())
        if key not in kept:
            kept[key] = TRACED(network)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "_frozen", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _commands_are_built_once() -> Iterator[None]:
    """typer builds them anew for each call of a test, which takes longer than what most calls do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="module")
def _traced_anew() -> Iterator[None]:
    """For tests of what loading does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "_frozen", TRACED)
        yield


@pytest.fixture(params=["numpy", "native"])
def each_search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both searches of the CPU, one after the other; native code is left out where it was not built."""
    if request.param == "native" and not native.built():
        pytest.skip("native code was not built")
    monkeypatch.setenv(native.VARIABLE, request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def curve() -> ErrorCurve:
    """A plausible falling error curve of 25 levels: the cheating model's own at every other one.

    Between them it is a little higher, so that plans have steps of like sizes: of the true curve one step is as good as
    many.
    """
    log_snr, measured = np.linspace(-6.0, 4.0, 25), np.linspace(-6.0, 4.0, 13)
    mse = np.exp(np.interp(log_snr, measured, np.log(wiener_mse(measured))))
    return ErrorCurve.from_floats(log_snr, mse, dims=3 * WINDOW * WINDOW, refine=1)


@pytest.fixture(scope="session")
def tiny_model(curve: ErrorCurve) -> CodecModel:
    """A codec whose eps-model knows the pictures' distribution; elementwise, so the same floats in any batch."""
    return CodecModel("tiny", WienerModel(), curve, "0123456789abcdef" * 4)


@pytest.fixture(scope="session")
def model() -> CodecModel:
    """The trained model that comes with the package; for the few tests that need one."""
    return load_model("cifar10-small")


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    """(32, 32, 3): the astronaut, small."""
    return np.asarray(Image.fromarray(data.astronaut()).reduce(16))


@pytest.fixture(scope="session")
def prior_picture() -> NDArray[np.uint8]:
    """(32, 32, 3): a picture of the very kind that the cheating model expects."""
    noise = np.random.default_rng(5).normal(scale=math.sqrt(PRIOR_VARIANCE), size=(3, WINDOW, WINDOW))
    levels = np.rint((prior_mean() + noise + 1) * 127.5)
    return np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
