from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ddpmcodec.bitstream.short_step import ShortStep
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.codec.reverse_chain import ReverseChain
from ddpmcodec.codec.sender import Sender
from ddpmcodec.diffusion.gaussians import snr_gain
from ddpmcodec.diffusion.schedule import alpha_bar_of
from ddpmcodec.io.images import to_plane
from ddpmcodec.models import CodecModel


def sender_of(model: CodecModel, x_0: NDArray[np.float32], known=None, steps: int = 25, seed: int = 0) -> Sender:
    chain = ReverseChain(model, model.plan(steps), TrellisChannel(10), len(x_0), 32, 32, seed)
    return Sender(chain, x_0, known)


@pytest.fixture(scope="module")
def x_0(prior_picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_plane(prior_picture)[None]


def test_every_state_looks_like_a_sample_of_q(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    for sent in sender_of(tiny_model, x_0):
        alpha_bar = alpha_bar_of(sent.log_snr_s)
        eps = (sent.x_s.astype(np.float64) - math.sqrt(alpha_bar) * x_0) / math.sqrt(1 - alpha_bar)
        assert np.mean(eps**2) == pytest.approx(1, abs=0.06)
        assert np.mean(eps) == pytest.approx(0, abs=0.06)
        assert np.mean(eps * x_0) / np.std(x_0) == pytest.approx(0, abs=0.1)


def test_the_excess_variance_is_error_times_snr_gain(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    for sent in sender_of(tiny_model, x_0, steps=6):
        error = np.mean((x_0 - sent.x0_hat).astype(np.float64) ** 2)
        assert sent.variance_ratio[0] == pytest.approx(error * snr_gain(sent.log_snr_t, sent.log_snr_s), rel=1e-3)


def test_steps_send_about_what_theory_asks(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    steps = list(sender_of(tiny_model, x_0, steps=8))
    sent, ideal = (sum(values) for values in ([s.packets[0].bits for s in steps], [s.ideal_bits[0] for s in steps]))
    assert 1 < sent / ideal < 1.15


def test_what_lies_beyond_the_picture_is_neither_seen_nor_paid_for(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    known = np.zeros((32, 32), bool)
    known[:10, :12] = True
    other = np.where(known, x_0, -x_0)
    bits = []
    for one, two in zip(sender_of(tiny_model, x_0, known, 6), sender_of(tiny_model, other, known, 6), strict=True):
        np.testing.assert_array_equal(one.x_s, two.x_s)
        np.testing.assert_array_equal(one.packets[0].code, two.packets[0].code)
        bits.append(one.packets[0].bits)
    whole = [s.packets[0].bits for s in sender_of(tiny_model, x_0, steps=6)]
    assert sum(bits) < 0.3 * sum(whole)  # 12% of the canvas


def test_sending_stops_when_iterating_does(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    sender = sender_of(tiny_model, x_0, steps=6)
    for sent in sender:
        if sent.n == 2:
            break
    assert sender.chain.n == 2
    assert [sent.n for sent in sender] == [3, 4, 5, 6]  # and goes on from there
    assert list(sender) == []


def test_reconstruct_is_the_receiver_s_picture(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    steps = sender_of(tiny_model, x_0, steps=3)
    for sent in steps:
        np.testing.assert_array_equal(sent.reconstruct(), steps.chain.x0_hat())
        last = sent
    following = sender_of(tiny_model, x_0, steps=3)
    iterator = iter(following)
    first = next(iterator)
    shown = first.reconstruct()
    np.testing.assert_array_equal(next(iterator).x0_hat, shown)  # the next step's prior is made from the same picture
    with pytest.raises(RuntimeError, match="the sender is at step 2"):
        first.reconstruct()
    assert last.reconstruct().shape == x_0.shape


def test_a_step_can_be_tried_before_it_is_taken(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    plain, sender = sender_of(tiny_model, x_0, steps=4), sender_of(tiny_model, x_0, steps=4)
    for expected in plain:
        need = sender.need()
        packets = sender.search(need)
        fork = sender.fork()
        tried = fork.take(fork.need(), packets)
        assert (sender.chain.n, fork.chain.n) == (expected.n - 1, expected.n)
        sent = sender.take(need, packets)
        for step in (tried, sent):
            np.testing.assert_array_equal(step.x_s, expected.x_s)
            assert step.packets[0].bits == expected.packets[0].bits == need.bits[0]


def test_a_short_step_needs_less_the_sooner_it_stops(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    sender = sender_of(tiny_model, x_0, steps=4)
    sender.take(sender.need(), sender.search(sender.need()))
    whole = sender.need()
    step = ShortStep(sender.chain.plan, sender.chain.channel, 3072, 1, whole.bits[0])
    needs = [sender.need_short(step, bits) for bits in (1, whole.bits[0] // 2, whole.bits[0])]
    ratios = [need.variance_ratio[0] for need in [*needs, whole]]
    assert ratios[0] < ratios[1] < ratios[2] == pytest.approx(ratios[3])
    assert [need.bits[0] for need in needs] == [1, whole.bits[0] // 2, whole.bits[0]]
    sent = sender.take(needs[1], sender.search(needs[1]))
    assert (sent.n, sent.log_snr_s) == (2, needs[1].log_snr)
    assert list(sender) == []  # the chain has ended


def test_a_short_step_looks_like_a_sample_of_q(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    sender = sender_of(tiny_model, x_0, steps=4)
    sender.take(sender.need(), sender.search(sender.need()))
    step = ShortStep(sender.chain.plan, sender.chain.channel, 3072, 1, sender.need().bits[0])
    need = sender.need_short(step, sender.need().bits[0] // 2)
    sent = sender.take(need, sender.search(need))
    alpha_bar = alpha_bar_of(sent.log_snr_s)
    eps = (sent.x_s.astype(np.float64) - math.sqrt(alpha_bar) * x_0) / math.sqrt(1 - alpha_bar)
    assert np.mean(eps**2) == pytest.approx(1, abs=0.06)
    assert np.mean(eps * x_0) / np.std(x_0) == pytest.approx(0, abs=0.1)
