from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import ddpmcodec
from ddpmcodec.bitstream.archive import is_archive, pack_archive, read_archive
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.leb128 import leb128
from ddpmcodec.bitstream.reader import StreamReader
from ddpmcodec.codec.archive_decoding import decode_archive
from ddpmcodec.codec.archive_encoding import encode_archive
from ddpmcodec.errors import DdpmCodecError, FormatError, ImageError, TruncatedArchiveError
from ddpmcodec.models import CodecModel
from tests.cli.test_cli import assert_refused, run

Picture = NDArray[np.uint8]
FAST = {"plan_steps": 6, "channel": "trellis:8"}
HEADER = Header("01234567", 7, 5)


@pytest.fixture(scope="module")
def pictures(picture: Picture) -> list[Picture]:
    """Seven of 12x10, from plain ones to noise, so that payloads differ in size."""
    random = np.random.default_rng(3)
    noise = random.integers(0, 256, (10, 12, 3), np.uint8)
    tiles = [picture[y : y + 10, x : x + 12] for y, x in ((0, 0), (20, 3), (9, 15), (2, 20))]
    return [*tiles, np.zeros_like(noise), noise, 255 - tiles[0]]


@pytest.fixture(scope="module")
def singles(tiny_model: CodecModel, pictures: list[Picture]) -> list[bytes]:
    return [ddpmcodec.encode(p, model=tiny_model, **FAST) for p in pictures]


@pytest.fixture(scope="module")
def data(tiny_model: CodecModel, pictures: list[Picture]) -> bytes:
    return encode_archive(pictures, model=tiny_model, **FAST)


class Counting:
    """The network of a model, with the batch sizes it was called with."""

    def __init__(self, model: CodecModel):
        self.network, self.calls = model.eps_model, list[int]()
        self.model = replace(model, eps_model=self)

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        self.calls.append(len(x_t))
        return self.network(x_t, log_snr)


def file_of(payload: bytes, header: Header = HEADER) -> bytes:
    body = header.to_bytes() + payload
    return body + header.check(body)


def archive_of(index: bytes, payloads: bytes = b"", header: Header = HEADER) -> bytes:
    """An archive with any index, and a check that matches."""
    body = replace(header, archive=True).to_bytes() + index + payloads
    return body + zlib.crc32(body).to_bytes(4, "big")


# The file.


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=40), st.integers(0, 3))
def test_what_is_packed_comes_out_again(payloads: list[bytes], seed: int):
    header = replace(HEADER, seed=seed)
    data = pack_archive([file_of(p, header) for p in payloads])
    archive = read_archive(data)
    assert (archive.count, archive.intact, archive.complete, archive.header) == (
        len(payloads),
        len(payloads),
        True,
        header,
    )
    assert archive.sizes == tuple(len(p) for p in payloads)
    assert [archive.payload(i) for i in range(archive.count)] == payloads
    assert [archive.stream(i) for i in range(archive.count)] == [file_of(p, header) for p in payloads]
    assert archive.header_bytes + archive.index_bytes + sum(archive.sizes) + archive.check_bytes == len(data)


