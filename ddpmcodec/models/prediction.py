"""Prediction of a network, turned into ε at a log-SNR: one formula a kind, and what the network sees in place of x_t.

x_t = α x_0 + σ ε with α² = sigmoid(λ) and σ² = sigmoid(-λ) throughout, so α/σ = exp(λ/2). Tensors: outputs and x_t (n,
c, h, w), log_snr λ (n,). Every function returns a tensor like x_t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ddpmcodec.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Formula = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]  # (output, x_t, log_snr)
SIGMA_DATA = 0.5  # standard deviation of pictures on [-1, 1], as EDM takes it (Karras et al. 2022, table 1)


def eps_from_eps(output: Tensor, x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return the output itself: Ho et al. 2020, eq. 11."""
    return output


def eps_from_v(output: Tensor, x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return ε = α v + σ x_t, of v = α ε - σ x_0: Salimans & Ho 2022, appendix D."""
    alpha, sigma = _alpha(log_snr), _alpha(-log_snr)
    return alpha * output + sigma * x_t


def eps_from_x0(output: Tensor, x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return ε = (x_t - α x_0) / σ: Ho et al. 2020, eq. 4, solved for ε."""
    alpha, sigma = _alpha(log_snr), _alpha(-log_snr)
    return (x_t - alpha * output) / sigma


def eps_from_flow(output: Tensor, x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return ε = x_s + (1 - s) v, of v = ε - x_0 and x_s = (1 - s) x_0 + s ε: Liu et al. 2023, eq. 1; Esser et al.
    2024, eq. 13.
    """
    return flow_state(x_t, log_snr) + (1 - flow_time(_wide(log_snr))) * output


def eps_from_edm(output: Tensor, x_t: Tensor, log_snr: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """Return ε = (x - D) / n, of D = c_skip x + c_out F at x = x_0 + n ε: Karras et al. 2022, eq. 7 and table 1."""
    noise = (-_wide(log_snr) / 2).exp()
    x, variance = x_t / _alpha(log_snr), noise**2 + sigma_data**2
    denoised = sigma_data**2 / variance * x + noise * sigma_data / variance.sqrt() * output
    return (x - denoised) / noise


def eps_from_edm_v(output: Tensor, x_t: Tensor, log_snr: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """Return ε of a network whose output is -F: diffusers' EDM schedulers with prediction_type "v_prediction"."""
    return eps_from_edm(-output, x_t, log_snr, sigma_data)


def flow_time(log_snr: Tensor) -> Tensor:
    """Return s of a rectified flow, where (1 - s) / s = α / σ."""
    return (-log_snr / 2).sigmoid()


def flow_state(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return x_s = (1 - s) x_0 + s ε, which is x_t (1 - s) / α."""
    s = flow_time(_wide(log_snr))
    return x_t * ((1 - s) ** 2 + s**2).sqrt()


def edm_state(x_t: Tensor, log_snr: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """Return c_in x of x = x_0 + n ε, which is x_t / α: Karras et al. 2022, table 1."""
    noise = (-_wide(log_snr) / 2).exp()
    return x_t / _alpha(log_snr) / (noise**2 + sigma_data**2).sqrt()


@dataclass(frozen=True)
class Prediction:
    """Kind of a network: what it sees of x_t at a log-SNR, and how its output becomes ε."""

    state: Callable[[Tensor, Tensor], Tensor]
    eps: Formula


def prediction(name: str, sigma_data: float = SIGMA_DATA) -> Prediction:
    """Return the kind of a name, diffusers' own where it has one. sigma_data: of "edm". Raises ModelError."""
    state, edm = partial(edm_state, sigma_data=sigma_data), partial(eps_from_edm, sigma_data=sigma_data)
    kinds = {
        "epsilon": Prediction(_as_it_is, eps_from_eps),
        "v_prediction": Prediction(_as_it_is, eps_from_v),
        "sample": Prediction(_as_it_is, eps_from_x0),
        "flow_prediction": Prediction(flow_state, eps_from_flow),
        "edm": Prediction(state, edm),
        "edm_v": Prediction(state, partial(eps_from_edm_v, sigma_data=sigma_data)),
    }
    if not isinstance(name, str) or name not in kinds:
        raise ModelError(f"a network that predicts {name!r}: expected one of {', '.join(kinds)}")
    return kinds[name]


def _as_it_is(x_t: Tensor, log_snr: Tensor) -> Tensor:
    return x_t


def _wide(log_snr: Tensor) -> Tensor:
    return log_snr.reshape(-1, 1, 1, 1)


def _alpha(log_snr: Tensor) -> Tensor:
    return _wide(log_snr).sigmoid().sqrt()
