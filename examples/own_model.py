"""Make a codec of a model of one's own: anything that predicts the noise in a picture will do.

python examples/own_model.py

This one has no network. It takes 8×8 pixels of photographs for draws from a Gaussian distribution, whose mean and
covariance it learns from two pictures, and knows the best guess of x_0 given x_t in one line.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor

import ddpmcodec
from ddpmcodec.models import codec_model, measure_curve

WINDOW = 8  # pixels: the model sees a picture in squares of this side


class GaussianModel(torch.nn.Module):
    """Best eps(x_t, log-SNR) for pictures that are draws from N(mean, U diag(variance) U^T)."""

    mean: Tensor
    variance: Tensor
    axes: Tensor

    def __init__(self, pictures: NDArray[np.uint8]):
        super().__init__()
        flat = pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1) / 127.5 - 1  # (n, 3*8*8) on [-1, 1]
        variance, axes = np.linalg.eigh(np.cov(flat, rowvar=False))
        learnt = {"mean": flat.mean(axis=0), "variance": np.maximum(variance, 1e-6), "axes": axes}
        for name, values in learnt.items():  # buffers: a model's fingerprint, in each file's header, is of these
            self.register_buffer(name, torch.from_numpy(values).float())

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return the expected noise: x_t is (n, 3, 8, 8), log_snr is (n,)."""
        snr = torch.exp(log_snr)[:, None]
        alpha_bar = snr / (1 + snr)
        seen = x_t.reshape(len(x_t), -1) / alpha_bar.sqrt() - self.mean  # x_0 less its mean, and noise of 1 / snr
        gain = self.variance * snr / (1 + self.variance * snr)
        x_0 = self.mean + (seen @ self.axes * gain) @ self.axes.T
        eps = (x_t.reshape(len(x_t), -1) - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
        return eps.reshape(x_t.shape)


def squares(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture's squares, (n, 8, 8, 3)."""
    rows, columns = picture.shape[0] // WINDOW, picture.shape[1] // WINDOW
    cut = picture[: rows * WINDOW, : columns * WINDOW].reshape(rows, WINDOW, columns, WINDOW, 3)
    return cut.swapaxes(1, 2).reshape(-1, WINDOW, WINDOW, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pictures", type=int, default=1000, help="squares that are learnt from (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    known = np.concatenate([squares(data.astronaut()), squares(data.coffee())])
    known = np.random.default_rng(0).permutation(known)[: chosen.pictures]

    network = GaussianModel(known)
    curve = measure_curve(network, known, coloured=False)  # its error at every noise level, which the codec plans by
    model = codec_model(network, curve, "gaussian", window=WINDOW)

    picture = data.chelsea()[100:148, 100:164]  # a cat, which it has never seen
    stream = ddpmcodec.encode(picture, model=model, plan_steps=20)
    decoded = ddpmcodec.decode(stream, model=model)
    rmse = np.sqrt(np.mean((decoded.astype(float) - picture) ** 2))
    print(f"{len(stream)} bytes, {8 * len(stream) / picture.size:.3f} bits/dim, RMSE {rmse:.2f}")
    exact = ddpmcodec.encode(picture, model=model, plan_steps=20, lossless=True)
    assert (ddpmcodec.decode(exact, model=model) == picture).all()
    print(f"{len(exact)} bytes, {8 * len(exact) / picture.size:.3f} bits/dim, exact")


if __name__ == "__main__":
    main()
