"""Muon: momentum whose update of each convolution is made orthogonal (Jordan et al. 2024), AdamW for everything else.

torch's own Muon takes matrices only, one after another; a network has dozens of convolutions of few shapes, so those of
one shape go through the Newton-Schulz iteration as one batch, and a step stays a few hundred kernels on a GPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Quintic that drives singular values towards 1 (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return about U·Vᵀ of each matrix U·S·Vᵀ, (n, rows, columns), computed in their own precision; singular values
    about 0.7 to 1.2. bfloat16 will do.
    """
    a, b, c = _COEFFICIENTS
    x = matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised: each kernel is a matrix, outputs by inputs times places.

    params: weights of two or more dimensions. lr: a square matrix's; a step is scaled by √max(1, rows/columns). Weight
    decay is decoupled, as in AdamW. A learning rate given as a tensor is read where the step runs. precision: of the
    iteration; bfloat16 is fastest where the machine multiplies it natively, and slower than float32 elsewhere.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Tensor = 0.01,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        precision: torch.dtype = torch.bfloat16,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step with the gradients that are there."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            grads = [p.grad for p in weights]
            for p in weights:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in weights]
            torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
            updates = torch._foreach_lerp(grads, buffers, group["momentum"])
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            same: defaultdict[torch.Size, list[int]] = defaultdict(list)
            for i, p in enumerate(weights):
                same[p.shape].append(i)
            for shape, places in same.items():
                # Columns in the order of memory (places first), so that nothing is copied twice; the product is the
                # same.
                stacked = torch.stack([updates[i].movedim(1, -1).flatten(1) for i in places])
                rows, columns = stacked.shape[1:]
                change = orthogonalised(stacked.to(self._precision)).to(weights[places[0]].dtype) * (
                    group["lr"] * max(1.0, rows / columns) ** 0.5
                )
                whole = change.unflatten(2, (*shape[2:], shape[1])).movedim(-1, 2)
                torch._foreach_sub_([weights[i] for i in places], list(whole.unbind()))
