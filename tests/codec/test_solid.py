"""Solid archives: pictures of a block share a stream."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import ddpmcodec
from ddpmcodec.bitstream.archive import read_archive
from ddpmcodec.bitstream.packet import GAIN_STEP, Share
from ddpmcodec.bitstream.shares import GAINS, MOST_GAIN
from ddpmcodec.bitstream.solid import read_block
from ddpmcodec.channel.prior import Prior, joined
from ddpmcodec.codec.archive_decoding import decode_archive, decode_member
from ddpmcodec.codec.archive_encoding import encode_archive
from ddpmcodec.codec.joint_target import shared_out
from ddpmcodec.codec.sender import Sender
from ddpmcodec.codec.step_target import StepCosts, StepTarget
from ddpmcodec.codec.verification import verify
from ddpmcodec.errors import DdpmCodecError, FormatError, TruncatedArchiveError, TruncatedStreamError
from ddpmcodec.models import CodecModel
from tests.cli.test_cli import assert_refused, run
from tests.conftest import coloured_pictures

Picture = NDArray[np.uint8]
FAST = {"plan_steps": 6, "channel": "trellis:8"}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Seven of 32x32, of which the second is grey, and the fourth next to nothing."""
    found = list(coloured_pictures(7))
    found[1] = np.repeat(found[1][:, :, :1], 3, axis=2)
    found[3] = np.full_like(found[3], 128)
    return found


@pytest.fixture(scope="module")
def data(coloured_model: CodecModel, pictures: list[Picture]) -> bytes:
    return encode_archive(pictures, model=coloured_model, solid=3, **FAST)


def rmse(items: list[ddpmcodec.ArchivePicture], pictures: list[Picture]) -> float:
    return float(np.sqrt(np.mean([(item.image.astype(float) - pictures[item.index]) ** 2 for item in items])))


def with_check(data: bytes) -> bytes:
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "big")


def test_pictures_come_back_as_well_as_with_streams_of_their_own(
    coloured_model: CodecModel, pictures: list[Picture], data: bytes
):
    alone = encode_archive(pictures, model=coloured_model, **FAST)
    items, others = (list(decode_archive(d, model=coloured_model)) for d in (data, alone))
    assert [(item.index, item.steps, item.verified, item.sound) for item in items] == [
        (i, 6, True, True) for i in range(7)
    ]
    assert rmse(items, pictures) < 1.15 * rmse(others, pictures)
    assert all(np.ptp(item.image.astype(int), axis=2).max() == 0 for item in (items[1], others[1]))


def test_fewer_bits_are_sent_where_steps_are_small(coloured_model: CodecModel):
    pictures = list(coloured_pictures(16, seed=3))
    options = {"plan_steps": 12, "steps": 4, "channel": "trellis:10"}
    alone, together = (encode_archive(pictures, model=coloured_model, solid=n, **options) for n in (1, 16))
    assert len(together) < 0.95 * len(alone)
    errors = [rmse(list(decode_archive(d, model=coloured_model)), pictures) for d in (alone, together)]
    assert errors[1] < 1.02 * errors[0]


def test_a_sender_and_its_receiver_are_at_the_same_place(coloured_model: CodecModel, pictures: list[Picture]):
    sender = Sender(*pictures[:3], model=coloured_model, joint=True, **FAST)  # type: ignore[arg-type]
    for sent in sender.send():
        assert len(sent.packets) == 1
        assert len(sent.packets[0].shares) == len(sent.x_s) == 3
    grey = [header.grey for header in sender.headers]
    block = read_block(sender.header, sender.block(), 3, coloured_model)
    receiver = ddpmcodec.Receiver(replace(sender.header, grey=False), model=coloured_model, grey=grey, joint=True)
    for packet in block.packets:
        state = receiver.advance([packet])
    np.testing.assert_array_equal(state.x_t, sender.chain.x_t)
    assert block.complete


@pytest.mark.parametrize("index", [0, 1, 4, 6])
def test_one_picture_is_decoded_without_the_network_s_looking_at_others(
    coloured_model: CodecModel, data: bytes, index: int
):
    calls, network = [], coloured_model.eps_model

    def counted(x_t: Tensor, log_snr: Tensor) -> Tensor:
        calls.append(len(x_t))
        return network(x_t, log_snr)

    whole = list(decode_archive(data, model=coloured_model))
    (item,) = decode_archive(data, index, model=replace(coloured_model, eps_model=counted))
    np.testing.assert_array_equal(item.image, whole[index].image)
    assert calls == [1] * 7
    steps = list(decode_member(read_archive(data), index, None, coloured_model))
    assert [step.n for step in steps] == list(range(1, 7))
    for step in steps[1], steps[5]:
        (item,) = decode_archive(data, index, steps=step.n, model=coloured_model)
        np.testing.assert_array_equal(item.image, step.image)