@pytest.mark.parametrize("spread", [0, 1, 255, 256, 65535])
def test_the_index_takes_two_bytes_a_picture_at_most(spread: int):
    sizes = [1000 + spread * i // 99 for i in range(100)]
    archive = read_archive(pack_archive([file_of(bytes(n)) for n in sizes]))
    assert archive.index_bytes == 4 + -(
        -100 * spread.bit_length() // 8
    )  # count, least payload (two bytes), width; sizes
    assert archive.index_bytes <= 2 * 100 + 4


def test_an_archive_of_many():
    payloads = [bytes([i % 251]) * (1 + i % 3 * 11) for i in range(20_001)]
    archive = read_archive(pack_archive([file_of(p) for p in payloads]))
    assert [archive.payload(i) for i in range(archive.count)] == payloads


def test_every_cut_is_found_out_and_keeps_what_is_there():
    payloads = [b"abcd", b"e", b"fghij", b"klmn", b"opq"]
    data = pack_archive([file_of(p) for p in payloads])
    start = read_archive(data).starts[0]
    for cut in range(len(data)):
        if cut < start:
            for allow_partial in (False, True):
                with pytest.raises(FormatError):
                    read_archive(data[:cut], allow_partial=allow_partial)
            continue
        with pytest.raises(TruncatedArchiveError) as caught:
            read_archive(data[:cut])
        there = data[start:cut]
        whole = [p for n, p in enumerate(payloads, 1) if len(there) >= len(b"".join(payloads[:n]))]
        assert caught.value.intact_pictures == len(whole)
        archive = read_archive(data[:cut], allow_partial=True)
        assert (archive.count, archive.intact, archive.complete, archive.check_bytes) == (5, len(whole), False, 0)
        assert b"".join(archive.payload(i) for i in range(archive.begun)) == there[: len(b"".join(payloads))]
        for i, payload in enumerate(whole):
            assert archive.stream(i) == HEADER.to_bytes() + payload  # no check: nothing vouches for it
        for i in range(archive.begun, 5):
            with pytest.raises(DdpmCodecError, match=f"picture {i} is not there"):
                archive.payload(i)


def test_every_flipped_bit_is_found_out():
    data = pack_archive([file_of(p) for p in (b"abcd", b"e", b"fghij", b"klmn")])
    number = int.from_bytes(data, "big")
    for bit in range(8 * len(data)):
        other = (number ^ 1 << bit).to_bytes(len(data), "big")
        with pytest.raises(DdpmCodecError):
            read_archive(other)
        with suppress(DdpmCodecError):
            read_archive(other, allow_partial=True)


@given(st.binary(max_size=30), st.booleans())
def test_any_index_is_read_or_refused(index: bytes, allow_partial: bool):
    data = archive_of(index)
    try:
        archive = read_archive(data, allow_partial=allow_partial)
    except DdpmCodecError:
        return
    assert archive.begun <= len(data)
    assert archive.complete or allow_partial
    if archive.complete:
        assert pack_archive([archive.stream(i) for i in range(archive.count)]) == data


@pytest.mark.parametrize(
    ("index", "payloads", "words"),
    [
        (b"", b"", "inside its index"),
        (b"\x02", b"", "inside its index"),
        (b"\x00\x01\x00", b"", "0 pictures"),
        (b"\x02\x00\x01\x40", b"a", "at least 0 bytes"),
        (leb128(1 << 60) + b"\x01\x08", bytes(50), "inside its index"),
        (leb128(1 << 60) + b"\x01\xff", bytes(50), "inside its index"),
        (b"\x02\x01\xff", bytes(20), "inside its index"),
        (b"\x01\x01\x31" + bytes(7), bytes(20), "49 bits"),
        (b"\xff" * 11, bytes(20), "too long"),
        (b"\x82\x00\x01\x00", b"ab", "shortest"),  # the number 2 in two bytes
        (b"\x02\x81\x00\x00", b"ab", "shortest"),
        (b"\x02\x01\x02\x10", b"abc", "shortest"),  # 0 and 1 in two bits each
        (b"\x02\x01\x01\xc0", b"abcd", "shortest"),  # the least is 2
        (b"\x02\x01\x01\x41", b"abc", "shortest"),  # a bit behind the last size
    ],
)
@pytest.mark.parametrize("allow_partial", [False, True])
def test_an_index_that_nothing_writes_is_refused(index: bytes, payloads: bytes, words: str, allow_partial: bool):
    with pytest.raises(FormatError, match=words):
        read_archive(archive_of(index, payloads), allow_partial=allow_partial)


@pytest.mark.parametrize(
    ("index", "payloads"),
    [
        (leb128(1 << 60) + b"\x01\x00", b"ab"),  # all of one size, so the index has no bits to count
        (b"\x02" + leb128(1 << 60) + b"\x00", b"ab"),
        (b"\x02\x01\x00", b"a"),
        (b"\x02\x01\x00", b"abc"),
    ],
)
def test_a_count_or_size_that_the_bytes_belie_is_refused(index: bytes, payloads: bytes):
    data = archive_of(index, payloads)
    with pytest.raises(TruncatedArchiveError):
        read_archive(data)
    assert read_archive(data, allow_partial=True).begun <= len(payloads) + 4


def test_large_pictures_have_as_many_bytes_as_their_size_demands():
    large = replace(HEADER, width=1024, height=1024)
    data = pack_archive([file_of(bytes(16), large), file_of(bytes(20), large)])
    assert read_archive(data).sizes == (16, 20)
    with pytest.raises(FormatError, match="at least 15 bytes"):
        read_archive(archive_of(b"\x02\x0f\x00", bytes(30), large))
    assert read_archive(data[:-24], allow_partial=True).intact == 1
    assert read_archive(data[:-10], allow_partial=True).begun == 1  # fewer than 16 bytes of the second


@pytest.mark.parametrize("index", [-1, 3, 10**9])
def test_a_picture_that_no_archive_has(index: int):
    archive = read_archive(pack_archive([file_of(b"a")] * 3))
    for ask in (archive.payload, archive.stream):
        with pytest.raises(DdpmCodecError, match=f"no picture {index} .* expected 0 to 2"):
            ask(index)


def test_only_complete_streams_of_one_header_are_packed():
    with pytest.raises(DdpmCodecError, match="at least one"):
        pack_archive([])
    for other in (replace(HEADER, width=8), replace(HEADER, seed=1), replace(HEADER, fingerprint="76543210")):
        with pytest.raises(DdpmCodecError, match="stream 1 differs"):
            pack_archive([file_of(b"a"), file_of(b"a", other)])
    for damaged in (file_of(b"abc")[:-1], file_of(b"abc")[:-1] + b"?", file_of(b"")):
        with pytest.raises(FormatError, match="stream 1 is cut or damaged"):
            pack_archive([file_of(b"a"), damaged])
    with pytest.raises(FormatError, match="archive"):
        pack_archive([pack_archive([file_of(b"a")])])


def test_archives_and_streams_are_told_apart(tiny_model: CodecModel, data: bytes, singles: list[bytes]):
    assert is_archive(data)
    assert not any(is_archive(other) for other in (singles[0], b"", b"text", data[:3]))
    readers: list[Callable[[bytes], object]] = [
        ddpmcodec.read_header,
        lambda d: ddpmcodec.decode(d, model=tiny_model),
        lambda d: list(ddpmcodec.decode_stream([d], model=tiny_model)),
        lambda d: ddpmcodec.truncate(d, steps=1, model=tiny_model),
        lambda d: ddpmcodec.read_info(d, tiny_model),
    ]
    for reader in readers:
        with pytest.raises(FormatError, match="archive of many pictures"):
            reader(data)
    for allow_partial in (False, True):
        with pytest.raises(FormatError, match="holds one picture"):
            read_archive(singles[0], allow_partial=allow_partial)


# Pictures.


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_an_archive_holds_each_picture_s_own_stream(
    tiny_model: CodecModel, pictures: list[Picture], singles: list[bytes], data: bytes, batch: int
):
    done: list[int] = []
    assert encode_archive(pictures, model=tiny_model, batch=batch, on_batch=done.append, **FAST) == data
    assert done == [*range(batch, 7, batch), 7]
    archive = read_archive(data)
    assert [archive.stream(i) for i in range(7)] == singles
    assert len(data) == sum(archive.sizes) + archive.header_bytes + archive.index_bytes + 4 < sum(map(len, singles))
    assert archive.index_bytes <= 2 * 7 + 4


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize("batch", [2, 64])
def test_it_decodes_to_what_the_streams_do(
    tiny_model: CodecModel, singles: list[bytes], data: bytes, steps: int | None, batch: int
):
    items = list(decode_archive(data, steps=steps, model=tiny_model, batch=batch))
    assert [(item.index, item.steps, item.verified) for item in items] == [(i, steps or 6, True) for i in range(7)]
    for item, single in zip(items, singles, strict=True):
        np.testing.assert_array_equal(item.image, ddpmcodec.decode(single, steps, model=tiny_model))


def test_a_batch_is_one_network_call_a_step(tiny_model: CodecModel, pictures: list[Picture], data: bytes):
    network, sent, taken = Counting(tiny_model), [], []
    encode_archive(pictures, model=network.model, batch=4, on_step=sent.append, **FAST)
    assert network.calls == [4] * 6 + [3] * 6
    assert [(s.n, len(s.packets)) for s in sent] == [(n, k) for k in (4, 3) for n in range(1, 7)]
    network = Counting(tiny_model)
    assert len(list(decode_archive(data, model=network.model, batch=4, on_step=taken.append))) == 7
    assert sorted(network.calls) == [3] * 7 + [4] * 7  # the last call makes the picture
    assert taken == [4] * 6 + [3] * 6


def test_one_picture_is_decoded_without_the_others(tiny_model: CodecModel, singles: list[bytes], data: bytes):
    for i in (0, 3, 6):
        network = Counting(tiny_model)
        (item,) = decode_archive(data, i, model=network.model)
        assert (item.index, network.calls) == (i, [1] * 7)
        np.testing.assert_array_equal(item.image, ddpmcodec.decode(singles[i], model=tiny_model))
    for index in (-1, 7):
        with pytest.raises(DdpmCodecError, match=f"no picture {index} .* expected 0 to 6"):
            next(decode_archive(data, index, model=tiny_model))


def test_decoding_goes_no_further_than_is_asked(tiny_model: CodecModel, data: bytes):
    network = Counting(tiny_model)
    items = decode_archive(data, model=network.model, batch=2)
    assert [next(items).index, next(items).index] == [0, 1]
    assert network.calls == [2] * 7


def test_pictures_of_different_numbers_of_steps_in_one_archive(
    tiny_model: CodecModel, pictures: list[Picture], singles: list[bytes]
):
    lengths = [6, 2, 6, 4, 2, 6, 1]
    data = pack_archive(
        [ddpmcodec.truncate(s, steps=n, model=tiny_model) for s, n in zip(singles, lengths, strict=True)]
    )
    items = list(decode_archive(data, model=tiny_model))
    assert [(item.index, item.steps) for item in items] == list(enumerate(lengths))
    for item, single in zip(items, singles, strict=True):
        np.testing.assert_array_equal(item.image, ddpmcodec.decode(single, item.steps, model=tiny_model))
    assert {item.steps for item in decode_archive(data, steps=1, model=tiny_model)} == {1}
    with pytest.raises(DdpmCodecError, match="picture 1 has 2"):  # said before a picture is out
        next(decode_archive(data, steps=3, model=tiny_model, batch=1))


def test_streams_coded_to_a_target_go_into_one_archive(tiny_model: CodecModel, pictures: list[Picture]):
    files = [
        ddpmcodec.encode(p, model=tiny_model, target_bytes=60 + 40 * i, **FAST) for i, p in enumerate(pictures[:3])
    ]
    archive, items = pack_archive(files), []
    assert [read_archive(archive).stream(i) for i in range(3)] == files
    for item, file in zip(decode_archive(archive, model=tiny_model), files, strict=True):
        np.testing.assert_array_equal(item.image, ddpmcodec.decode(file, model=tiny_model))
        items.append(item.steps)
    assert len(set(items)) > 1


def test_large_pictures_come_in_smaller_batches(tiny_model: CodecModel, monkeypatch: pytest.MonkeyPatch, data: bytes):
    monkeypatch.setattr("ddpmcodec.codec.estimate.PIXELS_AT_A_TIME", 300)
    network = Counting(tiny_model)
    assert len(list(decode_archive(data, steps=1, model=network.model))) == 7
    assert max(network.calls) == 2  # of 120 pixels
    monkeypatch.setattr("ddpmcodec.codec.estimate.PIXELS_AT_A_TIME", 10)
    assert len(list(decode_archive(data, steps=1, model=tiny_model))) == 7


def test_a_cut_archive_decodes_to_what_is_there(tiny_model: CodecModel, singles: list[bytes], data: bytes):
    archive = read_archive(data)
    for cut in [*range(archive.starts[0], len(data) - 4, 241), len(data) - 4, len(data) - 1]:
        with pytest.raises(TruncatedArchiveError, match="allow_partial") as caught:
            list(decode_archive(data[:cut], model=tiny_model))
        intact = caught.value.intact_pictures
        if cut == archive.starts[0]:
            with pytest.raises(DdpmCodecError, match="not even the first step"):
                list(decode_archive(data[:cut], model=tiny_model, allow_partial=True))
            continue
        items = list(decode_archive(data[:cut], model=tiny_model, allow_partial=True))
        assert intact <= len(items) <= intact + 1
        for i, item in enumerate(items):
            assert (item.index, item.verified) == (i, False)
            assert item.steps == 6 or i == intact
            np.testing.assert_array_equal(item.image, ddpmcodec.decode(singles[i], item.steps, model=tiny_model))
        some = list(decode_archive(data[:cut], steps=3, model=tiny_model, allow_partial=True))
        assert [item.steps for item in some] == [min(3, item.steps) for item in items]


def test_a_damaged_picture_leaves_the_others(tiny_model: CodecModel, singles: list[bytes], data: bytes):
    place = read_archive(data).starts[3] + 40
    damaged = data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :]
    with pytest.raises(TruncatedArchiveError):
        list(decode_archive(damaged, model=tiny_model))
    items = list(decode_archive(damaged, model=tiny_model, allow_partial=True))
    assert [item.index for item in items] == list(range(7))
    for i, (item, single) in enumerate(zip(items, singles, strict=True)):
        assert not item.verified
        assert np.array_equal(item.image, ddpmcodec.decode(single, model=tiny_model)) == (i != 3)


