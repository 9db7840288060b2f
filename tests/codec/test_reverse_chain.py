from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.codec.reverse_chain import ReverseChain
from ddpmcodec.diffusion.gaussians import posterior, predict_x0
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics.philox import Key, gaussian

NOTHING = Packet(0, 0, np.zeros(0, np.int32))


def chain_at_start(model: CodecModel, count: int = 1, seed: int = 0, steps: int = 5) -> ReverseChain:
    return ReverseChain(model, model.plan(steps), TrellisChannel(8), count, 32, 32, seed)


def test_a_chain_starts_at_shared_noise(tiny_model: CodecModel):
    chain = chain_at_start(tiny_model, count=3, seed=4)
    assert (chain.n, chain.log_snr) == (0, -math.inf)
    assert chain.x_t.shape == (3, 3, 32, 32)
    for x_t in chain.x_t:
        np.testing.assert_array_equal(x_t.reshape(-1), gaussian(Key(4, 0), 3072))


def test_the_network_runs_once_a_level(tiny_model: CodecModel):
    levels = []

    def watched(x_t, log_snr):
        levels.append(float(log_snr[0]))
        return tiny_model.eps_model(x_t, log_snr)

    chain = chain_at_start(replace(tiny_model, eps_model=watched, min_log_snr=-6.0, max_log_snr=3.0))
    for _ in range(5):
        chain.x0_hat()
        chain.advance([NOTHING])
        chain.x0_hat()
    asked = [-math.inf, *chain.plan.log_snr]
    assert levels == pytest.approx([min(max(level, -6.0), 3.0) for level in asked])


def test_a_step_is_the_posterior_mean_and_the_channel_s_sample(tiny_model: CodecModel):
    chain = chain_at_start(tiny_model)
    chain.advance([NOTHING])
    x_t, x0_hat, t, s = chain.x_t.copy(), chain.x0_hat().copy(), chain.plan.level(1), chain.plan.level(2)
    q = posterior(t, s)
    assert chain.posterior == q
    chain.advance([NOTHING])
    noise = gaussian(Key(0, 2), 3072).reshape(x_t.shape)
    np.testing.assert_allclose(chain.x_t, q.mean(x0_hat, x_t) + math.sqrt(q.variance) * noise, rtol=1e-5, atol=1e-6)


def test_pictures_of_a_batch_don_t_meet(tiny_model: CodecModel):
    rng, one, two = np.random.default_rng(0), chain_at_start(tiny_model), chain_at_start(tiny_model, count=2)
    for _ in range(5):
        packet = Packet(9, 9, rng.integers(0, 1 << 9, 1).astype(np.int32))
        one.advance([packet])
        two.advance([NOTHING, packet])
        np.testing.assert_array_equal(two.x_t[1], one.x_t[0])
    assert not np.array_equal(two.x_t[0], two.x_t[1])


def test_a_chain_can_jump_to_any_sample(tiny_model: CodecModel):
    chain, x_s = chain_at_start(tiny_model), np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    before = chain.x0_hat()
    chain.jump(x_s)
    assert (chain.n, chain.log_snr) == (1, chain.plan.level(1))
    assert not np.array_equal(chain.x0_hat(), before)
    eps = tiny_model.predict_eps(torch.from_numpy(x_s), chain.log_snr).numpy()
    np.testing.assert_array_equal(chain.x0_hat(), predict_x0(x_s, eps, chain.log_snr))


def test_a_short_step_goes_to_its_own_level_and_ends_the_chain(tiny_model: CodecModel):
    chain = chain_at_start(tiny_model)
    chain.advance([NOTHING])
    level = (chain.plan.level(1) + chain.plan.level(2)) / 2
    q, mean = posterior(chain.plan.level(1), level), chain.x0_hat()
    expected = q.mean(mean, chain.x_t) + math.sqrt(q.variance) * gaussian(Key(0, 2), 3072).reshape(chain.x_t.shape)
    assert not chain.ended
    chain.advance([replace(NOTHING, log_snr=level)])
    np.testing.assert_allclose(chain.x_t, expected, rtol=1e-5, atol=1e-6)
    assert (chain.n, chain.log_snr, chain.ended) == (2, level, True)
    eps = tiny_model.predict_eps(torch.from_numpy(chain.x_t.copy()), level).numpy()
    np.testing.assert_array_equal(chain.x0_hat(), predict_x0(chain.x_t, eps, level))


def test_a_batch_goes_to_one_level(tiny_model: CodecModel):
    with pytest.raises(ValueError, match="one by one"):
        chain_at_start(tiny_model, count=2).advance([NOTHING, replace(NOTHING, log_snr=-4.0)])


def test_some_pictures_of_a_chain_go_on_alone(tiny_model: CodecModel):
    rng, chain = np.random.default_rng(3), chain_at_start(tiny_model, count=3)
    packets = [Packet(9, 9, rng.integers(0, 1 << 9, 1).astype(np.int32)) for _ in range(3)]
    chain.advance(packets)
    chain.x0_hat()
    some = chain.select([2, 0])
    some.advance([packets[1], packets[2]])
    assert (chain.n, some.n) == (1, 2)
    chain.advance([packets[2], packets[0], packets[1]])
    np.testing.assert_array_equal(some.x_t, chain.x_t[[2, 0]])
