from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.codec.truncation import truncated_sizes
from ddpmcodec.errors import DdpmCodecError, TruncatedStreamError
from ddpmcodec.models import CodecModel, read_model_info
from tests.cli.test_cli import assert_refused, run

STEPS = 8


@pytest.fixture(scope="module")
def stream(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> bytes:
    return ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS)


@pytest.mark.parametrize("channel", ["trellis", "orc:8"])
def test_a_truncated_stream_is_what_the_sender_would_have_made(
    channel: str, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    options = {"model": tiny_model, "plan_steps": STEPS, "channel": channel, "seed": 5}
    whole = ddpmcodec.encode(prior_picture, **options)
    for n in range(1, STEPS + 1):
        short = ddpmcodec.truncate(whole, steps=n, model=tiny_model)
        assert short == ddpmcodec.encode(prior_picture, steps=n, **options)
        assert np.array_equal(
            ddpmcodec.decode(short, model=tiny_model), ddpmcodec.decode(whole, steps=n, model=tiny_model)
        )
    assert short == whole


def test_a_size_is_kept_and_used(stream: bytes, tiny_model: CodecModel) -> None:
    sizes = [len(ddpmcodec.truncate(stream, steps=n, model=tiny_model)) for n in range(1, STEPS + 1)]
    for size in range(sizes[0], len(stream) + 3):
        short = ddpmcodec.truncate(stream, size=size, model=tiny_model)
        assert len(short) == max(s for s in sizes if s <= size)
        assert ddpmcodec.read_info(short, tiny_model).complete


def test_a_stream_can_be_truncated_again(stream: bytes, tiny_model: CodecModel) -> None:
    six = ddpmcodec.truncate(stream, steps=6, model=tiny_model)
    assert ddpmcodec.truncate(six, steps=3, model=tiny_model) == ddpmcodec.truncate(stream, steps=3, model=tiny_model)
    with pytest.raises(DdpmCodecError, match="has 1 to 6"):
        ddpmcodec.truncate(six, steps=7, model=tiny_model)


def test_a_cut_file_becomes_a_complete_one_of_its_whole_steps(stream: bytes, tiny_model: CodecModel) -> None:
    cut = stream[: len(stream) // 2]
    with pytest.raises(TruncatedStreamError) as caught:
        ddpmcodec.truncate(cut, size=1000, model=tiny_model)
    intact = caught.value.intact_steps
    assert 0 < intact < STEPS
    short = ddpmcodec.truncate(cut, size=1000, model=tiny_model, allow_partial=True)
    assert short == ddpmcodec.truncate(stream, steps=intact, model=tiny_model)
    with pytest.raises(DdpmCodecError, match="nothing is left"):
        ddpmcodec.truncate(stream[:11], steps=1, model=tiny_model, allow_partial=True)


@pytest.mark.parametrize(
    "options", [{}, {"steps": 1, "size": 100}, {"steps": 0}, {"steps": STEPS + 1}, {"size": 3}, {"size": -1}]
)
def test_what_can_t_be_kept_is_refused(options: dict[str, int], stream: bytes, tiny_model: CodecModel) -> None:
    with pytest.raises(DdpmCodecError):
        ddpmcodec.truncate(stream, model=tiny_model, **options)


def test_the_command_needs_no_network(
    tmp_path: Path, picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ddpmcodec.encode(picture, plan_steps=4)
    (tmp_path / "in.bin").write_bytes(data)
    monkeypatch.setattr("ddpmcodec.models.weights.load_network", None)  # called, it would fail
    done = run("truncate", tmp_path / "in.bin", "-o", tmp_path / "out.bin", "--bytes", len(data) // 2)
    assert done.exit_code == 0, done.output
    short = (tmp_path / "out.bin").read_bytes()
    assert len(short) <= len(data) // 2
    assert ddpmcodec.read_info(short, read_model_info()).complete
    piped = run("truncate", "-", "-o", "-", "--steps", 2, "-q", stdin=data)
    assert ddpmcodec.read_info(piped.stdout_bytes, read_model_info()).steps == 2


def test_the_command_refuses_and_writes_nothing(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    (tmp_path / "in.bin").write_bytes(ddpmcodec.encode(picture, plan_steps=2))
    (tmp_path / "text.bin").write_text("no stream")
    for arguments in (
        ("in.bin",),
        ("in.bin", "--steps", "1", "--bytes", "99"),
        ("in.bin", "--bytes", "10"),
        ("in.bin", "--steps", "3"),
        ("text.bin", "--steps", "1"),
        ("nothing.bin", "--steps", "1"),
    ):
        name, *options = arguments
        assert_refused(run("truncate", tmp_path / name, "-o", tmp_path / "out.bin", *options))
    assert not (tmp_path / "out.bin").exists()


@pytest.mark.parametrize("options", [{}, {"target_bytes": 120}, {"lossless": True, "steps": 5}])
def test_sizes_of_all_truncations_are_found_in_one_pass(
    options: dict, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    whole = ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS, **options)
    steps = range(1, ddpmcodec.read_info(whole, tiny_model).pictures + 1)
    each = [len(ddpmcodec.truncate(whole, steps=n, model=tiny_model)) for n in steps]
    assert truncated_sizes(whole, tiny_model) == each
    assert each[-1] == len(whole)