def test_a_payload_that_no_sender_writes_is_refused(tiny_model: CodecModel, singles: list[bytes]):
    header = ddpmcodec.read_header(singles[0])
    longer = file_of(read_archive(pack_archive(singles)).payload(1) + b"\x00", header)
    archive = pack_archive([singles[0], longer])
    with pytest.raises(FormatError, match="picture 1: the stream is cut or damaged"):
        list(decode_archive(archive, model=tiny_model))


def test_an_archive_of_one(tiny_model: CodecModel, pictures: list[Picture], singles: list[bytes]):
    data = encode_archive(pictures[:1], model=tiny_model, **FAST)
    assert read_archive(data).stream(0) == singles[0]
    assert len(data) <= len(singles[0]) + 6  # count, least size in two bytes, width; two bytes more of check
    assert len(list(decode_archive(data, model=tiny_model))) == 1


def test_arrays_and_grey_pictures_are_taken(tiny_model: CodecModel, pictures: list[Picture], data: bytes):
    assert encode_archive(np.stack(pictures), model=tiny_model, **FAST) == data
    grey = [p[:, :, 0] for p in pictures[:2]]
    coloured = [np.repeat(g[:, :, None], 3, axis=2) for g in grey]
    assert encode_archive(grey, model=tiny_model, **FAST) == encode_archive(coloured, model=tiny_model, **FAST)


