"""Channels on real chains: the same pictures on the same plan, by each channel in turn. Used by `channels`.

- payload bits: of the stream of so many steps, as `rd` has them: channel symbols, bit counts, END, rounding to whole
  bytes.
- ratio: payload bits over ideal bits at equal RMSE (mean over images), ideal bits being those along exact draws from
  q.
- achieved shift: Σ z·w / Σ |w|^2 over the pictures and the steps so far, w the wanted shift and z the channel's
  sample, both in units of the noise's standard deviation. 1 is unbiased; what a step leaves undone, later steps have
  to do.
- afforded shift: that of a channel without bias, given the bit counts that the sender chose from the grid.
- seconds: the sender's processor time for one picture of the batch, network included.

DiffC's rule (see `diffc_rule`) is simulated: its races are run on scalars, but what wins is a draw of the whole sample,
which the chain goes on from. It is charged for what the codec's channels are charged for: its KL stands for the bit
count, rounded only where it is paid for. Its prior, N(mu_p, b I), costs more than the ideal rate's, and more so the
larger the steps; `own_kl_along` is its own divergence.

`*_error` are standard errors over pictures, of ratios and shifts by the jackknife.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.bit_counts import END, BitCountModel
from ddpmcodec.bitstream.range_coder import information
from ddpmcodec.codec.sender import Sender
from ddpmcodec.diffusion.denoiser import canvas_size
from ddpmcodec.diffusion.gaussians import ideal_bits, posterior
from ddpmcodec.errors import ImageError
from ddpmcodec.eval.channels.diffc_rule import diffc_chunks, kl_bits, race, zipf_bits
from ddpmcodec.eval.rd import measure
from ddpmcodec.eval.rd.curves import (
    IDEAL,
    PAYLOAD,
    RMSE,
    Curve,
    distortion_curve,
    finite,
    ideal_curve,
    rate_at,
    with_error,
)
from ddpmcodec.io.images import to_bytes, to_plane
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics.symbol_model import SymbolModel

DIFFC = "DiffC's rule"
RMSES = (12.0, 1.0)  # where ratios are given; the second, where a chain ends above it, gives way to the highest end
Floats = NDArray[np.float64]
Table = dict[str, Floats]


class _Step(NamedTuple):
    """One step of n pictures, sent: the chain is at its end."""

    shifts: NDArray[np.float32]  # (n, dims) w
    samples: NDArray[np.float32]  # (n, dims) z
    afforded: Floats  # (n,) the |w| that the chosen bit counts pay for
    payload_bits: list[float]  # of the stream, were it to end here
    seconds: float  # NaN where it is simulated


def compare(
    model: CodecModel, images: NDArray[np.uint8], names: Sequence[str], plan_steps: int | None, seed: int
) -> dict[str, Any]:
    """Curves of each channel and of the ideal rate, and what they come to, on pictures (n, h, w, 3)."""
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
        at = [_ratio_at(exact, table, dims, rmse) for rmse in (RMSES[0], max(RMSES[1], *ends))]
        result[name] = {
            "seconds_an_image": finite(np.array([seconds[name] / len(images)]))[0],
            "at": at,
            "end": _end(name, table, dims),
            "curve": _curve(table, dims),
        }
    return {"ideal": ideal_curve(exact, np.full(len(images), float(dims))), "channels": result}


def chain_table(
    model: CodecModel, images: NDArray[np.uint8], plan_steps: int | None, name: str, seed: int
) -> tuple[Table, float]:
    """Of each picture and step: payload_bits, mse, ideal_bits, along (z·w), afforded and wanted (|w|^2); and all
    seconds.

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
    """What `encode` does, step by step."""
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
    """The same with samples as DiffC's rule draws them."""
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
    """Bits and sample (dims,) of DiffC's rule for a shift (dims,), dimensions dealt to the chunks at random, as
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


def _curve(table: Table, dims: int) -> Curve:
    """Means over pictures by number of steps; achieved_shift is that of all steps so far."""
    return {
        **with_error(PAYLOAD, table["payload_bits"] / dims),
        **distortion_curve(table["mse"]),
        "achieved_shift": finite(_shift(np.cumsum(table["along"], axis=1), np.cumsum(table["wanted"], axis=1))),
    }


def _shift(along: Floats, wanted: Floats) -> Floats:
    return np.asarray(along.sum(axis=0) / wanted.sum(axis=0))


def _end(name: str, table: Table, dims: int) -> dict[str, Any]:
    """Of the whole chain. ideal_along: ideal bits along the chain's own path; they and ratio need no equal RMSE."""
    payload, along = (
        float(table["payload_bits"][:, -1].mean()) / dims,
        float(table["ideal_bits"].sum(axis=1).mean()) / dims,
    )
    of_pictures, wanted = table["along"].sum(axis=1), table["wanted"].sum(axis=1)
    shift = with_jackknife(lambda kept: float(_shift(of_pictures[kept], wanted[kept])), len(wanted))
    return {
        "rmse": float(np.sqrt(table["mse"][:, -1]).mean()),
        "real_payload": payload,
        "ideal_along": along,
        "ratio": payload / along,
        "achieved_shift": shift[0],
        "achieved_shift_error": shift[1],
        "afforded_shift": float(table["afforded"].sum() / wanted.sum()),
    } | ({"own_kl_along": float(wanted.mean()) / 2 * math.log2(math.e) / dims} if name == DIFFC else {})


def _ratio_at(exact: Table, table: Table, dims: int, rmse: float) -> dict[str, float | None]:
    def ideal_and_real(kept: NDArray[np.intp]) -> tuple[float | None, float | None]:
        of_exact = ideal_curve({k: v[kept] for k, v in exact.items()}, np.full(len(kept), float(dims)))
        of_channel = _curve({k: v[kept] for k, v in table.items()}, dims)
        return rate_at(of_exact, IDEAL, rmse), rate_at(of_channel, PAYLOAD, rmse)

    def ratio(kept: NDArray[np.intp]) -> float:
        ideal, real = ideal_and_real(kept)
        return real / ideal if ideal and real else math.nan

    ideal, real = ideal_and_real(np.arange(len(table["mse"])))
    value, error = with_jackknife(ratio, len(table["mse"]))
    return {"rmse": rmse, "ideal": ideal, "real_payload": real, "ratio": value, "ratio_error": error}


def with_jackknife(statistic: Callable[[NDArray[np.intp]], float], count: int) -> tuple[float | None, float | None]:
    """A statistic of pictures, given by their places, and its standard error; None where it can't be had."""
    every = np.arange(count)
    without = [statistic(np.delete(every, i)) for i in every] if count > 1 else [math.nan]
    error = math.sqrt((count - 1) * np.var(without))
    value, error_or_none = finite(np.array([statistic(every), error]))
    return value, error_or_none


def overhead_curve(ideal: Curve, curve: Curve) -> tuple[Floats, Floats]:
    """(payload bits/dim, payload over ideal bits at equal RMSE) after each step that both curves reach."""
    pairs = zip(curve[PAYLOAD], curve[RMSE[0]], strict=True)
    points = [(r, r / a) for r, d in pairs if r and d and (a := rate_at(ideal, IDEAL, d))]
    rates, ratios = np.array(points).reshape(-1, 2).T
    return rates, ratios
