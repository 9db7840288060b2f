"""S3, as s3fs speaks it to a server on this machine. Opt-in: runs where `pip install s3fs 'moto[server]'` was done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.io.places import Remote
from tests.cli.test_cli import assert_refused, run

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'ddpmcodec[s3]'")
moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")

QUICK = ("--plan-steps", 2, "--channel", "trellis:8", "-q")
BUCKET = Remote("s3://bucket")


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    """A server with one bucket, named as AWS's own tools name it: by the environment."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("bucket")
        yield
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: NDArray[np.uint8]) -> Path:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("a.png", "deep/a.jpg", "deep/er/b c#1.png")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(picture, i, 0)).resize((16, 16)).save(tmp_path / "photos" / name)
        (BUCKET / "photos" / name).write_bytes((tmp_path / "photos" / name).read_bytes())
    return tmp_path / "photos"


def test_a_bucket_is_coded_as_a_folder_is(photos: Path):
    assert run("encode", photos, "-o", "coded", "-r", "--jobs", 1, *QUICK).exit_code == 0
    encode = ("encode", BUCKET / "photos", "-o", BUCKET / "coded", "-r", "--jobs", 1, *QUICK)
    assert run(*encode).exit_code == 0
    here = {p.relative_to("coded").as_posix(): p.read_bytes() for p in Path("coded").rglob("*.ddpc")}
    there = [name for name in (BUCKET / "coded").files(recursive=True) if name.suffix == ".ddpc"]
    assert {str(name): (BUCKET / "coded" / name).read_bytes() for name in there} == here
    (BUCKET / "coded/a.png.ddpc").unlink()
    assert run(*encode).exit_code == 0
    assert (BUCKET / "coded/a.png.ddpc").read_bytes() == here["a.png.ddpc"]
    assert run("verify", *(BUCKET / "coded" / name for name in there)).exit_code == 0
    assert run("decode", BUCKET / "coded", "-o", "back", "-r", "--jobs", 1, "-q").exit_code == 0
    assert sorted(p.name for p in Path("back").rglob("*.png")) == ["a.jpg.png", "a.png", "b c#1.png"]


def test_single_files_go_there_and_back(photos: Path):
    assert run("encode", BUCKET / "photos/a.png", "-o", BUCKET / "a.bin", *QUICK).exit_code == 0
    assert run("decode", BUCKET / "a.bin", "-o", BUCKET / "back.png", "-q").exit_code == 0
    assert run("info", BUCKET / "a.bin").exit_code == 0


def test_what_a_server_refuses_is_one_line(photos: Path, monkeypatch: pytest.MonkeyPatch):
    assert_refused(run("info", BUCKET / "none.bin"), "can't read s3://bucket/none.bin", "no such file")
    for output in ("s3://none/a.bin", "s3://none/deep/a.bin"):
        assert_refused(run("encode", photos / "a.png", "-o", output, *QUICK), f"can't write {output}", "bucket")
    assert_refused(run("encode", photos, "-o", "s3://none/coded", *QUICK), "can't write s3://none/coded")
    assert_refused(run("encode", "s3://none/photos", "-o", "x", *QUICK), "can't read s3://none/photos")
    fsspec.filesystem("s3").clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens
    assert_refused(run("info", BUCKET / "a.bin"), "can't read s3://bucket/a.bin", "connect")