def test_what_can_t_be_put_into_one_archive(tiny_model: CodecModel, pictures: list[Picture]):
    network = Counting(tiny_model)
    for images, words in (
        ([], "at least one"),
        ([*pictures, pictures[0][:9]], "picture 7 is 12x9 and picture 0 is 12x10"),
        ([pictures[0], pictures[1].astype(float)], "picture 1: picture of type float64"),
    ):
        with pytest.raises(ImageError, match=words):
            encode_archive(images, model=network.model, **FAST)
    for options, message in (({"batch": 0}, "at least 1"), ({"steps": 7}, "1 to 6")):
        with pytest.raises(DdpmCodecError, match=message):
            encode_archive(pictures, model=network.model, **FAST | options)
    assert not network.calls


@pytest.mark.parametrize(
    ("options", "words"),
    [({"steps": 0}, "at least 1"), ({"batch": 0}, "at least 1"), ({"steps": 7}, "picture 0 has 6")],
)
def test_bad_options_of_decoding(tiny_model: CodecModel, data: bytes, options: dict[str, int], words: str):
    with pytest.raises(DdpmCodecError, match=words):
        next(decode_archive(data, model=tiny_model, **options))


def test_another_model_s_archive_is_refused(tiny_model: CodecModel, data: bytes):
    with pytest.raises(FormatError, match="fingerprint"):
        next(decode_archive(data, model=replace(tiny_model, fingerprint="f" * 64)))