@pytest.mark.parametrize("solid", [2, 3, 7, 200])
def test_lossless_pictures_are_exact(coloured_model: CodecModel, pictures: list[Picture], solid: int):
    data = encode_archive(pictures, model=coloured_model, solid=solid, lossless=True, **FAST)
    assert read_archive(data).solid == min(solid, 7)
    for item in decode_archive(data, model=coloured_model):
        np.testing.assert_array_equal(item.image, pictures[item.index])
    assert len(verify(data, coloured_model).steps or ()) == 7
    some = list(decode_archive(data, steps=2, model=coloured_model))
    assert {item.steps for item in some} == {2}
    (item,) = decode_archive(data, 2, model=coloured_model)
    np.testing.assert_array_equal(item.image, pictures[2])


@pytest.mark.parametrize("options", [{"channel": "orc:8", "plan_steps": 6, "steps": 3}, {**FAST, "steps": 2}])
def test_channels_and_models_without_a_spectrum(tiny_model: CodecModel, options: dict[str, object]):
    rng = np.random.default_rng(4)
    pictures = [rng.integers(90, 160, (20, 40, 3)).astype(np.uint8) for _ in range(3)]
    data = encode_archive(pictures, model=tiny_model, solid=2, **options)  # type: ignore[arg-type]
    items = list(decode_archive(data, model=tiny_model))
    assert [item.image.shape for item in items] == [(20, 40, 3)] * 3
    alone = encode_archive(pictures, model=tiny_model, **options)  # type: ignore[arg-type]
    assert rmse(items, pictures) < 1.05 * rmse(list(decode_archive(alone, model=tiny_model)), pictures)
    assert verify(data, tiny_model).steps == (options["steps"],) * 3


def test_a_block_of_one_is_no_block(tiny_model: CodecModel, picture: Picture):
    plain = encode_archive([picture, picture], model=tiny_model, **FAST)
    assert encode_archive([picture, picture], model=tiny_model, solid=1, **FAST) == plain
    one = encode_archive([picture], model=tiny_model, solid=16, **FAST)
    assert read_archive(one).solid == 1
    # The last block's single picture has the payload of a file of its own.
    three = read_archive(encode_archive([picture] * 3, model=tiny_model, solid=2, **FAST))
    assert three.payload(2) == read_archive(one).payload(0)


def test_batches_and_steps_are_told(coloured_model: CodecModel, pictures: list[Picture], data: bytes):
    sent, done, taken = [], list[int](), list[int]()
    again = encode_archive(pictures, model=coloured_model, solid=3, on_step=sent.append, on_batch=done.append, **FAST)
    assert again == data
    assert done == [3, 6, 7]
    assert [len(step.x_s) for step in sent] == [3] * 12 + [1] * 6
    assert len(list(decode_archive(data, model=coloured_model, on_step=taken.append))) == 7
    assert taken == [3] * 12 + [1] * 6


def test_large_pictures_pass_the_network_in_parts(
    coloured_model: CodecModel, monkeypatch: pytest.MonkeyPatch, pictures: list[Picture], data: bytes
):
    monkeypatch.setattr("ddpmcodec.codec.reverse_chain._PIXELS_AT_A_TIME", 1500)
    assert encode_archive(pictures, model=coloured_model, solid=3, **FAST) == data


def test_what_solid_archives_refuse(tiny_model: CodecModel, picture: Picture, data: bytes, coloured_model: CodecModel):
    for solid, words in ((0, "expected 1 to 256"), (257, "expected 1 to 256"), (-1, "expected 1 to 256")):
        with pytest.raises(DdpmCodecError, match=words):
            encode_archive([picture] * 3, model=tiny_model, solid=solid, **FAST)
    with pytest.raises(DdpmCodecError, match="no target"):
        encode_archive([picture] * 3, model=tiny_model, solid=2, target_bytes=100, **FAST)
    with pytest.raises(DdpmCodecError, match="64 megapixels together"):
        encode_archive([np.zeros((4096, 4097, 3), np.uint8)] * 4, model=tiny_model, solid=4, **FAST)
    with pytest.raises(DdpmCodecError, match="picture 0 has 6"):
        list(decode_archive(data, steps=7, model=coloured_model))
    with pytest.raises(FormatError, match="fingerprint"):
        list(decode_archive(data, model=tiny_model))


