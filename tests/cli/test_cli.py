from __future__ import annotations

import io
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

import ddpmcodec
from ddpmcodec.bitstream.condition import condition_fields
from ddpmcodec.bitstream.file import with_fields
from ddpmcodec.cli.app import app
from ddpmcodec.models import CodecModel, load_network, save_model
from ddpmcodec.models.condition import Condition

STEPS = 8


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def assert_refused(result: Result, *words: str) -> None:
    """Exit code 2, one line on stderr that says why, nothing on stdout."""
    lines = result.stderr.splitlines()
    assert result.exit_code == 2, result.output
    assert result.stdout_bytes == b""
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory, picture: NDArray[np.uint8]) -> tuple[Path, dict]:
    """A folder with picture.png and its stream.bin, and what `encode --json` said."""
    folder = tmp_path_factory.mktemp("cli")
    Image.fromarray(picture).save(folder / "picture.png")
    result = run("encode", folder / "picture.png", "-o", folder / "stream.bin", "--plan-steps", STEPS, "--json", "-q")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return folder, json.loads(result.stdout)


@pytest.fixture
def source(coded: tuple[Path, dict], tmp_path: Path) -> Path:
    """The stream, in a folder of its own."""
    path = tmp_path / "stream.bin"
    path.write_bytes((coded[0] / "stream.bin").read_bytes())
    return path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_encode_reports_what_it_wrote(coded: tuple[Path, dict], picture: NDArray[np.uint8]):
    folder, report = coded
    assert names(folder) == ["picture.png", "stream.bin"]
    assert report["bytes"] == (folder / "stream.bin").stat().st_size
    assert report["real_bits_per_dim"] == pytest.approx(8 * report["bytes"] / picture.size, abs=1e-6)
    # A step may send a little less than it wants, and its successors then want more.
    assert 0 < 0.97 * report["ideal_bits_per_dim"] < report["real_bits_per_dim"]
    assert (report["width"], report["height"], report["steps"]) == (32, 32, STEPS)
    assert report["psnr"] == pytest.approx(20 * math.log10(255 / report["rmse"]), abs=0.01)


def test_reported_distortion_is_the_decoded_file_s(coded: tuple[Path, dict], source: Path, picture: NDArray[np.uint8]):
    result = run("decode", source, "-o", source.parent / "out.png")
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == b""
    assert names(source.parent) == ["out.png", "stream.bin"]
    decoded = np.asarray(Image.open(source.parent / "out.png"))
    assert coded[1]["rmse"] == pytest.approx(np.sqrt(np.mean((decoded.astype(float) - picture) ** 2)), abs=1e-4)


def test_decode_stops_where_asked(source: Path, model: CodecModel):
    out = source.parent / "out.png"
    assert run("decode", source, "-o", out, "--steps", 3, "-q").exit_code == 0
    np.testing.assert_array_equal(np.asarray(Image.open(out)), ddpmcodec.decode(source.read_bytes(), 3, model=model))


def test_pipes(coded: tuple[Path, dict], picture: NDArray[np.uint8]):
    folder, _ = coded
    stream = (folder / "stream.bin").read_bytes()
    encoded = run("encode", "-", "-o", "-", "--plan-steps", STEPS, "-q", stdin=(folder / "picture.png").read_bytes())
    assert encoded.stdout_bytes == stream
    decoded = run("decode", "-", "-o", "-", "--steps", 1, stdin=stream)
    assert decoded.exit_code == 0
    assert np.asarray(Image.open(io.BytesIO(decoded.stdout_bytes))).shape == picture.shape
    assert json.loads(run("info", "-", "--json", stdin=stream).stdout)["bytes"] == len(stream)