# The commands, with the trained model, loaded once.


@pytest.fixture
def _loaded(monkeypatch: pytest.MonkeyPatch, model: CodecModel) -> None:
    monkeypatch.setattr("ddpmcodec.models.load_model", lambda *_: model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pictures: list[Picture]) -> Path:
    """b.png, a.png and c.png in an archive in that order, and what `encode --json` said."""
    folder = tmp_path_factory.mktemp("archive")
    for name, picture in zip("bac", pictures, strict=False):
        Image.fromarray(picture).save(folder / f"{name}.png")
    inputs = [folder / f"{name}.png" for name in "bac"]
    result = run("encode", *inputs, "-o", folder / "set.ddpc", "--plan-steps", 8, "--json")
    assert result.exit_code == 0, result.output
    (folder / "report.json").write_text(result.stdout)
    return folder


def opened(path: Path) -> Picture:
    return np.asarray(Image.open(path))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_encode_makes_an_archive_of_several_pictures(folder: Path, pictures: list[Picture], model: CodecModel):
    data, report = (folder / "set.ddpc").read_bytes(), json.loads((folder / "report.json").read_text())
    assert data == encode_archive(pictures[:3], model=model, plan_steps=8)
    assert (report["bytes"], report["pictures"], report["steps"]) == (len(data), 3, 8)
    assert report["bytes"] == sum(report[f"{part}_bytes"] for part in ("header", "index", "payload", "check"))
    assert report["real_bits_per_dim"] == pytest.approx(8 * len(data) / (3 * 360), abs=1e-6)
    assert 0 < report["ideal_bits_per_dim"] < report["real_bits_per_dim"]
    decoded = np.stack([item.image for item in decode_archive(data, model=model)]).astype(float)
    assert report["rmse"] == pytest.approx(np.sqrt(np.mean((decoded - np.stack(pictures[:3])) ** 2)), abs=1e-4)


