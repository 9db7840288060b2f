"""Where outputs go: never over their sources or one another; streams keep what they hold, and files their
permissions.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.io.atomic import replacing, write_whole
from ddpmcodec.io.outputs import descriptor_of, is_stream
from tests.cli.test_cli import assert_refused, names, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors, pipes and links are POSIX's")


@pytest.fixture(scope="module")
def coded(picture: NDArray[np.uint8]) -> bytes:
    return ddpmcodec.encode(picture, plan_steps=2)


@pytest.fixture
def folder(tmp_path: Path, picture: NDArray[np.uint8], coded: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: same.png, links to it and to what is not there, the picture's stream s.bin."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture).save("same.png")
    os.symlink("same.png", "link.png")
    os.link("same.png", "hard.png")
    os.symlink("new.png", "dangling.png")
    Path("s.bin").write_bytes(coded)
    os.mkdir("sub")
    return tmp_path


def program(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """The real program in a process of its own."""
    command = [sys.executable, "-m", "ddpmcodec", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, timeout=120, check=False, **options)  # type: ignore[call-overload, no-any-return]


# One file under two names


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "same.png", "-o", "same.png"),
        ("encode", "same.png", "-o", "link.png"),
        ("encode", "link.png", "-o", "hard.png"),
        ("encode", "same.png", "-o", "sub/../same.png"),
        ("encode", "same.png", "link.png", "-o", "hard.png"),
        ("encode", "same.png", "--lossless", "-o", "s.bin", "--model", "s.bin"),
        ("decode", "s.bin", "-o", "s.bin"),
        ("decode", "s.bin", "-o", "x.png", "--gif", "s.bin"),
        ("decode", "s.bin", "-o", "g.png", "--gif", "g.png"),
        ("decode", "s.bin", "-o", "g.png", "--webp", "sub/../g.png"),
        ("decode", "s.bin", "-o", "new.png", "--webp", "dangling.png"),
        ("decode", "s.bin", "-o", "x.png", "--gif", "a.gif", "--webp", "a.gif"),
        ("decode", "s.bin", "-o", "sub/step-001.png", "--frames", "sub"),
        ("truncate", "s.bin", "-o", "s.bin", "--steps", "1"),
        ("sample", "-o", "same.png", "--interpolate", "link.png", "same.png"),
    ],
    ids=" ".join,
)
def test_no_output_takes_the_place_of_a_source_or_of_another_output(folder: Path, arguments: tuple[str, ...]):
    before = {name: (folder / name).read_bytes() for name in names(folder) if (folder / name).is_file()}
    assert_refused(run(*arguments, "-q"), "one file")
    assert {name: (folder / name).read_bytes() for name in names(folder) if (folder / name).is_file()} == before
    assert names(folder / "sub") == []


def test_a_directory_of_results_is_no_file_s_name(folder: Path):
    assert_refused(run("decode", "s.bin", "-o", "new.png", "--frames", "sub/../new.png", "-q"), "another directory")
    assert not Path("new.png").exists()


def test_an_empty_name_is_told_as_one(folder: Path):
    assert_refused(run("decode", "s.bin", "-o", "", "-q"), "name is empty")


def test_stdin_s_own_file_is_a_source_too(folder: Path):
    before = Path("same.png").read_bytes()
    with open("same.png", "rb") as source:
        done = program("encode", "-", "-o", "same.png", stdin=source)
    assert (done.returncode, Path("same.png").read_bytes()) == (2, before)
    assert b"one file" in done.stderr


def test_a_source_that_stdout_is_appended_to_stays(folder: Path):
    before = Path("same.png").read_bytes()
    with open("same.png", "ab") as out:
        done = program("encode", "same.png", "-o", "-", stdout=out)
    assert (done.returncode, Path("same.png").read_bytes()) == (2, before)


def test_devices_may_be_named_twice(folder: Path):
    assert run("decode", "s.bin", "-o", "/dev/null", "--webp", "/dev/null", "--steps", 1, "-q").exit_code == 0


# Streams


ONE_AFTER_ANOTHER = """
import os, sys
import ddpmcodec.cli.app, torch
from ddpmcodec.cli.start import program
for output in sys.argv[1:]:
    if not (child := os.fork()):
        sys.argv = ["ddpmcodec", "encode", "same.png", "-o", output, "--plan-steps", "2", "-q"]
        program()
    assert os.waitpid(child, 0)[1] == 0, output
