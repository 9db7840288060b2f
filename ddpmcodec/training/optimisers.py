"""Optimisers: which one serves which weights, as one thing with one state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ddpmcodec.training.muon import Muon
from ddpmcodec.training.recipe import Recipe

_PICTURE_LAYERS = ("stem.", "head.", "conv_out.")  # kernels on one side of which is a picture


class Optimisers:
    """Muon for the convolutions between features, where the recipe asks for it; AdamW for everything else."""

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device):
        named = list(network.named_parameters())
        turned = {n for n, p in named if recipe.muon and p.ndim == 4 and not n.startswith(_PICTURE_LAYERS)}
        kernels = [p for n, p in named if n in turned]
        matrices = [p for n, p in named if n not in turned and p.ndim > 1]
        others = [p for _, p in named if p.ndim <= 1]
        # On a GPU learning rates are tensors, so that a recorded step reads them where they are.
        graphed = device.type == "cuda"
        self._peaks = [recipe.lr] + ([recipe.muon_lr] if kernels else [])
        self.rates = [torch.tensor(lr, device=device) if graphed else lr for lr in self._peaks]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        options: dict[str, Any] = {"fused": True, "capturable": True} if graphed else {}
        adamw = torch.optim.AdamW(groups, lr=self.rates[0], betas=(0.9, recipe.beta2), **options)
        self._parts: list[torch.optim.Optimizer] = [adamw]
        if kernels:
            precision = torch.bfloat16 if recipe.bf16 or graphed else torch.float32
            self._parts.append(Muon(kernels, self.rates[1], weight_decay=recipe.weight_decay, precision=precision))

    @property
    def parts(self) -> tuple[torch.optim.Optimizer, ...]:
        """Return AdamW, and Muon where there is one."""
        return tuple(self._parts)

    @property
    def rate(self) -> float:
        """Return AdamW's learning rate now."""
        return float(self._parts[0].param_groups[0]["lr"])

    def set_rate(self, share: float) -> None:
        """Set every learning rate to this share of its peak."""
        for i, (part, peak) in enumerate(zip(self._parts, self._peaks, strict=True)):
            rate = self.rates[i]
            if isinstance(rate, Tensor):
                rate.fill_(peak * share)
                continue
            for group in part.param_groups:
                group["lr"] = peak * share

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Take a step with the gradients that are there."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of all parts."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore a state. Raises ValueError, KeyError or RuntimeError when it is another network's or recipe's."""
        if len(states) != len(self._parts):
            raise ValueError(f"the state of {len(states)} optimisers, expected {len(self._parts)}")
        for part, state in zip(self._parts, states, strict=True):
            # Settings are the recipe's and the device's, not those of the machine that the state comes from.
            settings = [{k: v for k, v in group.items() if k != "params"} for group in part.param_groups]
            groups = [s | now for s, now in zip(state["param_groups"], settings, strict=True)]
            part.load_state_dict(state | {"param_groups": groups})
            _require_shapes(part)
            for group, now in zip(part.param_groups, settings, strict=True):
                group.update(now)  # the very tensors that hold the rates, not copies


def _require_shapes(part: torch.optim.Optimizer) -> None:
    """Raise ValueError where a state is of weights of other shapes, which torch would only notice in the next step."""
    for weight, state in part.state.items():
        for value in state.values():
            if isinstance(value, Tensor) and value.ndim and value.shape != weight.shape:
                raise ValueError(f"the state of weights of {tuple(value.shape)}, expected {tuple(weight.shape)}")