@pytest.mark.usefixtures("_loaded")
def test_decode_writes_a_directory(folder: Path, tmp_path: Path, model: CodecModel):
    out = tmp_path / "new"
    result = run("decode", folder / "set.ddpc", "-o", f"{out}/", "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "3 pictures of 12x10" in result.stderr
    assert result.stdout == ""
    assert names(out) == ["00000.png", "00001.png", "00002.png"]
    items = list(decode_archive((folder / "set.ddpc").read_bytes(), steps=2, model=model))
    for item, name in zip(items, names(out), strict=True):
        np.testing.assert_array_equal(opened(out / name), item.image)
    (out / "mine.txt").touch()
    assert run("decode", folder / "set.ddpc", "-o", out, "--overwrite", "-q").output == ""
    assert len(names(out)) == 4
    assert not np.array_equal(opened(out / "00000.png"), items[0].image)


@pytest.mark.usefixtures("_loaded")
def test_decode_takes_one_picture_out(folder: Path, tmp_path: Path, model: CodecModel):
    result = run(
        "decode", folder / "set.ddpc", "--index", 1, "-o", tmp_path / "out.png", "--frames", tmp_path / "steps", "-q"
    )
    assert result.exit_code == 0, result.output
    data = (folder / "set.ddpc").read_bytes()
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), next(decode_archive(data, 1, model=model)).image)
    assert len(names(tmp_path / "steps")) == 8
    piped = run("decode", "-", "--index", 1, "-o", "-", "-q", stdin=data)
    assert piped.stdout_bytes == (tmp_path / "out.png").read_bytes()


