"""Channels on real chains: the same pictures on the same plan, by each channel in turn. Used by `compare`.

- payload bits: those of the stream that ends after a step, as `rd` has them: channel symbols, bit counts, END, rounding
  to whole bytes.
- seconds: the sender's processor time for one picture of the batch, network included.

DiffC's rule (see `diffc_rule`) is simulated: its races are run on scalars, but what wins is a draw of the whole sample,
which the chain goes on from. It is charged for what the codec's channels are charged for: its KL stands for the bit
count, rounded only where it is paid for. Its prior, N(mu_p, b I), costs more than the ideal rate's, and more so the
larger the steps; `own_kl_along` is its own divergence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.bit_counts import END, BitCountModel
from ddpmcodec.bitstream.range_coder import information
from ddpmcodec.codec.sender import Sender
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.gaussians import ideal_bits, posterior
from ddpmcodec.errors import ImageError
from ddpmcodec.eval.channels.chain_statistics import Floats, Table, curve_of, end_of, ratio_at
from ddpmcodec.eval.channels.diffc_rule import DIFFC, diffc_chunks, kl_bits, race, zipf_bits
from ddpmcodec.eval.rd import measure
from ddpmcodec.eval.rd.curves import finite, ideal_curve
from ddpmcodec.io.images import to_bytes, to_plane
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics.symbol_model import SymbolModel

RMSES = (12.0, 1.0)  # where ratios are given; the second, where a chain ends above it, gives way to the highest end


class _Step(NamedTuple):
    """Step of n pictures that was sent: the chain is at its end."""

    shifts: NDArray[np.float32]  # (n, dims) w
    samples: NDArray[np.float32]  # (n, dims) z
    afforded: Floats  # (n,) the |w| that the chosen bit counts pay for
    payload_bits: list[float]  # the streams', were they to end here
    seconds: float  # NaN where it is simulated


def compare(
    model: CodecModel, images: NDArray[np.uint8], names: Sequence[str], plan_steps: int | None, seed: int
) -> dict[str, Any]:
    """Return curves of each channel and of the ideal rate, and what they come to, on pictures (n, h, w, 3)."""
    # All priors are white: DiffC's rule is for such, and the channels are to be compared under the same ones.
    model = replace(model, curve=replace(model.curve, spectrum=None))
    exact = measure.ideal(model, list(images), plan_steps, seed)
    tables, seconds = {}, {}
    for name in names:
        tables[name], seconds[name] = chain_table(model, images, plan_steps, name, seed)
    ends = [float(np.sqrt(t["mse"][:, -1]).mean()) for t in (exact, *tables.values())]
    dims = images[0].size
    result = {}
    for name, table in tables.items():
        at = [ratio_at(exact, table, dims, rmse) for rmse in (RMSES[0], max(RMSES[1], *ends))]
        result[name] = {
            "seconds_an_image": finite(np.array([seconds[name] / len(images)]))[0],
            "at": at,
            "end": end_of(name, table, dims),
            "curve": curve_of(table, dims),
        }
    return {"ideal": ideal_curve(exact, np.full(len(images), float(dims))), "channels": result}


def chain_table(
    model: CodecModel, images: NDArray[np.uint8], plan_steps: int | None, name: str, seed: int
) -> tuple[Table, float]:
    """Return a table by picture and step: payload_bits, mse, ideal_bits, along (z·w), afforded and wanted (|w|^2); and
    all seconds.

    images: (n, h, w, 3), of a size that needs no padding, else ImageError. name: a channel's, or DIFFC.
    """
    height, width = images.shape[1:3]
    if canvas_size(height, width, model.window) != (height, width):
        raise ImageError(
            f"pictures of {width}x{height}: expected at least the model's window, {model.window}x{model.window}"
        )
    sender = Sender(
        *images, model=model, plan_steps=plan_steps, channel="trellis" if name == DIFFC else name, seed=seed
    )
    chain, plan, dims = sender.chain, sender.chain.plan, sender.chain.dims
    table = {
        k: np.zeros((len(images), plan.steps))
        for k in ("payload_bits", "mse", "ideal_bits", "along", "afforded", "wanted")
    }
    seconds = 0.0
    for n, step in enumerate(_diffc_steps(sender) if name == DIFFC else _steps(sender)):
        seconds += step.seconds
        table["payload_bits"][:, n] = step.payload_bits
        table["along"][:, n] = np.einsum("ij,ij->i", step.samples, step.shifts, dtype=np.float64)
        table["wanted"][:, n] = np.einsum("ij,ij->i", step.shifts, step.shifts, dtype=np.float64)
        table["afforded"][:, n] = step.afforded * np.sqrt(table["wanted"][:, n])
        table["ideal_bits"][:, n] = [ideal_bits(float(w) / dims, dims) for w in table["wanted"][:, n]]
        for i, plane in enumerate(chain.x0_hat()):
            table["mse"][i, n] = measure.squared_error(images[i], to_bytes(plane, height, width))
    return table, seconds


def _steps(sender: Sender) -> Iterator[_Step]:
    """Send as `encode` does, step by step."""
    chain, x_0 = sender.chain, np.stack([to_plane(picture) for picture in sender.pictures])
    x_t, start = chain.x_t, time.process_time()
    for sent in sender.send():
        chain.x0_hat()  # the next step's network call
        seconds = time.process_time() - start
        q = posterior(sent.log_snr_t, sent.log_snr_s)
        sigma, mu_p, x_t = math.sqrt(q.variance), q.mean(sent.x0_hat, x_t), sent.x_s
        payload = [8.0 * len(stream.ended_here().sealed()) for stream in sender.streams]
        shifts, samples = (x_0 - sent.x0_hat) * (q.x0_coef / sigma), (sent.x_s - mu_p) / sigma
        afforded = np.sqrt([chain.dims * chain.channel.snr(packet.bits, chain.dims) for packet in sent.packets])
        yield _Step(shifts.reshape(len(x_0), -1), samples.reshape(len(x_0), -1), afforded, payload, seconds)
        start = time.process_time()


def _diffc_steps(sender: Sender) -> Iterator[_Step]:
    """Send likewise with samples as DiffC's rule draws them."""
    chain = sender.chain
    rng = np.random.default_rng(chain.seed)
    counts = [BitCountModel(chain.plan, chain.channel, chain.dims) for _ in sender.pictures]
    bits = [0.0] * len(counts)
    while not chain.ended:
        shifts = sender.shifts().reshape(len(counts), -1)
        samples, sigma = np.empty_like(shifts), np.float32(math.sqrt(chain.posterior.variance))
        for i, (shift, model) in enumerate(zip(shifts, counts, strict=True)):
            chosen = model.choose(kl_bits(shift))
            spent, samples[i] = diffc_sample(shift, rng)
            bits[i] += spent + _symbol_bits(model.symbol_model(), chosen + 1)
            model.update(chosen)
        chain.jump(chain.prior_mean() + sigma * samples.reshape(chain.x_t.shape))
        payload = [
            b if chain.ended else b + _symbol_bits(m.symbol_model(), END) for b, m in zip(bits, counts, strict=True)
        ]
        yield _Step(
            shifts, samples, np.linalg.norm(shifts, axis=1), [8.0 * math.ceil(b / 8) for b in payload], math.nan
        )


def diffc_sample(shift: NDArray[np.float32], rng: np.random.Generator) -> tuple[float, NDArray[np.float32]]:
    """Return bits and sample (dims,) of DiffC's rule for a shift (dims,), dimensions dealt to the chunks at random, as
    published.

    A race depends on a candidate only through its component along the shift, so the winner's others are plain normal
    draws.
    """
    divergence = kl_bits(shift)
    chunks = diffc_chunks(divergence)
    ends = np.cumsum([len(shift) * c // sum(chunks) for c in chunks])[:-1]
    bits, sample = 0.0, rng.standard_normal(len(shift), np.float32)
    for dealt, chunk in zip(np.split(rng.permutation(len(shift)), ends), chunks, strict=True):
        norm = math.sqrt(np.square(shift[dealt], dtype=np.float64).sum())
        index, along = race(norm, chunk, rng)
        bits += zipf_bits(index, divergence * chunk / sum(chunks), chunk)
        direction = shift[dealt] / np.float32(norm)
        sample[dealt] += (np.float32(along) - sample[dealt] @ direction) * direction
    return bits, sample


def _symbol_bits(symbol_model: SymbolModel, symbol: int) -> float:
    return information([symbol_model], np.array([symbol], np.int32))
