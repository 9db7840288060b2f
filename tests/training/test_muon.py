"""Muon: orthogonal updates, and the optimisers that a recipe asks for."""

from __future__ import annotations

import pytest
import torch

from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.training.muon import Muon, orthogonalised
from ddpmcodec.training.optimisers import Optimisers
from ddpmcodec.training.recipe import Recipe

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_singular_values_become_about_one(shape: tuple[int, int, int]):
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.tensor([1e-4, 1.0, 1e4])[: shape[0], None, None]
    values = torch.linalg.svdvals(orthogonalised(matrices).float())
    assert values.min() > 0.3  # square Gaussian matrices have some all but zero
    assert values.max() < 1.3


def test_directions_are_kept():
    """U and V of U·S·Vᵀ stay: the product with U·Vᵀ is close to the identity."""
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(12, 12))
    v, _ = torch.linalg.qr(torch.randn(30, 12))
    matrix = u @ torch.diag(torch.linspace(0.5, 2, 12)) @ v.T
    found = u.T @ orthogonalised(matrix[None])[0].float() @ v
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=0.05)
    assert (found.diagonal() > 0.6).all()


def test_a_step_has_the_size_that_the_rate_says():
    weight = torch.zeros(16, 4, 3, 3, requires_grad=True)
    optimiser = Muon([weight], lr=0.1)
    weight.grad = torch.randn(16, 4, 3, 3) * 1e-3
    optimiser.step()
    values = torch.linalg.svdvals(weight.detach().flatten(1))
    assert values.numpy() == pytest.approx(0.1, rel=0.35)  # rows/columns is 16/36, below 1
    tall = torch.zeros(64, 4, 1, 1, requires_grad=True)
    optimiser = Muon([tall], lr=0.1)
    tall.grad = torch.randn(64, 4, 1, 1)
    optimiser.step()
    assert torch.linalg.svdvals(tall.detach().flatten(1)).numpy() == pytest.approx(0.4, rel=0.35)


def test_memory_format_makes_no_difference():
    torch.manual_seed(0)
    grad, start = torch.randn(8, 6, 3, 3), torch.randn(8, 6, 3, 3)
    found = []
    for memory in (torch.contiguous_format, torch.channels_last):
        weight = start.clone(memory_format=memory).requires_grad_()
        optimiser = Muon([weight], lr=0.1, weight_decay=0.1)
        for _ in range(3):
            weight.grad = grad.clone(memory_format=memory)
            optimiser.step()
        found.append(weight.detach())
    assert torch.allclose(found[0], found[1], atol=1e-3)


def test_kernels_of_one_shape_are_independent():
    torch.manual_seed(0)
    grads = torch.randn(3, 8, 6, 3, 3)
    together = [torch.zeros(8, 6, 3, 3, requires_grad=True) for _ in grads]
    for weight, grad in zip(together, grads, strict=True):
        weight.grad = grad.clone()
    Muon(together, lr=0.1).step()
    for weight, grad in zip(together, grads, strict=True):
        alone = torch.zeros(8, 6, 3, 3, requires_grad=True)
        alone.grad = grad.clone()
        Muon([alone], lr=0.1).step()
        assert torch.allclose(weight, alone, atol=1e-3)


def test_a_rate_may_be_a_tensor():
    found = []
    for lr in (0.05, torch.tensor(0.05)):
        torch.manual_seed(0)
        weight = torch.ones(4, 4, 3, 3, requires_grad=True)
        weight.grad = torch.randn(4, 4, 3, 3)
        Muon([weight], lr=lr, weight_decay=0.1).step()
        found.append(weight.detach())
    assert torch.allclose(*found, atol=1e-6)


class TestOptimisers:
    network = ConvUNetConfig(
        channels=(8, 12), down_blocks=(1, 1), up_blocks=(1, 0), embedding=8, frequencies=4, window=16, knots=4
    )

    def test_every_weight_is_served_once(self):
        net = self.network.build()
        both = Optimisers(net, Recipe(), CPU)
        served = [p for part in both._parts for group in part.param_groups for p in group["params"]]
        assert sorted(map(id, served)) == sorted(map(id, net.parameters()))
        muon = {id(p) for group in both._parts[1].param_groups for p in group["params"]}
        names = {name for name, p in net.named_parameters() if id(p) in muon}
        assert "down.0.0.conv1.weight" in names
        assert "grow.0.weight" in names
        assert not any(name.startswith(("stem", "head", "embed")) or "modulation" in name for name in names)

    def test_without_muon(self):
        net = self.network.build()
        (only,) = Optimisers(net, Recipe(muon=False), CPU)._parts
        assert isinstance(only, torch.optim.AdamW)

    def test_rates_are_shares_of_their_peaks(self):
        both = Optimisers(self.network.build(), Recipe(lr=1e-3, muon_lr=0.02), CPU)
        both.set_rate(0.5)
        assert [group["lr"] for part in both._parts for group in part.param_groups] == [5e-4, 5e-4, 0.01]
        assert both.rate == 5e-4

    def test_another_recipe_s_state_is_refused(self):
        net = self.network.build()
        state = Optimisers(net, Recipe(muon=False), CPU).state_dict()
        with pytest.raises(ValueError, match="expected 2"):
            Optimisers(net, Recipe(), CPU).load_state_dict(state)