@pytest.mark.usefixtures("_loaded")
def test_an_archive_of_one_picture_by_option(folder: Path, tmp_path: Path):
    result = run("encode", folder / "a.png", "--archive", "-o", tmp_path / "one.ddpc", "--plan-steps", 2, "-v")
    assert result.exit_code == 0, result.output
    assert "pictures 0-0  step   2" in result.stderr
    assert "1 picture," in result.stderr
    assert read_archive((tmp_path / "one.ddpc").read_bytes()).count == 1


def test_info_accounts_for_every_byte(folder: Path, tmp_path: Path):
    data = (folder / "set.ddpc").read_bytes()
    values = json.loads(run("info", folder / "set.ddpc", "--json").stdout)
    assert (values["pictures"], values["intact_pictures"], values["complete"], values["plan_steps"]) == (3, 3, True, 8)
    assert (
        values["bytes"] == sum(values[f"{part}_bytes"] for part in ("header", "index", "payload", "check")) == len(data)
    )
    assert values["sizes"] == list(read_archive(data).sizes)
    assert "index bytes per picture" in run("info", folder / "set.ddpc").stdout
    one = json.loads(run("info", folder / "set.ddpc", "--json", "--index", 2).stdout)
    assert (one["steps"], one["payload_bytes"], one["complete"]) == (8, values["sizes"][2], True)
    (tmp_path / "cut.ddpc").write_bytes(data[:-10])
    values = json.loads(run("info", tmp_path / "cut.ddpc", "--json").stdout)
    assert (values["pictures"], values["intact_pictures"], values["complete"], values["check_bytes"]) == (
        3,
        2,
        False,
        0,
    )
    assert values["bytes"] == sum(values[f"{part}_bytes"] for part in ("header", "index", "payload"))


@pytest.mark.usefixtures("_loaded")
def test_a_cut_archive_is_decoded_with_a_warning(folder: Path, tmp_path: Path):
    data = (folder / "set.ddpc").read_bytes()
    (tmp_path / "cut.ddpc").write_bytes(data[:-10])
    assert_refused(run("decode", tmp_path / "cut.ddpc", "-o", tmp_path / "out"), "2 of 3 pictures", "--allow-partial")
    assert names(tmp_path) == ["cut.ddpc"]
    result = run("decode", tmp_path / "cut.ddpc", "-o", tmp_path / "out", "--allow-partial")
    assert result.exit_code == 0, result.output
    assert "warning: the archive is cut" in result.stderr
    assert names(tmp_path / "out")[:2] == ["00000.png", "00001.png"]
    result = run("decode", tmp_path / "cut.ddpc", "-o", tmp_path / "one.png", "--index", 0, "--allow-partial")
    assert result.exit_code == 0, result.output
    assert "unverified" in result.stderr


