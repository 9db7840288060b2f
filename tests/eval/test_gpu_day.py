"""`python -m ddpmcodec.eval.studies.gpu_day`, all of it in small, and what goes there and comes back."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.bitstream.file import read_info
from ddpmcodec.eval.gpu import landing, machine, packing, weights
from ddpmcodec.eval.gpu.clock import Job, Setting, _run, run_day
from ddpmcodec.eval.gpu.jobs import FIRST_DAY
from ddpmcodec.eval.gpu.optimisers import WAYS, as_told, compare
from ddpmcodec.eval.gpu.pictures import STREAMS, initial_model, sources, unseen_pictures
from ddpmcodec.eval.studies import gpu_day
from ddpmcodec.models import CodecModel, load_network
from ddpmcodec.training.held_out import is_held_out

MIB = 1 << 20


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("day")
    gpu_day.main(["-o", str(place), "--device", "cpu", "--seconds", "900"])
    return place


class TestDay:
    def test_every_job_is_done(self, out: Path):
        jobs = json.loads((out / "day.json").read_text())["jobs"]
        assert {name: job["status"] for name, job in jobs.items()} == dict.fromkeys(FIRST_DAY, "done")
        checks = jobs["checks"]
        assert checks["search"]["equal"]
        assert all(row["same_parse"] and row["exact"] for row in checks["determinism"]["row"].values())
        assert jobs["cifar10-small"]["init"] == "cifar10-small"
        for name in ("cifar10-small", "photo-small"):
            assert jobs[name]["records"][-1]["images_per_second"] > 0
            assert jobs[name]["host_ms_a_step"] > 0
            assert jobs[name]["best_held_out_bits_per_dim"] > 0
        assert jobs["rd"]["model"] == "trained today"
        assert jobs["rd"]["real-2"]["pictures_a_second"] > 0

    def test_what_goes_home_is_small_and_whole(self, out: Path):
        files = [p for p in out.rglob("*") if p.is_file()]
        assert len(files) <= 8
        assert max(p.stat().st_size for p in files) <= 16 * MIB
        assert all(p.parent == out for p in files)
        for name in ("cifar10-small", "photo-small"):
            assert load_network(out / f"{name}.safetensors")[1].measured is None

    def test_it_lands(self, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        table = tmp_path / "determinism.json"
        table.write_text(json.dumps({"ways": {}}))
        landing.main([str(out), "-o", str(tmp_path / "day.json"), "--determinism", str(table)])
        stored = json.loads((tmp_path / "day.json").read_text())
        for made in stored["jobs"]["checks"]["determinism"]["made_here"].values():
            assert "file" not in made
            assert made["bytes"] > 100
        assert "GPU" in next(iter(json.loads(table.read_text())["ways"]))
        assert "| GPU" in capsys.readouterr().out


def fine(setting: Setting) -> None:
    setting.report({"value": 1})


def broken(setting: Setting) -> None:
    setting.report({"value": 2})
    raise ValueError("no such thing")


def slow(setting: Setting) -> None:
    setting.report({"value": 3})
    time.sleep(600)


def needs_eager(setting: Setting) -> None:
    if setting.record:
        raise RuntimeError("capture failed")
    setting.report({"value": 4})


class TestClock:
    @pytest.fixture
    def setting(self, tmp_path: Path) -> Setting:
        return Setting("", "cpu", None, tmp_path / "out", tmp_path / "scratch", time.monotonic() + 60)

    def test_a_failure_is_recorded_and_the_next_begins(self, setting: Setting):
        jobs = [Job("broken", 1, broken), Job("needs-eager", 1, needs_eager, records=True), Job("fine", 1, fine)]
        found = run_day(jobs, 120, setting)["jobs"]
        assert found["broken"]["status"] == "failed"
        assert found["broken"]["value"] == 2
        assert "no such thing" in found["broken"]["reason"]
        assert found["needs-eager"]["status"] == "done"
        assert "capture failed" in found["needs-eager"]["first_try_with_a_cuda_graph"]
        assert found["fine"]["value"] == 1
        assert json.loads((setting.output / "day.json").read_text())["jobs"].keys() == found.keys()

    def test_what_is_cut_off_keeps_what_it_had(self, setting: Setting):
        setting.output.mkdir()
        setting.scratch.mkdir()
        seen: list[Any] = []
        late = Setting("slow", "cpu", None, setting.output, setting.scratch, time.monotonic() + 6)
        found = _run(Job("slow", 1, slow), late, seen.append)
        assert found["status"] == "cut off"
        assert found["value"] == 3
        assert seen[-1]["value"] == 3
        assert _run(Job("slow", 1, slow), late, seen.append)["status"] == "not begun"


def photos(place: Path, names: list[str]) -> None:
    random = np.random.default_rng(0)
    for i, name in enumerate(names):
        noise = random.integers(0, 256, (150 + i, 160, 3), np.uint8)
        Image.fromarray(noise).save(place / name, lossless=True)


class TestPack:
    def test_photographs_by_day_with_the_held_out_ones_apart(self, tmp_path: Path):
        names = [f"p{i}.webp" for i in range(40)]
        held = [n for n in names if is_held_out(n)]
        names = [*held[:2], *(n for n in names if n not in held)][:8]
        (tmp_path / "photos").mkdir()
        photos(tmp_path / "photos", names)
        seen = []
        for day in (0, 0, 1):
            folder = tmp_path / "pack"
            folder.mkdir(exist_ok=True)
            found = packing.pack_photos(folder, tmp_path / "photos", 400_000, day)
            assert sum(p.stat().st_size for p in folder.iterdir()) <= 400_000
            assert found["photos_held_out"] == len(held[:2])
            assert 0 < found["photos"] < found["photos_of"]
            seen.append(hashlib.sha1((folder / "photos-training-0.zip").read_bytes()).hexdigest())
        assert seen[0] == seen[1] != seen[2]
        got = sources(folder, 64, photos=True)
        assert [p.shape for p in got.held_out] == [(128, 128, 3)] * len(held[:2])
        assert len(got.training) == found["photos"]

    def test_a_second_call_brings_other_photographs_and_the_machine_has_both(self, tmp_path: Path):
        names = [n for n in (f"p{i}.webp" for i in range(40)) if not is_held_out(n)][:8]
        held = next(n for n in (f"p{i}.webp" for i in range(400)) if is_held_out(n))
        (tmp_path / "photos").mkdir()
        photos(tmp_path / "photos", [*names, held])
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        a = packing.pack_photos(first, tmp_path / "photos", 400_000, 0)
        b = packing.pack_photos(second, tmp_path / "photos", 400_000, 0, [first])
        assert b["photos_before"] == a["photos"]
        assert b["photos_held_out"] == 1
        assert b["photos_of"] == len(names) - a["photos"]
        shutil.copy(first / "photos-training-0.zip", second)
        inside = [n for z in sorted(second.glob("photos-training-*")) for n in zipfile.ZipFile(z).namelist()]
        assert len(inside) == len(set(inside)) == a["photos"] + b["photos"] == len(sources(second, 64, True).training)

    def test_files_are_those_of_the_table_s_model(self, tmp_path: Path, model: CodecModel):
        packing.pack_streams(tmp_path)
        for file in (tmp_path / STREAMS).glob("*.bin"):
            assert read_info(file.read_bytes(), model).steps  # raises for another model's

    def test_tiles(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(packing, "_CHUNK", 100)
        tiles = tmp_path / "train.png"
        noise = np.random.default_rng(0).integers(0, 8, (32 * 20, 32 * 30, 3), np.uint8)
        Image.fromarray(noise).save(tiles)
        found = packing.pack_tiles(tmp_path, [tiles], 500_000, day=0)
        expected = [i for i in range(600) if is_held_out(str(i), 256)]
        assert found["tiles_held_out"] == len(expected) > 0
        got = sources(tmp_path, 32, photos=False)
        assert len(got.training) == found["tiles"]
        assert 100 <= found["tiles"] < found["tiles_of"] == 600 - len(expected)
        row, column = divmod(expected[0], 30)
        assert np.array_equal(got.held_out[0], noise[32 * row :, 32 * column :][:32, :32])
        held: set[bytes] = {t.tobytes() for t in got.held_out}
        assert not held & {t.tobytes() for t in got.training}

    def test_unseen_pictures_keep_their_names(self, tmp_path: Path):
        noise: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 8, (64, 96, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "test.png")
        (tmp_path / "test.names.txt").write_text("".join(f"n{i}\n" for i in range(6)))
        packing.pack_test(tmp_path, tmp_path / "test.png", 5)
        found = unseen_pictures(tmp_path, 3)
        assert found.names == ["n0", "n1", "n2"]
        assert np.array_equal(found.images[1], noise[:32, 32:64])

    def test_weights_brought_along_come_first(self, tmp_path: Path):
        assert initial_model(tmp_path, "a", ["a"]) == "a"
        assert initial_model(tmp_path, "b", ["a"]) is None
        (tmp_path / "init").mkdir()
        (tmp_path / "init" / "a.safetensors").touch()
        assert initial_model(tmp_path, "a", ["a"]) == str(tmp_path / "init" / "a.safetensors")


def test_large_weights_travel_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "PART_BYTES", 10)
    data = bytes(range(105))
    (tmp_path / "model").write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    weights.send_home(tmp_path / "model", out, "base")
    assert max(p.stat().st_size for p in out.iterdir()) <= 10
    (whole,) = weights.join_parts(out)
    assert whole.name == "base.safetensors"
    assert whole.read_bytes() == data
    assert list(out.iterdir()) == [whole]


class TestMachine:
    def test_only_missing_wheels_are_installed(self, tmp_path: Path):
        (tmp_path / "wheels").mkdir()
        for name in ("numpy-1.0-py3-none-any.whl", "surely_not_here-1.0-py3-none-any.whl"):
            (tmp_path / "wheels" / name).touch()
        assert [w.name[:6] for w in machine.missing_wheels(tmp_path)] == ["surely"]

    def test_a_checkout_becomes_importable(self, tmp_path: Path):
        for name in ("ddpmcodec", "cli", "eval"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").touch()
        (tmp_path / "native" / "cli").mkdir(parents=True)
        (tmp_path / "native" / "cli" / "_native.so").touch()
        for _ in range(2):
            machine.make_importable(tmp_path, tmp_path)
        assert (tmp_path / "cli" / "_native.so").exists()
        assert (tmp_path / "ddpmcodec" / "eval" / "__init__.py").exists()


class TestOptimisers:
    def test_each_way_is_its_own_recipe(self):
        recipes = {way.name: as_told(way, small=False).recipe for way in WAYS}
        assert len(recipes) == len(WAYS)
        assert all(recipe.muon == ("Muon" in name) for name, recipe in recipes.items())
        assert {recipe.lr for name, recipe in recipes.items() if "AdamW" in name} == {5e-4, 1e-3, 2e-3}
        assert recipes["photo-small, AdamW 0.001, batch 288"].batch == 288

    def test_they_are_compared(self, tmp_path: Path):
        setting = Setting("optimisers", "cpu", None, tmp_path, tmp_path, time.monotonic() + 600)
        compare(setting)
        ways = json.loads((tmp_path / "optimisers.json").read_text())["ways"]
        assert len(ways) == 2
        assert all(way["held_out_bits_per_dim"] > 0 for way in ways.values())

    def test_without_their_pictures_there_are_none(self, tmp_path: Path):
        compare(Setting("optimisers", "cpu", tmp_path, tmp_path, tmp_path, time.monotonic() + 600))
        assert not list(tmp_path.glob("optimisers.json"))
