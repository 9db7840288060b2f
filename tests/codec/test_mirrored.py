"""Pictures shown as the mean of two views: the same wherever they are shown, never in the chain, and never too late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec import Decoded, Sender, decode, decode_archive, decode_progressive, encode, encode_archive, truncate
from ddpmcodec.codec import distortion_control
from ddpmcodec.codec.decoding import decode_stream
from ddpmcodec.diffusion.denoiser import x0_hat, x0_hat_of_both
from ddpmcodec.errors import ModelError
from ddpmcodec.io.images import to_bytes
from ddpmcodec.models import CodecModel
from ddpmcodec.models.measure import measure_curve
from ddpmcodec.models.weights import load_model, save_model

STEPS = 6
Picture = NDArray[np.uint8]


class Lopsided(torch.nn.Module):
    """Network whose error has a part of its own that its mirror image doesn't share, and counts its calls."""

    def __init__(self, model: CodecModel):
        super().__init__()
        self.eps_model, self.calls = model.eps_model, 0
        self.stain = torch.from_numpy(np.random.default_rng(3).normal(scale=0.05, size=(3, 32, 32)).astype(np.float32))

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        self.calls += 1
        return self.eps_model(x_t, log_snr) + self.stain


@pytest.fixture
def lopsided(tiny_model: CodecModel) -> CodecModel:
    return replace(tiny_model, eps_model=Lopsided(tiny_model), curve=replace(tiny_model.curve, mirrored=1))


def test_what_is_shown_is_the_mean_of_both(lopsided: CodecModel, picture: Picture) -> None:
    for sent in Sender(picture, model=lopsided, plan_steps=STEPS, channel="trellis:8").send():
        mirrored = x0_hat(lopsided, sent.x_s[..., ::-1].copy(), sent.log_snr_s)[..., ::-1]
        np.testing.assert_array_equal(sent.reconstruct(), (sent.reconstruct(roughly=True) + mirrored) / 2)
        np.testing.assert_array_equal(sent.reconstruct(roughly=True), x0_hat(lopsided, sent.x_s, sent.log_snr_s))
        assert np.abs(sent.reconstruct() - sent.reconstruct(roughly=True)).max() > 0.01


def test_the_chain_knows_nothing_of_it(lopsided: CodecModel, picture: Picture) -> None:
    plain = replace(lopsided, curve=replace(lopsided.curve, mirrored=0))
    data = encode(picture, model=lopsided, plan_steps=STEPS)
    assert data == encode(picture, model=plain, plan_steps=STEPS)
    assert not np.array_equal(decode(data, model=lopsided), decode(data, model=plain))


def test_all_ways_to_decode_show_the_same(lopsided: CodecModel, picture: Picture) -> None:
    data = encode(picture, model=lopsided, plan_steps=STEPS)
    sender = Sender(picture, model=lopsided, plan_steps=STEPS)
    shown = [to_bytes(sent.reconstruct()[0], 32, 32) for sent in sender.send()]
    np.testing.assert_array_equal([item.image for item in decode_progressive(data, model=lopsided)], shown)
    np.testing.assert_array_equal([item.image for item in decode_stream([data], model=lopsided)], shown)
    for n in (1, STEPS):
        np.testing.assert_array_equal(decode(data, n, model=lopsided), shown[n - 1])
        np.testing.assert_array_equal(decode(truncate(data, steps=n, model=lopsided), model=lopsided), shown[n - 1])


@pytest.mark.parametrize("solid", [None, 2])
def test_pictures_that_are_looked_at_late_are_those_of_their_step(
    lopsided: CodecModel, picture: Picture, solid: int | None
) -> None:
    pictures = [picture, 255 - picture]
    data = encode_archive(pictures, model=lopsided, plan_steps=STEPS, solid=solid)
    late = [item.image for item in decode_archive(data, model=lopsided)]
    alone = [next(iter(decode_archive(data, i, model=lopsided))).image for i in range(2)]
    np.testing.assert_array_equal(late, alone)
    items: list[Decoded] = list(decode_progressive(encode(picture, model=lopsided, plan_steps=STEPS), model=lopsided))
    assert len({item.image.tobytes() for item in items}) == STEPS