@pytest.mark.usefixtures("_loaded")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("encode", "a.png", "small.png", "-o", "new"), "small.png is 5x10 and a.png is 12x10"),
        (("encode", "a.png", "text.txt", "-o", "new"), "text.txt: the input is not a picture"),
        (("encode", "a.png", "missing.png", "-o", "new"), "missing.png"),
        (("encode", "-", "-", "-o", "new"), "stdin"),
        (("encode", "a.png", "a.png", "-o", "new", "--plan-steps", "0"), "0 steps"),
        (("decode", "set.ddpc", "-o", "out.png"), "directory"),
        (("decode", "set.ddpc", "-o", "text.txt"), "directory"),
        (("decode", "set.ddpc", "-o", "-"), "directory"),
        (("decode", "set.ddpc", "-o", "no/where"), "does not exist"),
        (("decode", "set.ddpc", "-o", "new", "--steps", "9"), "picture 0 has 8"),
        (("decode", "set.ddpc", "-o", "new", "--steps", "0"), "at least 1"),
        (("decode", "set.ddpc", "-o", "new", "--gif", "x.gif"), "--index"),
        (("decode", "set.ddpc", "-o", "new", "--reconstruct", "ddim"), "--index"),
        (("decode", "set.ddpc", "-o", "new.png", "--index", "3"), "expected 0 to 2"),
        (("decode", "set.ddpc", "-o", "new.png", "--index", "-1"), "expected 0 to 2"),
        (("decode", "set.ddpc", "-o", "new.png", "--index", "1", "--watch"), "--watch"),
        (("decode", "set.ddpc", "-o", "new.png", "--watch"), "archive"),
        (("decode", "one.bin", "-o", "new.png", "--index", "0"), "holds one picture"),
        (("decode", "text.txt", "-o", "new.png", "--index", "0"), "not a ddpmcodec stream"),
        (("truncate", "set.ddpc", "-o", "new.bin", "--steps", "1"), "archive"),
        (("info", "one.bin", "--index", "0"), "holds one picture"),
    ],
)
def test_what_the_commands_refuse(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (5, 10)).save("small.png")
    Image.new("RGB", (12, 10)).save("a.png")
    data = (folder / "set.ddpc").read_bytes()
    Path("set.ddpc").write_bytes(data)
    Path("one.bin").write_bytes(read_archive(data).stream(0))
    Path("text.txt").write_text("no picture")
    before = names(tmp_path)
    assert_refused(run(*arguments), words)
    assert names(tmp_path) == before


def test_every_payload_is_parsed_once(tiny_model: CodecModel, monkeypatch: pytest.MonkeyPatch):
    pictures = [np.full((9, 8, 3), 40 * i, np.uint8) for i in range(5)]
    data = encode_archive(pictures, model=tiny_model, plan_steps=3)
    fed: list[int] = []
    feed = StreamReader.feed

    def counted(self: StreamReader, part: bytes) -> None:
        fed.append(len(part))
        feed(self, part)

    monkeypatch.setattr(StreamReader, "feed", counted)
    assert len(list(decode_archive(data, model=tiny_model, batch=2))) == 5
    assert sorted(fed) == sorted(read_archive(data).sizes)


def test_names_are_kept_and_cost_what_they_are_long(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    pictures, names = [prior_picture, prior_picture[::-1].copy()], ["häuser.png", "b.jpg"]
    options = {"model": tiny_model, "plan_steps": 3}
    plain = ddpmcodec.encode_archive(pictures, **options)
    named = ddpmcodec.encode_archive(pictures, names=names, **options)
    assert len(named) - len(plain) <= sum(len(name.encode()) for name in names) + 12
    kept = list(ddpmcodec.decode_archive(named, model=tiny_model))
    assert [item.name for item in kept] == names
    assert [item.name for item in ddpmcodec.decode_archive(plain, model=tiny_model)] == ["", ""]
    for item, other in zip(kept, ddpmcodec.decode_archive(plain, model=tiny_model), strict=True):
        np.testing.assert_array_equal(item.image, other.image)
    alone = ddpmcodec.read_archive(named).stream(1)
    assert ddpmcodec.verify(alone, tiny_model).size == len(alone)
    with pytest.raises(DdpmCodecError, match="1 names for 2 pictures"):
        ddpmcodec.encode_archive(pictures, names=["a"], **options)
