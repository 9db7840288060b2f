from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ddpmcodec import DdpmCodecError, Sender
from ddpmcodec.diffusion.gaussians import snr_gain
from ddpmcodec.diffusion.schedule import alpha_bar_of
from ddpmcodec.io.images import to_plane
from ddpmcodec.models import CodecModel

Picture = NDArray[np.uint8]


def sender_of(model: CodecModel, picture: NDArray[np.uint8], plan_steps: int = 25, **options: Any) -> Sender:
    return Sender(picture, model=model, plan_steps=plan_steps, channel="trellis:10", **options)


@pytest.fixture(scope="module")
def x_0(prior_picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_plane(prior_picture)[None]


def test_every_state_looks_like_a_sample_of_q(tiny_model: CodecModel, prior_picture: Picture, x_0: NDArray[np.float32]):
    for sent in sender_of(tiny_model, prior_picture).send():
        alpha_bar = alpha_bar_of(sent.log_snr_s)
        eps = (sent.x_s.astype(np.float64) - math.sqrt(alpha_bar) * x_0) / math.sqrt(1 - alpha_bar)
        assert np.mean(eps**2) == pytest.approx(1, abs=0.06)
        assert np.mean(eps) == pytest.approx(0, abs=0.06)
        assert np.mean(eps * x_0) / np.std(x_0) == pytest.approx(0, abs=0.1)


def test_the_excess_variance_is_error_times_snr_gain(
    tiny_model: CodecModel, prior_picture: Picture, x_0: NDArray[np.float32]
):
    for sent in sender_of(tiny_model, prior_picture, 6).send():
        error = np.mean((x_0 - sent.x0_hat).astype(np.float64) ** 2)
        assert sent.variance_ratio[0] == pytest.approx(error * snr_gain(sent.log_snr_t, sent.log_snr_s), rel=1e-3)


def test_steps_send_about_what_theory_asks(tiny_model: CodecModel, prior_picture: Picture):
    steps = list(sender_of(tiny_model, prior_picture, 8).send())
    sent, ideal = (sum(values) for values in ([s.packets[0].bits for s in steps], [s.ideal_bits[0] for s in steps]))
    assert 1 < sent / ideal < 1.15


def test_what_lies_beyond_the_picture_is_not_paid_for(tiny_model: CodecModel, prior_picture: Picture):
    part, whole = (list(sender_of(tiny_model, p, 6).send()) for p in (prior_picture[:10, :12], prior_picture))
    assert all(step.x_s.shape == (1, 3, 32, 32) for step in part)
    bits, all_bits = (sum(step.packets[0].bits for step in steps) for steps in (part, whole))
    assert bits < 0.3 * all_bits  # 12% of the canvas


def test_sending_stops_when_iterating_does(tiny_model: CodecModel, prior_picture: Picture):
    sender = sender_of(tiny_model, prior_picture, 6)
    for sent in sender.send():
        if sent.n == 2:
            break
    assert sender.chain.n == 2
    assert [sent.n for sent in sender.send()] == [3, 4, 5, 6]  # and goes on from there
    assert list(sender.send()) == []


def test_reconstruct_is_the_receiver_s_picture(tiny_model: CodecModel, prior_picture: Picture):
    sender = sender_of(tiny_model, prior_picture, 3)
    for sent in sender.send():
        np.testing.assert_array_equal(sent.reconstruct(), sender.chain.x0_hat())
        last = sent
    iterator = sender_of(tiny_model, prior_picture, 3).send()
    first = next(iterator)
    shown = first.reconstruct()
    np.testing.assert_array_equal(next(iterator).x0_hat, shown)  # the next step's prior is made from the same picture
    with pytest.raises(RuntimeError, match="the sender is at step 2"):
        first.reconstruct()
    assert last.reconstruct().shape == (1, 3, 32, 32)


def test_a_step_can_be_tried_before_it_is_taken(tiny_model: CodecModel, prior_picture: Picture):
    plain, sender = sender_of(tiny_model, prior_picture, 4), sender_of(tiny_model, prior_picture, 4)
    for expected in plain.send():
        fork = sender.fork()
        tried = next(fork.send())
        assert (sender.chain.n, fork.chain.n) == (expected.n - 1, expected.n)
        assert sender.files() != fork.files()
        sender.adopt(fork)
        np.testing.assert_array_equal(tried.x_s, expected.x_s)
        assert tried.packets == expected.packets
    assert sender.files() == plain.files()


def test_steps_say_where_a_stream_ends(tiny_model: CodecModel, prior_picture: Picture):
    sender = sender_of(tiny_model, prior_picture, 6, steps=2)
    assert [sent.n for sent in sender.send()] == [1, 2]
    assert sender.ended
    with pytest.raises(DdpmCodecError, match="7 steps were asked for; this plan has 1 to 6"):
        sender_of(tiny_model, prior_picture, 6, steps=7)


def test_flush_and_finish_give_the_file(tiny_model: CodecModel, prior_picture: Picture):
    sender = sender_of(tiny_model, prior_picture, 6)
    pieces = [sender.flush(), *(sender.flush() for _ in sender.send())]
    assert pieces[0].startswith(sender.header.to_bytes())
    assert b"".join(pieces) + sender.finish() == sender.files()[0]
    assert sender.flush() == b""


def begun(model: CodecModel, picture: Picture) -> tuple[Sender, int]:
    """A sender after one step that may end by a short one, and the bits that the whole second step would send."""
    sender = sender_of(model, picture, 4, short_step=True)
    next(sender.send())
    return sender, next(sender.fork().send()).packets[0].bits


def test_a_short_step_needs_less_the_sooner_it_stops(tiny_model: CodecModel, prior_picture: Picture):
    sender, whole = begun(tiny_model, prior_picture)
    counts = [sender.streams[0].choose_short(bits) for bits in (1, whole // 2, whole)]
    ratios = [sender.target(level).variance_ratio[0] for level in [*(c.log_snr for c in counts), None]]
    assert ratios[0] < ratios[1] < ratios[2] <= ratios[3]
    target = sender.target(counts[1].log_snr)
    sent = sender.advance(target.costs, sender.search(target, counts[1:2]))
    assert (sent.n, sent.log_snr_s, sent.packets[0].bits) == (2, counts[1].log_snr, whole // 2)
    assert list(sender.send()) == []  # the chain has ended


def test_a_short_step_looks_like_a_sample_of_q(
    tiny_model: CodecModel, prior_picture: Picture, x_0: NDArray[np.float32]
):
    sender, whole = begun(tiny_model, prior_picture)
    count = sender.streams[0].choose_short(whole // 2)
    target = sender.target(count.log_snr)
    sent = sender.advance(target.costs, sender.search(target, [count]))
    alpha_bar = alpha_bar_of(sent.log_snr_s)
    eps = (sent.x_s.astype(np.float64) - math.sqrt(alpha_bar) * x_0) / math.sqrt(1 - alpha_bar)
    assert np.mean(eps**2) == pytest.approx(1, abs=0.06)
    assert np.mean(eps * x_0) / np.std(x_0) == pytest.approx(0, abs=0.1)
