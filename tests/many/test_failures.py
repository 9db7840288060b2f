"""Folders of a system that refuses: what is said, of which place, and what stays as it was."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.places import Remote
from ddpmcodec.many import coding
from ddpmcodec.many.batches import _PIECE, sized_stream
from ddpmcodec.many.coding import Decoding, Encoding
from ddpmcodec.many.folder import decoding_work, encoding_work
from ddpmcodec.many.journal import NAME, Entry, Journal, digest, digest_of_file
from ddpmcodec.many.listing import pictures_in

OPTIONS = {"plan_steps": 2}


@pytest.fixture
def photos(tmp_path: Path, picture: NDArray[np.uint8]) -> Path:
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture[:8, :8]).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


@pytest.fixture
def memory() -> Iterator[Remote]:
    place = Remote(f"memory://{uuid.uuid4().hex}")
    yield place
    for name in place.files(recursive=True):
        (place / name).unlink()


def refusing(*names: str) -> Any:
    """A method that fails for places called so, by any part of their path."""

    def fail(place: Any, *_: Any, **__: Any) -> Any:
        assert any(name in str(place) for name in names), place
        raise PermissionError(13, "Permission denied", str(place))

    return fail


def encoded(source: Any, target: Any, **options: Any) -> Any:
    return encoding_work(source, target, Encoding(options=OPTIONS), recursive=False, overwrite=False, **options)


def test_a_result_that_can_t_be_written_ends_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ddpmcodec.many.folder.write_whole", refusing("a.png.ddpc"))
    with pytest.raises(DdpmCodecError, match=r"can't write .*out/a\.png\.ddpc: Permission denied"):
        list(encoded(photos, tmp_path / "out").run(1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [NAME], "its entry comes first"
    monkeypatch.undo()
    assert [done.error for done in encoded(photos, tmp_path / "out").run(1)] == [None], "and the next run makes it"


def test_a_folder_that_can_t_be_made_ends_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "mkdir", refusing("out"))
    with pytest.raises(DdpmCodecError, match=r"can't make the directory .*out: Permission denied"):
        list(encoded(photos, tmp_path / "out").run(1))


def test_a_model_that_isn_t_there_is_said_before_a_folder_is_decoded(tmp_path: Path):
    (tmp_path / "a.ddpc").write_bytes(b"none")
    with pytest.raises(DdpmCodecError, match=r"nosuch"):
        decoding_work(tmp_path, tmp_path / "out", Decoding(model="nosuch"), recursive=False, overwrite=False)


@pytest.mark.parametrize(
    ("method", "said"), [("is_file", "can't read {}: Permission denied"), ("files", "can't read the folder {}: ")]
)
def test_a_remote_folder_of_results_that_can_t_be_read_is_named(
    photos: Path, memory: Remote, monkeypatch: pytest.MonkeyPatch, method: str, said: str
):
    monkeypatch.setattr(Journal, "_lines", lambda self: [])
    monkeypatch.setattr(Remote, method, refusing("memory://"))
    with pytest.raises(DdpmCodecError, match=said.format(f"{memory}/out")):
        encoded(photos, memory / "out")


def test_a_folder_of_pictures_that_can_t_be_read_is_named(tmp_path: Path, memory: Remote, monkeypatch: Any):
    with pytest.raises(DdpmCodecError, match=r"can't read the folder .*none: No such file or directory"):
        pictures_in(tmp_path / "none", recursive=True)
    monkeypatch.setattr(Remote, "files", refusing("memory://"))
    with pytest.raises(DdpmCodecError, match=f"can't read the folder {memory}: Permission denied"):
        pictures_in(memory, recursive=True)


def test_what_has_no_suffix_and_can_t_be_looked_into_is_no_picture(photos: Path, monkeypatch: pytest.MonkeyPatch):
    (photos / "a.png").rename(photos / "plain")
    assert pictures_in(photos, recursive=False) == [Path("plain")]
    monkeypatch.setattr(Path, "open", refusing("plain"))
    assert pictures_in(photos, recursive=False) == []


def entry(name: str, made: str = "made") -> Entry:
    return Entry(name, "source", "options", "batch", made)


@pytest.mark.parametrize("removable", [True, False])
def test_the_parts_of_two_runs_become_one_and_none_of_their_entries_is_lost(
    memory: Remote, monkeypatch: pytest.MonkeyPatch, removable: bool
):
    """An object store appends nothing: each run has a part of its own, and the next one puts them together."""
    runs = [Journal(memory), Journal(memory)]
    for i, run in enumerate(runs):
        run.add([entry(f"{i}.png"), entry("both.png", f"made by {i}")])
    parts = (memory / NAME).files(recursive=False)
    assert len(parts) == 2
    third = Journal(memory)
    assert {"0.png", "1.png", "both.png"} == third.entries.keys()
    if not removable:
        monkeypatch.setattr(Remote, "unlink", refusing(NAME))
    third.add([entry("2.png")])
    monkeypatch.undo()
    left = set((memory / NAME).files(recursive=False))
    assert left >= set(parts) if not removable else len(left) == 1
    newest = max(left, key=lambda name: name.name)
    lines = [json.loads(line) for line in (memory / NAME / newest).read_bytes().decode().splitlines()]
    assert sorted(line["file"] for line in lines) == ["0.png", "1.png", "2.png", "both.png", "both.png"]
    again = Journal(memory)
    assert again.entries.keys() == {"0.png", "1.png", "2.png", "both.png"}
    for i in range(2):
        assert again.found("both.png", f"made by {i}") == entry("both.png", f"made by {i}")
    assert again.entries["both.png"][0] == third.entries["both.png"][0], "the last one first, as before"
    third.add([entry("3.png")])
    assert PurePosixPath(newest) in (memory / NAME).files(recursive=False), "a run's own parts stay until the next run"


def test_a_journal_that_can_t_be_read_or_written_is_an_error(tmp_path: Path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(DdpmCodecError, match=rf"can't read .*{NAME}: Is a directory"):
        Journal(tmp_path)
    journal = Journal(tmp_path / "none")
    with pytest.raises(DdpmCodecError, match=rf"can't write .*none/{NAME}: No such file or directory"):
        journal.add([entry("a")])
    assert journal.entries == {}, "what isn't on the disk isn't said to be"


def test_what_can_t_be_read_has_no_digest(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"a")
    assert digest_of_file(tmp_path / "a") == digest(b"a")
    assert digest_of_file(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (DdpmCodecError("its reason"), "its reason"),
        (MemoryError(), "out of memory: a smaller picture needs less; --device cpu has the whole machine's"),
        (ZeroDivisionError("oops"), "internal error: ZeroDivisionError: oops"),
    ],
)
def test_a_bug_costs_one_file(
    picture: NDArray[np.uint8], photos: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
):
    """The batch fails for one of its pictures: the others are coded one by one."""
    good, bad = (photos / "a.png").read_bytes(), picture[8:16, :8]
    Image.fromarray(bad).save(photos / "bad.png")

    def encode(shown: Any, **_: Any) -> bytes:
        if np.array_equal(shown, bad):
            raise raised
        return b"coded"

    monkeypatch.setattr(coding, "encode", encode)
    monkeypatch.setattr(coding, "encode_batch", lambda pictures, **_: [encode(one) for one in pictures])
    found = Encoding(options=OPTIONS)([good, (photos / "bad.png").read_bytes(), good], [True] * 3)
    assert [one.result for one in found] == [b"coded", None, b"coded"]
    assert [one.error for one in found] == [None, said, None]


def test_the_size_of_a_stream_with_a_long_header_is_found(tmp_path: Path, picture: NDArray[np.uint8]):
    """A profile may be longer than what is read of a file at first."""
    long = bytes(i % 251 for i in range(3 * _PIECE))
    data = ddpmcodec.encode(picture[:8, :8], plan_steps=1, fields={100: long})
    assert len(ddpmcodec.read_header(data).to_bytes()) > 3 * _PIECE
    (tmp_path / "a.ddpc").write_bytes(data)
    assert sized_stream(Path("a"), tmp_path / "a.ddpc") == sized_stream(Path("a"), data)
    assert sized_stream(Path("a"), data).pixels == 64