"""


@pytest.mark.parametrize(
    ("mode", "outputs"),
    [(os.O_TRUNC, ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "mine")), (os.O_APPEND, ("/dev/stdout",))],
    ids=["truncated", "appended to"],
)
def test_a_redirected_stdout_keeps_what_others_wrote(folder: Path, coded: bytes, mode: int, outputs: tuple[str, ...]):
    os.symlink("/dev/stdout", "mine")
    handle = os.open("log", os.O_WRONLY | os.O_CREAT | mode)
    try:
        os.write(handle, b"before ")
        command = [sys.executable, "-c", ONE_AFTER_ANOTHER, *outputs]
        done = subprocess.run(command, stdout=handle, stderr=subprocess.PIPE, timeout=120, check=False)
        os.write(handle, b" after")
    finally:
        os.close(handle)
    assert done.returncode == 0, done.stderr
    assert Path("log").read_bytes() == b"before " + coded * len(outputs) + b" after"
    assert "log" in names(folder)


def test_a_pipe_gets_all_bytes_and_stays(folder: Path, coded: bytes):
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    done = program("encode", "same.png", "-o", "pipe", "--plan-steps", "2", "-q")
    reader.join(30)
    assert done.returncode == 0, done.stderr
    assert got == [coded]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_socket_gets_all_bytes_and_stays(folder: Path, coded: bytes):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()
        assert run("encode", "same.png", "-o", "socket", "--plan-steps", 2, "-q").exit_code == 0
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1 << 20, socket.MSG_WAITALL) == coded
    assert stat.S_ISSOCK(os.stat("socket").st_mode)


def test_nothing_that_writes_files_renames_over_a_device(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with replacing(tmp_path / "pipe") as temporary:
        temporary.write_bytes(b"drawn")
    write_whole(tmp_path / "pipe", b" and written")
    assert os.read(reader, 100) == b"drawn and written"
    assert is_stream(tmp_path / "pipe")
    os.close(reader)


def test_watching_needs_a_file_to_rewrite(folder: Path):
    for output in ("/dev/stdout", "/dev/null", "-"):
        assert_refused(run("decode", "s.bin", "-o", output, "--watch"), "--watch")


def test_only_this_process_s_files_are_its_own(tmp_path: Path):
    assert descriptor_of("/dev/fd/7") == 7
    assert descriptor_of(tmp_path / "7") is None
    assert descriptor_of("/proc/1/fd/1") is None
    (tmp_path / "fd").symlink_to("/dev/fd")
    assert descriptor_of(tmp_path / "fd" / "2") == 2


# Files


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o751])
def test_a_file_keeps_its_permissions(folder: Path, mode: int):
    Path("old.bin").touch()
    os.chmod("old.bin", mode)
    os.symlink("old.bin", "to-old.bin")
    for output in ("old.bin", "to-old.bin"):
        assert run("encode", "same.png", "-o", output, "--plan-steps", 2, "-q").exit_code == 0
        assert stat.S_IMODE(os.stat("old.bin").st_mode) == mode
    assert Path("to-old.bin").is_symlink()


def test_what_is_private_is_so_from_the_first_byte_on(tmp_path: Path):
    (tmp_path / "old").touch(mode=0o600)
    with replacing(tmp_path / "old") as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


def test_new_files_follow_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner(tmp_path: Path):
    (tmp_path / "old").touch()
    os.chown(tmp_path / "old", 12345, 23456)
    write_whole(tmp_path / "old", b"new")
    about = (tmp_path / "old").stat()
    assert (about.st_uid, about.st_gid) == (12345, 23456)


def test_an_owner_that_can_t_be_kept_gives_no_other_group_its_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "old").touch()
    os.chmod(tmp_path / "old", 0o664)
    real = os.stat

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def stranger(path: object, *rest: object, **options: object) -> os.stat_result:
        status = list(real(path, *rest, **options))  # type: ignore[arg-type, call-overload]
        return os.stat_result([*status[:4], status[4] + 1, status[5] + 1, *status[6:]])

    monkeypatch.setattr(os, "chown", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stranger)
        with replacing(tmp_path / "old") as temporary:
            temporary.write_bytes(b"new")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o604


def test_a_write_protected_file_is_no_output(folder: Path, monkeypatch: pytest.MonkeyPatch):
    Path("old.bin").write_bytes(b"precious")
    real = os.access
    protected = os.path.realpath("old.bin")
    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) and os.fspath(path) != protected)
    assert_refused(run("encode", "same.png", "-o", "old.bin", "-q"), "no permission")
    assert Path("old.bin").read_bytes() == b"precious"