def test_only_a_picture_that_is_looked_at_costs_a_call(lopsided: CodecModel, picture: Picture) -> None:
    data, network = encode(picture, model=lopsided, plan_steps=STEPS), lopsided.eps_model
    assert isinstance(network, Lopsided)
    network.calls = 0
    decode(data, model=lopsided)
    assert network.calls == STEPS + 2  # one a step, the last picture's, and its mirror image's


def test_a_lossless_tail_starts_from_what_is_shown(lopsided: CodecModel, picture: Picture) -> None:
    plain = replace(lopsided, curve=replace(lopsided.curve, mirrored=0))
    for image in (picture, np.repeat(picture[..., :1], 3, axis=2)):
        data = encode(image, model=lopsided, plan_steps=STEPS, lossless=True)
        np.testing.assert_array_equal(decode(data, model=lopsided), image)
        assert data != encode(image, model=plain, plan_steps=STEPS, lossless=True)


def test_a_distortion_is_that_of_the_picture_shown(lopsided: CodecModel, prior_picture: Picture) -> None:
    whole = encode(prior_picture, model=lopsided, plan_steps=STEPS)
    end = float(np.mean((decode(whole, model=lopsided).astype(float) - prior_picture) ** 2)) ** 0.5
    for rmse in (1.001 * end, 1.3 * end):
        data = encode(prior_picture, model=lopsided, plan_steps=STEPS, target_rmse=rmse)
        assert np.mean((decode(data, model=lopsided).astype(float) - prior_picture) ** 2) ** 0.5 <= rmse


def test_measuring_finds_whether_it_pays(lopsided: CodecModel) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    for network, expected in ((lopsided.eps_model, 1), (lambda x_t, log_snr: x_t / 2, 0)):
        curve = measure_curve(network, pictures, min_log_snr=2.0, max_log_snr=6.0, spacing=1.0)
        assert curve.mirrored == expected


def test_model_files_keep_it(model: CodecModel, tmp_path) -> None:
    from ddpmcodec.models.weights import load_network

    network, info = load_network("cifar10-small")
    assert info.curve is not None
    for mirrored in (0, 1):
        save_model(tmp_path / "m.safetensors", network, replace(info.curve, mirrored=mirrored), "m")
        assert load_model(tmp_path / "m.safetensors").mirrored == bool(mirrored)
    with pytest.raises(ModelError, match="mirrored"):
        replace(info.curve, mirrored=2)


def test_both_views_weigh_the_same(lopsided: CodecModel) -> None:
    x_t = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)
    both = [x0_hat_of_both(lopsided, x, 2.0, x0_hat(lopsided, x, 2.0)) for x in (x_t, x_t[..., ::-1].copy())]
    np.testing.assert_allclose(both[0], both[1][..., ::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("found", "given"),
    [
        # What a rough look at each try says, then what the picture that is shown has.
        ([-0.5, 0.3, 0.3, -0.1], [0]),  # the first reached the error by far, no other did
        ([-0.5, 0.3, 0.3, 0.1], []),
        ([-0.5, -0.01, -0.015], [1]),  # the second is near enough
    ],
)
def test_a_step_that_is_better_by_far_is_looked_at_last(
    lopsided: CodecModel, picture: Picture, monkeypatch: pytest.MonkeyPatch, found: list[float], given: list[int]
) -> None:
    sender = Sender(picture, model=lopsided, plan_steps=STEPS, channel="trellis:8", short_step=True)
    for _ in zip(sender.send(), range(3), strict=False):
        pass
    errors, asked = iter(found), []

    def log_error(tried: Sender, mse: float, roughly: bool = False) -> float:
        if tried not in asked:
            asked.append(tried)
        return next(errors)

    monkeypatch.setattr(distortion_control, "_log_error", log_error)
    bits = sender.streams[0].short_step().expected
    tried = list(distortion_control._shorter(sender, 1.0, (0.5, -0.5), None, bits))
    assert [asked.index(other) for other, _ in tried] == given
    assert next(errors, None) is None
