from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ddpmcodec import FormatError, Header, Receiver, Sender
from ddpmcodec.models import CodecModel

Picture = NDArray[np.uint8]


def sender_of(model: CodecModel, *pictures: Picture) -> Sender:
    return Sender(*pictures, model=model, plan_steps=6, channel="trellis:8", seed=5)


def test_before_the_first_step_there_is_shared_noise_and_a_guess(tiny_model: CodecModel, picture: Picture):
    state = Receiver(sender_of(tiny_model, picture).header, model=tiny_model).state()
    assert (state.n, state.log_snr, state.bits.tolist()) == (0, -math.inf, [0])
    assert np.abs(state.x0_hat).max() <= 1


def test_a_batch_of_packets_leads_to_the_sender_s_states(tiny_model: CodecModel, picture: Picture):
    sender, bits = sender_of(tiny_model, picture, 255 - picture), np.zeros(2)
    receiver = Receiver(sender.header, model=tiny_model, count=2)
    for sent in sender.send():
        state = receiver.advance(sent.packets)
        bits += [p.bits for p in sent.packets]
        assert (state.n, state.log_snr) == (sent.n, sent.log_snr_s)
        np.testing.assert_array_equal(state.x_t, sent.x_s)
        np.testing.assert_array_equal(state.bits, bits)
        np.testing.assert_array_equal(state.x0_hat, sent.reconstruct())


def test_the_two_loops_mirror_each_other(tiny_model: CodecModel, picture: Picture):
    sender = sender_of(tiny_model, picture)
    states = [sent.x_s for sent in sender.send()]
    receiver = Receiver(*sender.files(), model=tiny_model)
    received = list(receiver.receive())
    np.testing.assert_array_equal([state.x_t for state in received], states)
    assert list(receiver.receive()) == []


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_bytes_lead_there_too_in_pieces_of_any_size(tiny_model: CodecModel, picture: Picture, size: int):
    sender = sender_of(tiny_model, picture)
    states = [sent.x_s for sent in sender.send()]
    (data,), received = sender.files(), []
    start = len(sender.header.to_bytes())
    receiver = Receiver(data[:start], model=tiny_model)
    for at in range(start, len(data), size):
        received += [state.x_t for state in receiver.receive(data[at : at + size])]
    np.testing.assert_array_equal(received, states)


def test_bytes_can_be_sent_while_encoding(tiny_model: CodecModel, picture: Picture):
    sender, states, received = sender_of(tiny_model, picture), [], []
    receiver = Receiver(sender.flush(), model=tiny_model)
    for sent in sender.send():
        states.append(sent.x_s)
        received += [state.x_t for state in receiver.receive(sender.flush())]
        assert len(received) >= len(states) - 2  # small steps: the last two may be in one undetermined byte
    received += [state.x_t for state in receiver.receive(sender.finish())]
    np.testing.assert_array_equal(received, states)


def test_another_model_or_no_header_is_refused(tiny_model: CodecModel, coloured_model: CodecModel, picture: Picture):
    header = sender_of(tiny_model, picture).header
    for start in (header, header.to_bytes()):
        with pytest.raises(FormatError, match="the stream was made with the model"):
            Receiver(start, model=coloured_model)
    with pytest.raises(FormatError, match="the input ends inside the header"):
        Receiver(header.to_bytes()[:5], model=tiny_model)
    assert isinstance(Receiver(header.to_bytes(), model=tiny_model).header, Header)
