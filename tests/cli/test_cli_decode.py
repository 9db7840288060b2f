from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.codec import reconstruction
from ddpmcodec.models import CodecModel
from tests.cli.test_cli import assert_refused, run

STEPS = 6


@pytest.fixture(scope="module")
def stream(picture: NDArray[np.uint8], model: CodecModel) -> bytes:
    return ddpmcodec.encode(picture, model=model, plan_steps=STEPS)


@pytest.fixture
def source(tmp_path: Path, stream: bytes) -> Path:
    (tmp_path / "in.bin").write_bytes(stream)
    return tmp_path / "in.bin"


def opened(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_frames_and_animations_show_each_step(source: Path, stream: bytes, model: CodecModel) -> None:
    folder = source.parent
    done = run(
        "decode", source, "-o", folder / "out.png", "--frames", folder / "a" / "b", "--gif", folder / "x.gif", "--webp",
        folder / "x.webp", "--steps", 4,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    expected = [d.image for d in ddpmcodec.decode_progressive(stream, 4, model=model)]
    files = sorted((folder / "a" / "b").iterdir())
    assert [f.name for f in files] == [f"step-{n:03d}.png" for n in range(1, 5)]
    for file, image in zip(files, expected, strict=True):
        np.testing.assert_array_equal(opened(file), image)
    np.testing.assert_array_equal(opened(folder / "out.png"), expected[-1])
    with Image.open(folder / "x.webp") as animation:
        assert animation.n_frames == 4
        for n, image in enumerate(expected):
            animation.seek(n)
            np.testing.assert_array_equal(np.asarray(animation.convert("RGB")), image)
    with Image.open(folder / "x.gif") as animation:
        assert animation.n_frames == 4


def test_watching_a_pipe_rewrites_the_picture_at_each_step(tmp_path: Path, stream: bytes, model: CodecModel) -> None:
    """Bytes are held back until the picture of those before them is there."""
    expected = [d.image for d in ddpmcodec.decode_progressive(stream, model=model)]
    command = [sys.executable, "-m", "ddpmcodec.cli", "decode", "-", "-o", str(tmp_path / "out.png"), "--watch"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        half = len(stream) // 2
        process.stdin.write(stream[:half])
        process.stdin.flush()
        deadline = time.monotonic() + 120
        while not (tmp_path / "out.png").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        early = opened(tmp_path / "out.png")
        process.stdin.write(stream[half:])
        process.stdin.close()
        assert process.wait(120) == 0
        assert process.stderr is not None
        said = process.stderr.read().decode()
    differences = [np.abs(early.astype(int) - image).max() for image in expected[:-1]]
    assert min(differences) <= 1
    assert np.abs(opened(tmp_path / "out.png").astype(int) - expected[-1]).max() <= 1
    assert all(f"step {n}:" in said for n in range(1, STEPS + 1))


def test_watching_a_file_stops_where_asked(source: Path, stream: bytes, model: CodecModel) -> None:
    done = run("decode", source, "-o", source.parent / "out.png", "--watch", "--steps", 2, "-q")
    assert done.exit_code == 0
    assert done.output == ""
    np.testing.assert_array_equal(opened(source.parent / "out.png"), ddpmcodec.decode(stream, 2, model=model))


def test_a_stream_that_breaks_off_keeps_its_last_picture_and_is_an_error(
    tmp_path: Path, stream: bytes, model: CodecModel
) -> None:
    cut = stream[: len(stream) * 2 // 3]
    done = run("decode", "-", "-o", tmp_path / "out.png", "--watch", "-q", stdin=cut)
    assert done.exit_code == 2
    assert "cut or damaged" in done.stderr
    kept = opened(tmp_path / "out.png")
    np.testing.assert_array_equal(kept, ddpmcodec.decode(cut, model=model, allow_partial=True))
    assert run("decode", "-", "-o", tmp_path / "out.png", "--watch", "-q", "--allow-partial", stdin=cut).exit_code == 0


@pytest.mark.parametrize(
    ("options", "way"),
    [
        (("sample",), reconstruction.sample(0)),
        (("sample", "--seed", "3"), reconstruction.sample(3)),
        (("ddim",), reconstruction.flow()),
        (("ddim", "--ddim-steps", "2"), reconstruction.flow(2)),
    ],
)
def test_reconstructions(
    options: tuple[str, ...],
    way: reconstruction.Reconstruction,
    source: Path,
    stream: bytes,
    model: CodecModel,
    picture: NDArray[np.uint8],
) -> None:
    done = run("decode", source, "-o", source.parent / "out.png", "--steps", 3, "--reconstruct", *options, "-q")
    assert done.exit_code == 0, done.output
    made = opened(source.parent / "out.png")
    np.testing.assert_array_equal(made, ddpmcodec.decode(stream, 3, model=model, reconstruct=way))
    mean = ddpmcodec.decode(stream, 3, model=model).astype(float)
    squared = [np.mean((m - picture.astype(float)) ** 2) for m in (mean, made.astype(float))]
    assert 0.95 * squared[0] < squared[1] < 3 * squared[0]  # of all pictures like this the mean has the least error


def test_another_seed_draws_another_picture(stream: bytes, model: CodecModel) -> None:
    drawn = [ddpmcodec.decode(stream, 2, model=model, reconstruct=reconstruction.sample(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0].astype(int) - drawn[2]).mean() > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "-", "--watch"), "--watch"),
        (("-o", "out.png", "--reconstruct", "oil"), "oil"),
        (("-o", "out.png", "--ddim-steps", "3"), "--ddim-steps"),
        (("-o", "out.png", "--reconstruct", "ddim", "--ddim-steps", "0"), "at least 1"),
        (("-o", "out.png", "--watch", "--steps", "0"), "at least 1"),
        (("-o", "out.png", "--gif", "nowhere/x.gif"), "nowhere"),
        (("-o", "out.png", "--frames", "in.bin"), "in.bin"),
    ],
)
def test_bad_options_are_refused(
    options: tuple[str, ...], words: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    assert_refused(run("decode", "in.bin", *options), words)
    assert sorted(f.name for f in source.parent.iterdir()) == ["in.bin"]


def test_an_empty_pipe_is_an_error(tmp_path: Path) -> None:
    assert_refused(run("decode", "-", "-o", tmp_path / "out.png", "--watch", stdin=b""), "")
    assert not (tmp_path / "out.png").exists()


def test_a_picture_on_stdout_with_frames_beside_it(source: Path, stream: bytes, model: CodecModel) -> None:
    done = run("decode", source, "-o", "-", "--frames", source.parent / "frames", "--steps", 1, "-q")
    image = np.asarray(Image.open(io.BytesIO(done.stdout_bytes)))
    np.testing.assert_array_equal(image, ddpmcodec.decode(stream, 1, model=model))
    np.testing.assert_array_equal(opened(source.parent / "frames" / "step-001.png"), image)


@pytest.mark.parametrize(
    ("suffix", "said"), [(".gif", "256 colours"), (".jpg", "loses detail"), (".pdf", "loses detail")]
)
def test_outputs_that_lose_are_never_called_exact(tmp_path: Path, exact_stream: bytes, suffix: str, said: str) -> None:
    (tmp_path / "in.bin").write_bytes(exact_stream)
    done = run("decode", tmp_path / "in.bin", "-o", tmp_path / f"out{suffix}")
    assert done.exit_code == 0, done.output
    assert said in done.stderr
    assert "exact" not in done.stderr


@pytest.mark.parametrize("suffix", [".png", ".jp2", ".webp"])
def test_exact_outputs_are_exact_and_come_without_a_warning(
    tmp_path: Path, exact_stream: bytes, picture: NDArray[np.uint8], suffix: str
) -> None:
    (tmp_path / "in.bin").write_bytes(exact_stream)
    done = run("decode", tmp_path / "in.bin", "-o", tmp_path / f"out{suffix}")
    assert "warning" not in done.stderr
    assert "exact" in done.stderr
    np.testing.assert_array_equal(opened(tmp_path / f"out{suffix}"), picture)


@pytest.fixture(scope="module")
def exact_stream(picture: NDArray[np.uint8], model: CodecModel) -> bytes:
    return ddpmcodec.encode(picture, model=model, plan_steps=STEPS, lossless=True)


def test_more_steps_than_a_watched_file_holds_are_told_of(source: Path):
    more, all_of_them = (
        run("decode", source, "-o", source.parent / "out.png", "--watch", "--steps", n) for n in (STEPS + 3, STEPS)
    )
    assert more.exit_code == 0, more.output
    assert f"warning: {STEPS + 3} steps were asked for, and the file holds {STEPS}" in more.stderr
    assert "warning" not in all_of_them.stderr