def test_reports_go_to_stderr_and_quiet_means_quiet(coded: tuple[Path, dict], tmp_path: Path):
    arguments = ["encode", coded[0] / "picture.png", "-o", tmp_path / "s.bin", "--plan-steps", 2]
    loud, quiet = run(*arguments, "-v"), run(*arguments, "-q")
    assert loud.exit_code == quiet.exit_code == 0
    assert loud.stdout_bytes == quiet.stdout_bytes == b""
    assert quiet.stderr == ""
    assert f"{(tmp_path / 's.bin').stat().st_size} bytes" in loud.stderr
    assert "step   1" in loud.stderr
    assert "step   2" in loud.stderr


def test_info_tells_what_encode_did(coded: tuple[Path, dict], source: Path):
    result = run("info", source, "--json")
    assert result.exit_code == 0
    values, report = json.loads(result.stdout), coded[1]
    for key in ("bytes", "real_bits_per_dim", "width", "height", "steps", "model"):
        assert values[key] == report[key]
    assert values["complete"]
    assert values["plan_steps"] == STEPS
    assert values["header_bytes"] + values["payload_bytes"] + values["check_bytes"] == values["bytes"]
    assert len(values["step_bits"]) == len(values["log_snr"]) == len(values["channel_bits"]) == STEPS
    np.testing.assert_allclose(np.cumsum(values["step_bits"]), values["cumulative_bits"], atol=0.1)
    assert abs(values["cumulative_bits"][-1] - 8 * values["payload_bytes"]) <= 16


def test_info_for_people_holds_the_same(coded: tuple[Path, dict], source: Path):
    result = run("info", source)
    assert result.exit_code == 0
    assert str(coded[1]["bytes"]) in result.stdout
    assert "cumulative bits" in result.stdout


def test_info_shows_what_the_network_is_told(picture: NDArray[np.uint8], tmp_path: Path):
    fields = condition_fields(Condition(3, "a red\x1b[1m house", 250))
    stream = tmp_path / "told.bin"
    stream.write_bytes(with_fields(ddpmcodec.encode(picture, plan_steps=2, steps=1), fields.items()))
    told = json.loads(run("info", stream, "--json").stdout)
    assert (told["class"], told["prompt"], told["guidance"]) == (3, "a red\x1b[1m house", 2.5)
    shown = run("info", stream).stdout
    assert "red\\x1b[1m house" in shown
    assert "\x1b" not in shown


def test_info_of_a_cut_file_shows_its_intact_steps(source: Path):
    source.write_bytes(source.read_bytes()[:-100])
    values = json.loads(run("info", source, "--json").stdout)
    assert not values["complete"]
    assert 0 < values["steps"] < STEPS


def test_info_of_an_unknown_model_s_stream_shows_its_header(source: Path):
    data = bytearray(source.read_bytes())
    data[4] ^= 1
    source.write_bytes(data)
    result = run("info", source, "--json")
    values = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (values["width"], values["height"]) == (32, 32)
    assert "unknown" in values["model"]
    assert "steps" not in values


def test_a_model_file_can_be_named(model: CodecModel, source: Path, tmp_path: Path):
    path = tmp_path / "mine.safetensors"
    save_model(path, load_network()[0], model.curve, "mine")
    assert json.loads(run("info", source, "--json", "--model", path).stdout)["model"] == "mine"


@pytest.mark.parametrize(
    ("flags", "pixel"), [(["--flatten", "white"], 255), (["--flatten", "#000000"], 0)], ids=["white", "black"]
)
def test_flatten_puts_a_colour_behind(tmp_path: Path, flags: list[str], pixel: int):
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    arguments = ["encode", tmp_path / "clear.png", "-o", tmp_path / "s.bin", "--plan-steps", 4, "-q"]
    assert_refused(run(*arguments), "--flatten")
    assert names(tmp_path) == ["clear.png"]
    assert run(*arguments, *flags).exit_code == 0
    assert np.abs(ddpmcodec.decode((tmp_path / "s.bin").read_bytes()).astype(int) - pixel).mean() < 10


