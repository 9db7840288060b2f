"""Outputs of a network, brought into one form: a tensor like x_t, and, of a kind that predicts something else,
ε̂.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddpmcodec.errors import DdpmCodecError, ModelError
from ddpmcodec.models.condition import Condition
from ddpmcodec.models.memory import is_out_of_memory
from ddpmcodec.models.prediction import prediction
from ddpmcodec.models.safetensors_file import one_line


def output_like(output: Any, x_t: Tensor) -> Tensor:
    """Return the prediction in a network's output: the first of a tuple, an object's `sample`, of twice the channels
    the first half, for learned variances follow (Nichol & Dhariwal 2021). Raises ModelError for anything else.
    """
    if isinstance(output, tuple | list) and output:
        output = output[0]
    output = getattr(output, "sample", output) if not isinstance(output, Tensor) else output
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the network gives a {type(output).__name__}: expected a tensor like x_t, a tuple that begins with one, "
            "or an object that has one as .sample"
        )
    if output.ndim == x_t.ndim == 4 and output.shape[1] == 2 * x_t.shape[1]:
        output = output[:, : x_t.shape[1]]
    if output.shape != x_t.shape:
        raise ModelError(
            f"the network gives {tuple(output.shape)} for {tuple(x_t.shape)}: expected the same shape, or twice the "
            "channels with variances"
        )
    return output


@dataclass(frozen=True)
class EpsOf:
    """ε̂ of a network that is told the log-SNR and predicts what `prediction` names."""

    network: Callable[[Tensor, Tensor], Any]
    predicts: str

    def __post_init__(self) -> None:
        prediction(self.predicts)

    def told(self, condition: Condition) -> EpsOf:
        """Return ε̂ of the network told a condition. Raises ModelError for one that it can't be told."""
        tell = getattr(self.network, "told", None)
        if tell is None and condition != Condition():
            raise ModelError("this network takes no class, prompt or guidance")
        return self if tell is None else EpsOf(tell(condition), self.predicts)

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """x_t: (n, c, h, w); log_snr: (n,). Returns ε̂ like x_t."""
        kind = prediction(self.predicts)
        try:
            output = self.network(kind.state(x_t, log_snr), log_snr)
        except DdpmCodecError:
            raise
        except Exception as error:  # a caller's network may raise anything
            if is_out_of_memory(error):
                raise
            raise ModelError(
                f"the network can't be called: {type(error).__name__}: {one_line(error)}; expected a function of x_t, "
                f"{_said(x_t)}, and log_snr, {_said(log_snr)}"
            ) from error
        return kind.eps(output_like(output, x_t), x_t, log_snr)


def _said(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
