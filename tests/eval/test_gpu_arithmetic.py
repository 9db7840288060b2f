"""`python -m ddpmcodec.eval.studies.gpu_arithmetic`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpmcodec.eval.studies.gpu_arithmetic import Card, device_work, host_milliseconds
from ddpmcodec.eval.studies.training_speed import gigaflop_an_image
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.training import Preset, Processes, Recipe, TrainingImages
from ddpmcodec.training.step import TrainingStep

NETWORK = ConvUNetConfig(
    channels=(16, 24), down_blocks=(1, 1), up_blocks=(1, 0), embedding=8, frequencies=4, window=32, knots=4
)


def test_operations_are_counted_without_computing():
    one, four = (device_work(Preset(NETWORK, Recipe(batch=n, muon=False)), Card()) for n in (1, 4))
    assert four.kernels == pytest.approx(one.kernels, rel=0.02)
    assert four.flop == pytest.approx(4 * one.flop)
    assert one.flop / 1e9 == pytest.approx(gigaflop_an_image(NETWORK), rel=0.1)
    assert one.bytes < four.bytes < 4 * one.bytes  # weights don't grow with the batch
    assert one.seconds >= one.kernels * Card().kernel_seconds * 0.999


def test_muon_costs_kernels():
    plain, muon = (device_work(Preset(NETWORK, Recipe(batch=1, muon=m)), Card()) for m in (False, True))
    assert muon.flop > plain.flop


def test_the_host_takes_at_most_a_millisecond():
    images = TrainingImages(np.zeros((5000, 32, 32, 3), np.uint8), 32, 0)
    step = TrainingStep(NETWORK, Recipe(batch=256), images, Processes(0, 1, torch.device("cpu")))
    assert host_milliseconds(step, 50)["median"] < 1


def test_and_so_it_says_of_the_presets():
    result = json.loads((Path(__file__).parents[2] / "results" / "gpu-arithmetic.json").read_text())
    for found in result["presets"].values():
        assert all(host["median"] <= 1 for host in found["host_ms_a_step"].values())
    assert result["presets"]["cifar10-small"]["expected"]["512"]["images_per_second"] > 15_000