def test_options_reach_the_stream(coded: tuple[Path, dict], tmp_path: Path):
    out = tmp_path / "s.bin"
    result = run(
        "encode", coded[0] / "picture.png", "-o", out, "--plan-steps", 2, "--channel", "trellis:9", "--seed", 77, "-q"
    )
    assert result.exit_code == 0
    header = ddpmcodec.read_header(out.read_bytes())
    assert (header.plan_steps, header.channel, header.seed) == (2, (0, 9), 77)
    assert json.loads(run("info", out, "--json").stdout)["channel"] == "trellis:9"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.png", "-o", "s.bin"], "No such file"),
        ([".", "-o", "s.bin"], "directory"),
        (["picture.png", "-o", "folder"], "directory"),
        (["picture.png", "-o", "nowhere/s.bin"], "does not exist"),
        (["text.txt", "-o", "s.bin"], "not a picture"),
        (["empty", "-o", "s.bin"], "empty"),
        (["picture.png", "-o", "s.bin", "--plan-steps", "0"], "0 steps"),
        (["picture.png", "-o", "s.bin", "--plan-steps", "-1"], "-1 steps"),
        (["picture.png", "-o", "s.bin", "--plan-steps", "100000"], "100000 steps"),
        (["picture.png", "-o", "s.bin", "--channel", "huffman"], "huffman"),
        (["picture.png", "-o", "s.bin", "--seed", "-1"], "seed"),
        (["picture.png", "-o", "s.bin", "--model", "nonesuch"], "cifar10-small"),
        (["picture.png", "-o", "s.bin", "--device", "toaster"], "toaster"),
        (["picture.png", "-o", "s.bin", "--flatten", "mauve-ish"], "mauve-ish"),
        (["picture.png", "-o", "-", "--json"], "stdout"),
    ],
)
def test_encode_refuses(coded: tuple[Path, dict], tmp_path: Path, monkeypatch, arguments: list[str], word: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.png").write_bytes((coded[0] / "picture.png").read_bytes())
    (tmp_path / "text.txt").write_text("[bold]no picture[/]")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    before = names(tmp_path)
    assert_refused(run("encode", *arguments, "-q"), word)
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.bin", "-o", "out.png"], "No such file"),
        (["stream.bin", "-o", "folder"], "directory"),
        (["stream.bin", "-o", "nowhere/out.png"], "does not exist"),
        (["stream.bin", "-o", "out.xyz"], ".xyz"),
        (["text.txt", "-o", "out.png"], "not a ddpmcodec stream"),
        (["empty", "-o", "out.png"], "empty"),
        (["cut.bin", "-o", "out.png"], "--allow-partial"),
        (["header.bin", "-o", "out.png", "--allow-partial"], "first step"),
        (["other.bin", "-o", "out.png"], "fingerprint"),
        (["stream.bin", "-o", "out.png", "--steps", "0"], "0 steps"),
        (["stream.bin", "-o", "out.png", "--steps", "-3"], "-3 steps"),
        (["stream.bin", "-o", "out.png", "--steps", "9"], "1 to 8"),
        (["cut.bin", "-o", "out.png", "--steps", "8", "--allow-partial"], "8 steps"),
        (["stream.bin", "-o", "out.png", "--device", "toaster"], "toaster"),
        (["stream.bin", "-o", "out.png", "--model", "text.txt"], "safetensors"),
    ],
)
def test_decode_refuses(source: Path, monkeypatch, arguments: list[str], word: str):
    folder, data = source.parent, source.read_bytes()
    monkeypatch.chdir(folder)
    (folder / "text.txt").write_text("no stream")
    (folder / "empty").touch()
    (folder / "cut.bin").write_bytes(data[:-60])
    (folder / "header.bin").write_bytes(data[:13])
    (folder / "other.bin").write_bytes(data[:4] + b"abcd" + data[8:])
    (folder / "folder").mkdir()
    before = names(folder)
    assert_refused(run("decode", *arguments, "-q"), word)
    assert names(folder) == before


