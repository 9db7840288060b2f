from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ddpmcodec import Receiver, Sender
from ddpmcodec.bitstream.reader import StreamReader
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.codec.reverse_chain import ReverseChain
from ddpmcodec.io.images import to_plane
from ddpmcodec.models import CodecModel


def chain_of(model: CodecModel, count: int = 1) -> ReverseChain:
    return ReverseChain(model, model.plan(6), TrellisChannel(8), count, 32, 32, seed=5)


@pytest.fixture
def x_0(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([to_plane(picture), -to_plane(picture)])


def test_before_the_first_step_there_is_shared_noise_and_a_guess(tiny_model: CodecModel):
    state = Receiver(chain_of(tiny_model)).state()
    assert (state.n, state.log_snr, state.bits.tolist()) == (0, -math.inf, [0])
    assert np.abs(state.x0_hat).max() <= 1


def test_a_batch_of_packets_leads_to_the_sender_s_states(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    receiver, bits = Receiver(chain_of(tiny_model, 2)), np.zeros(2)
    for sent in Sender(chain_of(tiny_model, 2), x_0):
        state = receiver.receive(sent.packets)
        bits += [p.bits for p in sent.packets]
        assert (state.n, state.log_snr) == (sent.n, sent.log_snr_s)
        np.testing.assert_array_equal(state.x_t, sent.x_s)
        np.testing.assert_array_equal(state.bits, bits)
        np.testing.assert_array_equal(state.x0_hat, sent.reconstruct())


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_bytes_lead_there_too_in_pieces_of_any_size(tiny_model: CodecModel, x_0: NDArray[np.float32], size: int):
    sender = Sender(chain_of(tiny_model), x_0[:1])
    writer = StreamWriter(sender.chain.plan, sender.chain.channel, sender.chain.dims)
    states = []
    for sent in sender:
        writer.step(*sent.packets)
        states.append(sent.x_s)
    receiver = Receiver(chain_of(tiny_model))
    reader = StreamReader(receiver.chain.plan, receiver.chain.channel, receiver.chain.dims)
    data, received = writer.sealed(), []
    for at in range(0, len(data), size):
        received += [state.x_t for state in receiver.read(reader, data[at : at + size])]
    np.testing.assert_array_equal(received, states)


def test_bytes_can_be_sent_while_encoding(tiny_model: CodecModel, x_0: NDArray[np.float32]):
    sender, receiver = Sender(chain_of(tiny_model), x_0[:1]), Receiver(chain_of(tiny_model))
    writer = StreamWriter(sender.chain.plan, sender.chain.channel, sender.chain.dims)
    reader = StreamReader(receiver.chain.plan, receiver.chain.channel, receiver.chain.dims)
    sent_bytes, states, received = 0, [], []
    for sent in sender:
        writer.step(*sent.packets)
        states.append(sent.x_s)
        final = writer.final()
        received += [state.x_t for state in receiver.read(reader, final[sent_bytes:])]
        sent_bytes = len(final)
        assert len(received) >= len(states) - 1  # at most the step just sent is still undetermined
    received += [state.x_t for state in receiver.read(reader, writer.sealed()[sent_bytes:])]
    np.testing.assert_array_equal(received, states)