# Cut and damaged archives.


def test_a_damaged_block_costs_that_block_only(coloured_model: CodecModel, data: bytes):
    whole, archive = list(decode_archive(data, model=coloured_model)), read_archive(data)
    for place in range(archive.starts[1], archive.starts[2] - 1, 97):
        damaged = data[:place] + bytes([data[place] ^ 20]) + data[place + 1 :]
        with pytest.raises(TruncatedArchiveError):
            list(decode_archive(damaged, model=coloured_model))
        items = list(decode_archive(damaged, model=coloured_model, allow_partial=True))
        assert {item.index for item in items if item.sound} == {0, 1, 2, 6}
        for item in items:
            assert not item.verified
            if item.sound:
                np.testing.assert_array_equal(item.image, whole[item.index].image)
        with pytest.raises(FormatError, match="the block of pictures 3 to 5"):
            verify(with_check(damaged), coloured_model)
        with pytest.raises(TruncatedStreamError, match="the block of pictures 3 to 5 is damaged"):
            list(decode_archive(with_check(damaged), model=coloured_model))


def test_a_cut_archive_decodes_to_what_is_there(coloured_model: CodecModel, data: bytes):
    whole, starts = list(decode_archive(data, model=coloured_model)), read_archive(data).starts
    for cut, members in (((starts[1] + starts[2]) // 2, 6), (starts[1] + 1, 3), (starts[2] - 1, 6), (starts[3] - 1, 7)):
        items = list(decode_archive(data[:cut], model=coloured_model, allow_partial=True))
        assert [item.index for item in items] == list(range(members))
        assert [item.sound for item in items] == [item.steps == 6 for item in items]
        for item in items:
            if item.sound:
                np.testing.assert_array_equal(item.image, whole[item.index].image)
        assert len({item.steps for item in items}) <= 2


def test_a_damaged_tail_costs_one_picture_its_exactness(coloured_model: CodecModel, pictures: list[Picture]):
    data = encode_archive(pictures[:4], model=coloured_model, solid=2, lossless=True, **FAST)
    place = read_archive(data).starts[1] - 40  # in the second picture's
    damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    items = list(decode_archive(damaged, model=coloured_model, allow_partial=True))
    assert [item.sound for item in items] == [True, False, True, True]
    assert [np.array_equal(item.image, pictures[item.index]) for item in items] == [True, False, True, True]
    alone = encode_archive(pictures[:4], model=coloured_model, lossless=True, **FAST)
    place = read_archive(alone).starts[2] - 40
    damaged = alone[:place] + bytes([alone[place] ^ 1]) + alone[place + 1 :]
    items = list(decode_archive(damaged, model=coloured_model, allow_partial=True))
    assert [np.array_equal(item.image, pictures[item.index]) for item in items] == [True, False, True, True]
    assert [item.sound for item in items] == [True, False, True, True]


# Shares.


def test_gains_follow_the_pictures_powers():
    prior, rng = Prior((4.0, 1.0, 0.5, 0.1), 4096), np.random.default_rng(2)
    strengths = np.array([0.01, 0.02, 0.04, 0.16])
    shifts = np.stack(
        [rng.normal(size=4096) * np.sqrt(s * prior.spread(np.array(prior.power))) for s in strengths]
    ).astype(np.float32)
    target = StepTarget(shifts, (prior,) * 4, StepCosts(strengths, strengths))
    free = np.tile(0.01 * np.abs(np.arange(GAINS) - MOST_GAIN), (4, 1))
    shares, ideal = shared_out(target, free)
    gains = np.array([share.gain for share in shares])
    assert np.abs(np.diff(gains) - np.diff(np.log(strengths) / np.log(GAIN_STEP))).max() <= 1
    own = sum(prior.bits(prior.fit(prior.energies(shift))) for shift in shifts)
    assert own <= ideal * 1.01
    assert ideal < own * 1.02
    costly = np.full((4, GAINS), 1e6)
    costly[:, MOST_GAIN] = 0
    same, more = shared_out(target, costly)
    assert [share.gain for share in same] == [0] * 4
    assert more > ideal
    white, _ = shared_out(replace_priors(target, (prior, None, None, prior)), free)
    assert [share.coloured for share in white] == [True, False, False, True]


def replace_priors(target: StepTarget, priors: tuple[Prior | None, ...]) -> StepTarget:
    return StepTarget(target.shifts, priors, target.costs)


def test_a_joint_prior_is_the_pictures_one_after_another():
    prior = Prior((2.0, 0.5, 0.5), 300)
    joint = joined([prior, None], [1.0, 4.0], 300)
    assert joint.dims == 600
    assert len(joint.power) == 6
    assert joint.power[3] == joint.power[5] == pytest.approx(2 * joint.power[0])
    assert float((joint.sizes * np.array(joint.power)).sum()) / 600 == pytest.approx(1)
    assert list(joint.edges) == [*prior.edges[:-1], *(300 + prior.edges)]
    assert joint.kappa(joint.bits(0.3)) == pytest.approx(0.3)
    assert joined([None, None], [1.0, 1.0], 300).power == (1.0, 1.0)
    assert Share(True).gain == 0


# The commands.


@pytest.fixture
def folder(tmp_path: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch, model: CodecModel) -> Path:
    monkeypatch.setattr("ddpmcodec.models.load_model", lambda *_: model)
    monkeypatch.chdir(tmp_path)
    for i in range(5):
        Image.fromarray(pictures[i][:16, :16]).save(f"{i}.png")
    options = ("--solid", 2, "--plan-steps", 6, "--json")
    result = run("encode", *(f"{i}.png" for i in range(5)), "-o", "set.ddpc", *options)
    assert result.exit_code == 0, result.output
    Path("report.json").write_text(result.stdout)
    return tmp_path


def test_the_commands_know_solid_archives(folder: Path):
    report, data = json.loads(Path("report.json").read_text()), Path("set.ddpc").read_bytes()
    assert (report["bytes"], report["pictures"], report["steps"]) == (len(data), 5, 6)
    values = json.loads(run("info", "set.ddpc", "--json").stdout)
    assert (values["pictures"], values["pictures_a_block"], len(values["sizes"])) == (5, 2, 3)
    parts = sum(values[f"{part}_bytes"] for part in ("header", "index", "payload", "check"))
    assert parts == values["bytes"] == len(data)
    one = json.loads(run("info", "set.ddpc", "--index", 3, "--json").stdout)
    assert (one["block"], one["steps"], one["payload_bytes"]) == ("pictures 2 to 3", 6, values["sizes"][1])
    assert "pictures 4 to 4" in run("info", "set.ddpc", "--index", 4).stdout
    assert "5 pictures of 16x16" in run("verify", "set.ddpc").stdout
    assert run("decode", "set.ddpc", "-o", "out", "-q").exit_code == 0
    result = run("decode", "set.ddpc", "--index", 3, "-o", "three.png", "--frames", "steps", "-q")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.asarray(Image.open("three.png")), np.asarray(Image.open("out/00003.png")))
    assert len(list(Path("steps").iterdir())) == 6
    assert run("decode", "set.ddpc", "--index", 3, "-o", "ddim.png", "--reconstruct", "ddim", "-q").exit_code == 0
    assert_refused(run("encode", "0.png", "1.png", "-o", "x", "--solid", "0"), "expected 1 to 256")
    assert_refused(run("encode", "0.png", "1.png", "-o", "x", "--solid", "2", "--psnr", "30"), "targets")
    assert_refused(run("decode", "set.ddpc", "--index", 5, "-o", "x.png"), "expected 0 to 4")
    assert_refused(run("decode", "set.ddpc", "--index", 1, "--steps", 9, "-o", "x.png"), "picture 1 has 6")
    assert_refused(run("truncate", "set.ddpc", "--steps", 2, "-o", "x.bin"), "archive")


def test_the_pictures_of_a_damaged_block_are_named(folder: Path):
    data = bytearray(Path("set.ddpc").read_bytes())
    data[read_archive(bytes(data)).starts[1] + 30] ^= 255
    Path("bad.ddpc").write_bytes(data)
    assert_refused(run("decode", "bad.ddpc", "-o", "out"), "--allow-partial")
    result = run("decode", "bad.ddpc", "-o", "out", "--allow-partial")
    assert result.exit_code == 0, result.output
    assert "not as they were sent: 2-3" in " ".join(result.stderr.split())