def test_a_cut_file_decodes_with_a_warning(source: Path, model: CodecModel):
    data, out = source.read_bytes(), source.parent / "out.png"
    source.write_bytes(data[:-60])
    result = run("decode", source, "-o", out, "--allow-partial")
    assert result.exit_code == 0
    assert "warning: the stream is cut" in result.stderr
    with pytest.raises(ddpmcodec.TruncatedStreamError) as caught:
        ddpmcodec.decode(data[:-60], model=model)
    assert f"decoded {caught.value.intact_steps} of {STEPS} steps" in result.stderr
    expected = ddpmcodec.decode(data, caught.value.intact_steps, model=model)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


def test_info_refuses(tmp_path: Path):
    (tmp_path / "text.txt").write_text("no stream")
    assert_refused(run("info", tmp_path / "text.txt"), "not a ddpmcodec stream")
    assert_refused(run("info", tmp_path / "missing"), "No such file")
    assert_refused(run("info", "-", stdin=b""), "empty")


def test_an_existing_output_is_replaced_whole_or_left_alone(source: Path):
    out = source.parent / "out.png"
    out.write_bytes(b"precious")
    assert_refused(run("decode", source, "-o", out, "--steps", 99, "-q"), "1 to 8")
    assert out.read_bytes() == b"precious"
    assert run("decode", source, "-o", out, "--steps", 1, "-q").exit_code == 0
    assert Image.open(out).size == (32, 32)


def test_a_link_stays_a_link(source: Path):
    (source.parent / "real.png").write_bytes(b"old")
    (source.parent / "link.png").symlink_to("real.png")
    assert run("decode", source, "-o", source.parent / "link.png", "--steps", 1, "-q").exit_code == 0
    assert names(source.parent) == ["link.png", "real.png", "stream.bin"]
    assert (source.parent / "link.png").is_symlink()
    assert Image.open(source.parent / "real.png").size == (32, 32)


def test_a_device_is_written_to_and_not_replaced(source: Path):
    assert run("decode", source, "-o", "/dev/null", "--steps", 1, "-q").exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_a_lossy_format_comes_with_a_warning(source: Path):
    result = run("decode", source, "-o", source.parent / "out.jpg", "--steps", 1)
    assert result.exit_code == 0
    assert "warning: .jpg loses detail" in result.stderr
    assert Image.open(source.parent / "out.jpg").format == "JPEG"


def test_a_failed_write_leaves_nothing_behind(source: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert_refused(run("decode", source, "-o", source.parent / "out.png", "--steps", 1, "-q"), "No space left")
    assert names(source.parent) == ["stream.bin"]


def test_debug_shows_the_traceback(tmp_path: Path):
    result = run("info", tmp_path / "missing", "--debug")
    assert isinstance(result.exception, ddpmcodec.DdpmCodecError)


def test_an_unexpected_error_says_that_it_is_a_bug(source: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("[red]oops[/]")

    monkeypatch.setattr("ddpmcodec.codec.decoding.decode_progressive", broken)
    result = run("decode", source, "-o", source.parent / "out.png")
    assert result.exit_code == 1
    assert "ZeroDivisionError: [red]oops[/]" in result.stderr
    assert "--debug" in result.stderr
    assert names(source.parent) == ["stream.bin"]


def test_a_folder_that_can_t_be_written_to_is_refused_at_once(source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    assert_refused(run("decode", source, "-o", source.parent / "out.png", "-q"), "no permission")


def test_the_commands_run_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["ddpmcodec", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("ddpmcodec.cli", run_name="__main__")
    assert not caught.value.code
    assert capsys.readouterr().out.startswith("ddpmcodec ")


def test_version_and_help():
    assert run("--version").stdout.splitlines()[0] == f"ddpmcodec {ddpmcodec.__version__}"
    help_text = run("--help").stdout
    assert all(command in help_text for command in ("encode", "decode", "info"))
