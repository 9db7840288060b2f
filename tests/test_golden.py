"""Files of every kind that were made once: every later version of the code reads them, to the same integers and
pictures.

`python -m tests.tools.make_golden` made them. A test that fails here means that files out there can't be read any more:
undo the change, or raise VERSION in ddpmcodec/bitstream/header.py and make them anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.bitstream.archive import is_archive, pack_archive, pack_blocks, read_archive
from ddpmcodec.bitstream.file import finish, writer_of
from ddpmcodec.bitstream.header import VERSION, read_header
from ddpmcodec.bitstream.solid import block_payload, read_block
from ddpmcodec.codec.verification import verify
from ddpmcodec.errors import DdpmCodecError, TruncatedStreamError
from ddpmcodec.lossless.learning import RATES
from ddpmcodec.lossless.network import WEIGHTS
from ddpmcodec.models import CodecModel, load_model
from tests.tools import format_parser, make_golden

FOLDER = Path(__file__).parent / "golden"
SUMMARY: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text())
NAMES = list(SUMMARY["files"])
WHOLE = [name for name in NAMES if name != "cut"]


@pytest.fixture(scope="module")
def model() -> CodecModel:
    """The model that made them, whichever is embedded today."""
    return load_model(make_golden.model_path(FOLDER))


def file(name: str) -> bytes:
    return (FOLDER / f"{name}.bin").read_bytes()


def references(name: str) -> list[NDArray[np.uint8]]:
    paths = sorted(FOLDER.glob(f"{name}.png")) or sorted(FOLDER.glob(f"{name}-[0-9].png"))
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def lossless(name: str) -> bool:
    return bool(file(name)[3] & format_parser.LOSSLESS)


def test_the_files_are_of_this_version_and_this_model(model: CodecModel):
    assert SUMMARY["version"] == VERSION
    assert SUMMARY["model"] == model.fingerprint
    # The tail's weights are part of the format: with others, lossless files don't decode.
    assert SUMMARY["tail_weights"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert SUMMARY["tail_rates"] == hashlib.sha256(RATES.read_bytes()).hexdigest()
    assert {p.stem for p in FOLDER.glob("*.bin")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_are_those_that_were_made(name: str):
    assert hashlib.sha256(file(name)).hexdigest() == SUMMARY["files"][name]["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_equal_within_a_level_and_lossless_ones_exact(name: str, model: CodecModel):
    found, expected = make_golden.pictures_of(file(name), model), references(name)
    assert len(found) == len(expected)
    for picture, reference in zip(found, expected, strict=True):
        assert np.abs(picture.astype(int) - reference).max() <= (0 if lossless(name) else 1)


def test_lossless_references_are_the_pictures_themselves():
    np.testing.assert_array_equal(references("lossless")[0], make_golden.picture(32, 32))
    np.testing.assert_array_equal(references("lossless-odd")[0], make_golden.picture(5, 7))
    np.testing.assert_array_equal(references("grey-lossless")[0], make_golden.grey(make_golden.picture(18, 23)))
    for name in ("archive-lossless", "archive-solid-lossless"):
        for turn, reference in enumerate(references(name)):
            np.testing.assert_array_equal(reference, make_golden.picture(9, 8, turn))


@pytest.mark.parametrize("name", NAMES)
def test_the_integers_written_again_are_the_same_bytes(name: str, model: CodecModel):
    data = file(name)
    if is_archive(data):
        archive = read_archive(data)
        if archive.solid > 1:
            payloads = [block_rewritten(archive, number, model) for number in range(archive.blocks)]
            grey = [archive.is_grey(i) for i in range(archive.count)]
            assert pack_blocks(archive.header, grey, payloads, archive.solid) == data
            return
        assert pack_archive([rewritten(archive.stream(i), model) for i in range(archive.count)]) == data
    elif name == "cut":
        assert rewritten(file("plain"), model).startswith(data)
    else:
        assert rewritten(data, model) == data


def rewritten(data: bytes, model: CodecModel) -> bytes:
    info = ddpmcodec.read_info(data, model)
    assert info.complete
    writer = writer_of(info.header, model)
    for packet in info.packets:
        writer.write(packet)
    writer.end()
    return finish(info.header, writer, info.tail)


def block_rewritten(archive: ddpmcodec.Archive, number: int, model: CodecModel) -> bytes:
    members = archive.members(number)
    block = read_block(archive.header, archive.payload(members.start), len(members), model)
    assert block.complete
    writer = writer_of(archive.header, model, len(members))
    for packet in block.packets:
        writer.write(packet)
    writer.end()
    return block_payload(archive.header, writer, block.tails)


def test_the_files_are_of_every_kind(model: CodecModel):
    infos = {name: ddpmcodec.read_info(file(name), model) for name in NAMES if not is_archive(file(name))}
    assert infos["short-step"].short_step is not None
    assert infos["no-short-step"].header.short
    assert infos["no-short-step"].short_step is None
    assert 0 < infos["cut"].steps < infos["plain"].steps == 10
    assert infos["ended"].steps == 3
    assert infos["default"].steps == 33
    assert infos["lossless"].tail
    assert infos["lossless"].steps < 10  # END is followed by the tail
    assert {name for name in infos if infos[name].header.learns} == {"grey-learning", "lossless-learning"}
    assert infos["random-coding"].header.channel == (1, 10)
    assert sorted(name for name in infos if infos[name].header.grey) == [
        "grey",
        "grey-learning",
        "grey-lossless",
        "grey-odd",
    ]
    assert infos["grey-odd"].short_step is not None
    assert [field.identifier for field in infos["fields"].header.fields] == [4, 99]
    assert [len(read_header(read_archive(file("archive-fields")).stream(i)).fields) for i in range(3)] == [2, 1, 3]
    solid = read_archive(file("archive-solid"))
    assert [len(solid.members(number)) for number in range(solid.blocks)] == [3, 2]
    assert [solid.is_grey(i) for i in range(5)] == [False, True, False, False, False]
    assert {info.check_bytes for name, info in infos.items() if name != "cut"} == {2, 4}


def test_the_cut_file_is_refused_unless_asked_for(model: CodecModel):
    with pytest.raises(TruncatedStreamError):
        ddpmcodec.decode(file("cut"), model=model)


@pytest.mark.parametrize("name", WHOLE)
def test_every_single_flipped_bit_is_detected(name: str, model: CodecModel):
    data = file(name)
    verify(data, model)
    flipped = bytearray(data)
    for bit in range(8 * len(data)):
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DdpmCodecError):
            verify(bytes(flipped), model)
        flipped[bit // 8] ^= 1 << bit % 8


def test_goldens_of_a_version_are_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(make_golden, "integers", lambda names, folder, model: {f"{name}.bin": "" for name in names})
    monkeypatch.setattr(make_golden, "pictures_of", lambda data, model: references("plain"))
    monkeypatch.setattr(make_golden, "golden_files", lambda model: {"plain": file("ended")})
    make_golden.make(tmp_path, say=lambda line: None)
    before = (tmp_path / "golden.json").read_bytes()
    make_golden.make(tmp_path, say=lambda line: None)
    assert (tmp_path / "golden.json").read_bytes() == before
    monkeypatch.setattr(make_golden, "golden_files", lambda model: {"plain": file("plain")})
    with pytest.raises(DdpmCodecError, match=r"would change \(plain\)"):
        make_golden.make(tmp_path, say=lambda line: None)
    assert (tmp_path / "plain.bin").read_bytes() == file("ended")


def test_golden_files_keep_their_model_when_others_are_embedded(tmp_path: Path):
    other = make_golden.find_model("photo-small")
    (tmp_path / "golden.json").write_text(json.dumps({"model": load_model("photo-small").fingerprint}))
    with pytest.raises(DdpmCodecError, match="is gone"):
        make_golden.model_path(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "former.safetensors").symlink_to(other)
    assert make_golden.model_path(tmp_path).name == "former.safetensors"
