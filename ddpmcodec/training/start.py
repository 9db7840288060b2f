"""Weights to start a run from: those of a model whose network is the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import Tensor

from ddpmcodec.errors import TrainingError
from ddpmcodec.models.level_ranges import LevelRanges
from ddpmcodec.models.weights import load_network
from ddpmcodec.training.recipe import NetworkToTrain


def initial_weights(model: str, network: NetworkToTrain) -> dict[str, Tensor]:
    """Return the weights of a model file or embedded model. TrainingError where they would mean something else in this
    network.

    Many architectures share their weights' shapes, so the configurations are compared. Dropout and window may differ,
    and so may the trained levels, unless output preconditioning is tied to them.
    """
    loaded, info = load_network(model)
    for part in loaded.networks if isinstance(loaded, LevelRanges) else ():  # the one like this
        if not _differing(part.config, network):
            return dict(part.state_dict())
    if type(info.config) is not type(network):
        found, expected = info.config.architecture, network.architecture
        raise TrainingError(f"{model} holds a {found} network: expected a {expected}; choose its preset")
    if differing := _differing(info.config, network):
        raise TrainingError(
            f"the weights of {model} don't fit the network to train: {'; '.join(differing)}; choose its preset"
        )
    return loaded.state_dict()


def _differing(found: Any, network: NetworkToTrain) -> list[str]:
    """Return what makes weights of one configuration mean something else in a network of the same kind."""
    free = {"dropout", "window"} | (set() if network.knots else {"min_log_snr", "max_log_snr"})
    pairs = {f.name: (getattr(found, f.name), getattr(network, f.name)) for f in fields(network) if f.name not in free}
    return [f"{name} is {there}, here {here}" for name, (there, here) in pairs.items() if there != here]
