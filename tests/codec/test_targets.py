"""Rate control: a size is never exceeded and is used, a distortion is reached, and the stream is a stream like any
other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from ddpmcodec import DdpmCodecError, TruncatedStreamError, decode, decode_progressive, encode, truncate
from ddpmcodec.bitstream.file import read_info
from ddpmcodec.codec.decoding import decode_stream
from ddpmcodec.codec.encoding import encode_stream
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.io.images import to_bytes
from ddpmcodec.models import CodecModel

STEPS = 6


def error(picture: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.mean((picture.astype(np.float64) - other) ** 2)) ** 0.5


@pytest.mark.parametrize("channel", ["trellis", "trellis:8", "orc:8"])
def test_no_file_is_larger_than_its_target_nor_much_smaller(
    channel: str, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    whole, rng = (
        len(encode(prior_picture, model=tiny_model, plan_steps=STEPS, channel=channel)),
        np.random.default_rng(1),
    )
    for size in rng.integers(24, whole, 3 if channel == "orc:8" else 10).tolist():
        sent: list[SentStep] = []
        data = encode(
            prior_picture, model=tiny_model, plan_steps=STEPS, channel=channel, target_bytes=size, on_step=sent.append
        )
        assert len(data) <= size
        if channel != "orc:8":  # whose steps take bits as luck has it
            assert size - len(data) <= max(2, 0.02 * size)
        info = read_info(data, tiny_model)
        assert info.complete
        assert info.steps == sent[-1].n
        assert np.array_equal(decode(data, model=tiny_model), to_bytes(sent[-1].reconstruct()[0], 32, 32))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 41)])
def test_targets_of_other_sizes(height: int, width: int, tiny_model: CodecModel) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    for size in (18, 60, 200):
        data = encode(picture, model=tiny_model, plan_steps=STEPS, target_bytes=size)
        assert len(data) <= size
        assert decode(data, model=tiny_model).shape == picture.shape


def test_more_than_the_chain_needs_gives_the_chain(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> None:
    whole = encode(prior_picture, model=tiny_model, plan_steps=STEPS)
    data = encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_bytes=10 * len(whole))
    assert read_info(data, tiny_model).steps == STEPS
    assert len(data) == len(whole)


def test_bits_a_pixel_are_bytes(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> None:
    by_bpp = encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_bpp=1.0)
    assert by_bpp == encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_bytes=128)


def test_a_short_step_lies_on_the_curve(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> None:
    """Between two files of whole steps a target's picture lies between theirs."""
    files = [encode(prior_picture, model=tiny_model, plan_steps=STEPS, steps=n) for n in (2, 3)]
    size = (len(files[0]) + len(files[1])) // 2
    target = encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_bytes=size)
    worse, better = (error(prior_picture, decode(f, model=tiny_model)) for f in files)
    assert better < error(prior_picture, decode(target, model=tiny_model)) < worse


def test_distortions_are_reached_by_the_decoded_picture(
    tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    sizes = []
    for rmse in (24.0, 20.0, 17.0):
        data = encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_rmse=rmse)
        assert rmse - 2 < error(prior_picture, decode(data, model=tiny_model)) <= rmse
        sizes.append(len(data))
    assert sizes == sorted(set(sizes))
    psnr = 20 * np.log10(255 / 20.0)
    assert encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_psnr=psnr) == encode(
        prior_picture, model=tiny_model, plan_steps=STEPS, target_rmse=255 / 10 ** (psnr / 20)
    )
    with pytest.raises(DdpmCodecError, match=r"out of reach.*lossless"):
        encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_rmse=0.5)


def test_a_short_stepped_stream_is_cut_truncated_and_streamed_like_any_other(
    tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    data = encode(prior_picture, model=tiny_model, plan_steps=STEPS, target_bytes=120)
    info, pictures = read_info(data, tiny_model), [i.image for i in decode_progressive(data, model=tiny_model)]
    assert info.short_step is not None
    assert len(pictures) == info.steps
    assert truncate(data, steps=info.steps, model=tiny_model) == data
    shorter = truncate(data, steps=info.steps - 1, model=tiny_model)
    assert shorter == encode(prior_picture, model=tiny_model, plan_steps=STEPS, steps=info.steps - 1)
    for size in range(12, len(data)):
        with pytest.raises(DdpmCodecError):
            decode(data[:size], model=tiny_model)
        steps = read_info(data[:size], tiny_model).steps
        assert steps < info.steps or size >= len(data) - 2
        if steps:
            found = list(decode_progressive(data[:size], model=tiny_model, allow_partial=True))
            assert np.array_equal(found[-1].image, pictures[steps - 1])
    streamed = [i.image for i in decode_stream([data[:40], data[40:]], model=tiny_model)]
    assert all(np.array_equal(a, b) for a, b in zip(streamed, pictures, strict=True))
    with pytest.raises(TruncatedStreamError):
        list(decode_stream([data[:-1]], model=tiny_model))


def test_bytes_leave_before_the_encoder_has_finished(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> None:
    for options in ({}, {"target_bytes": 150}, {"lossless": True}):
        sent: list[SentStep] = []
        pieces = encode_stream(prior_picture, model=tiny_model, plan_steps=STEPS, on_step=sent.append, **options)  # type: ignore[arg-type]
        first = [next(pieces), next(pieces)]
        assert len(sent) < STEPS
        data = b"".join([*first, *pieces])
        assert data == encode(prior_picture, model=tiny_model, plan_steps=STEPS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"target_bytes": 100, "target_psnr": 30.0},
        {"target_rmse": 3.0, "steps": 2},
        {"target_bytes": 3},
        {"target_bpp": -1.0},
        {"target_psnr": float("nan")},
        {"target_rmse": 0.0},
    ],
)
def test_what_makes_no_sense_is_refused(
    options: dict[str, float], tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    with pytest.raises(DdpmCodecError):
        encode(prior_picture, model=tiny_model, plan_steps=STEPS, **options)  # type: ignore[arg-type]


def test_the_command_line_keeps_the_promise(tmp_path: Path) -> None:
    from ddpmcodec.cli.app import app

    picture, out = Path(__file__).parents[2] / "docs" / "astronaut-32.png", tmp_path / "out.bin"
    run = CliRunner().invoke
    done = run(app, ["encode", str(picture), "-o", str(out), "--plan-steps", "4", "--target-bytes", "90", "-q"])
    assert done.exit_code == 0, done.output
    assert 88 <= out.stat().st_size <= 90
    before = out.read_bytes()
    for wrong in (
        ["--target-bytes", "2"],
        ["--psnr", "90"],
        ["--psnr", "30", "--rmse", "2"],
        ["--lossless", "--rmse", "2"],
    ):
        assert run(app, ["encode", str(picture), "-o", str(out), "--plan-steps", "4", *wrong]).exit_code == 2
    assert run(app, ["encode", str(picture), str(picture), "-o", str(out), "--psnr", "30"]).exit_code == 2
    assert out.read_bytes() == before
    assert "short step" in run(app, ["info", str(out)]).output
