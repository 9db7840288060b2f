from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd.bd_rate import bd_rate
from ddpmcodec.eval.rd.curves import distortion_curve, rate_at, real_over_ideal
from ddpmcodec.eval.rd.measurement import Measurement
from ddpmcodec.eval.rd.parts import Parts, Share, Task
from ddpmcodec.eval.rd.pictures import Pictures, load_pictures
from ddpmcodec.eval.rd.published import SETS, TABLE4, against_published, published_set
from ddpmcodec.eval.rd.results import Options
from ddpmcodec.models import load_model


def _task(name: str, done: list[str]) -> Task:
    def run(tick: object) -> dict[str, np.ndarray]:
        done.append(name)
        return {"x": np.array([[float(len(name))]])}

    return Task(name, 1, run)


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    done: list[str] = []
    tasks = [_task(n, done) for n in ("a", "bb", "ccc")]
    first = Parts(tmp_path, {"seed": 1})
    first.do(first.missing(tasks, Share())[0], lambda: None)
    again = Parts(tmp_path, {"seed": 1})
    for task in again.missing(tasks, Share()):
        again.do(task, lambda: None)
    assert done == ["a", "bb", "ccc"]
    assert [float(again.collect(tasks)[t.name]["x"][0, 0]) for t in tasks] == [1, 2, 3]


def test_a_damaged_part_is_measured_again(tmp_path: Path) -> None:
    done: list[str] = []
    task, parts = _task("a", done), Parts(tmp_path, {})
    parts.do(task, lambda: None)
    file = tmp_path / "a.npz"
    file.write_bytes(file.read_bytes()[:40])
    assert parts.missing([task], Share()) == [task]


def test_parts_of_another_measurement_are_refused(tmp_path: Path) -> None:
    Parts(tmp_path, {"seed": 1, "batch": 64})
    with pytest.raises(DdpmCodecError, match="seed differ"):
        Parts(tmp_path, {"seed": 2, "batch": 64})
    (tmp_path / "options.json").write_text("{")
    with pytest.raises(DdpmCodecError, match="damaged"):
        Parts(tmp_path, {"seed": 1})


def test_processes_share_all_tasks_and_none_twice(tmp_path: Path) -> None:
    tasks, parts = [_task(str(i), []) for i in range(7)], Parts(tmp_path, {})
    shares = [parts.missing(tasks, Share(rank, 3)) for rank in range(3)]
    assert sorted(t.name for share in shares for t in share) == [t.name for t in tasks]


def test_share_and_device_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Share.of_torchrun() == Share(0, 1)
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Share.of_torchrun() == Share(2, 4)
    assert Share.of_torchrun().device("cuda") == "cuda:1"
    assert Share.of_torchrun().device("cpu") == "cpu"


@pytest.mark.parametrize(("size", "steps"), [((80, 80), 28), ((1025, 2048), 22)])
def test_a_measurement_goes_by_the_plan_of_its_largest_picture(
    tmp_path: Path, size: tuple[int, int], steps: int
) -> None:
    images = [np.zeros((*shape, 3), np.uint8) for shape in ((70, 70), size)]
    measurement = Measurement(load_model("photo-small"), Pictures(images, ["a", "b"], "made"), Options(), tmp_path)
    assert measurement.options.plan_steps == steps
    said = json.loads((tmp_path / "parts" / "options.json").read_text())
    assert (said["plan_steps"], said["trellis"]) == (steps, "(0, 16)" if steps == 28 else "None")
    again = Measurement(measurement.model, measurement.pictures, Options(), tmp_path)  # goes on from its parts
    assert again.units == measurement.units


def test_batches_are_runs_of_one_size() -> None:
    shapes = [(32, 32)] * 5 + [(64, 32)] * 2 + [(32, 32)]
    pictures = Pictures([np.zeros((*s, 3), np.uint8) for s in shapes], [str(i) for i in range(8)], "x")
    assert pictures.batches(2 * 1024) == [range(0, 2), range(2, 4), range(4, 5), range(5, 6), range(6, 7), range(7, 8)]
    assert pictures.side is None
    assert pictures.digest() != Pictures(pictures.images[::-1], pictures.names, "x").digest()


def test_mosaics_take_their_names_from_the_file_beside_them(tmp_path: Path) -> None:
    mosaic = tmp_path / "tiles.png"
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(mosaic)
    assert load_pictures(mosaic, limit=2).names == ["tiles.png/00000", "tiles.png/00001"]
    names = tmp_path / "tiles.names.txt"
    names.write_text("\n".join(f"cat/{i}.png" for i in range(6)) + "\n")
    found = load_pictures(mosaic)
    assert found.names[5] == "cat/5.png"
    assert len(found) == 6
    assert found.side == 32
    names.write_text("cat/0.png\n")
    with pytest.raises(DdpmCodecError, match="names fewer pictures"):
        load_pictures(mosaic)


def test_folders_keep_file_names_and_sizes(tmp_path: Path) -> None:
    for name, size in (("b.png", (40, 30)), ("a.png", (8, 9))):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / name)
    found = load_pictures(tmp_path)
    assert found.names == ["a.png", "b.png"]
    assert [i.shape[:2] for i in found.images] == [(8, 9), (40, 30)]


def test_missing_data_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DdpmCodecError, match="expected a folder of pictures"):
        load_pictures(tmp_path / "nothing")


def test_bd_rate_of_a_scaled_curve() -> None:
    """A curve that needs a fifth fewer bits at every PSNR has a delta of -20%."""
    psnr = [25.0, 28.0, 31.0, 34.0, 37.0]
    anchor = [(2.0**i, p) for i, p in enumerate(psnr)]
    found = bd_rate(anchor, [(0.8 * r, p) for r, p in anchor])
    assert found["percent"] == pytest.approx(-20)
    assert (found["from_psnr"], found["to_psnr"]) == (25.0, 37.0)


def test_bd_rate_is_refused_where_there_is_nothing_to_compare() -> None:
    low = [(0.1 * 2**i, 20.0 + i) for i in range(5)]
    high = [(0.1 * 2**i, 30.0 + i) for i in range(5)]
    assert "don't overlap" in bd_rate(low, high)["refused"]
    assert "points" in bd_rate(low[:2], high)["refused"]
    assert "points" in bd_rate([(r, None) for r, _ in low], high)["refused"]


def test_bd_rate_leaves_out_points_that_another_beats() -> None:
    anchor = [(2.0**i, 20.0 + 3 * i) for i in range(5)]
    worse = [*anchor, (5.0, 21.0), (5.0, 20.0)]
    assert bd_rate(anchor, worse)["percent"] == pytest.approx(0, abs=1e-9)


def test_both_conventions_of_the_rmse() -> None:
    curve = distortion_curve(np.array([[1.0], [9.0]]))
    assert curve["rmse_mean_over_images"] == [2.0]
    assert curve["rmse_mean_over_images_error"] == [1.0]
    assert curve["rmse_of_mean_mse"] == [math.sqrt(5)]
    assert curve["psnr_of_mean_mse"][0] == pytest.approx(10 * math.log10(255**2 / 5))
    assert curve["psnr_mean_over_images"][0] == pytest.approx(10 * math.log10(255**2 / 3))


def test_an_exact_picture_has_no_psnr() -> None:
    curve = distortion_curve(np.zeros((3, 1)), np.ones((3, 1)))
    assert curve["psnr_of_mean_mse"] == [None]
    assert curve["rmse_of_mean_mse"] == [0.0]
    assert curve["ssim"] == [1.0]


def test_rates_are_interpolated_between_points_and_never_beyond() -> None:
    curve = {"rmse_mean_over_images": [8.0, 2.0], "r": [0.1, 0.4]}
    assert rate_at(curve, "r", 4.0) == pytest.approx(0.2)  # type: ignore[arg-type]
    assert rate_at(curve, "r", 9.0) is None  # type: ignore[arg-type]
    assert rate_at(curve, "r", 1.0) is None  # type: ignore[arg-type]


def test_real_over_ideal_at_equal_rmse() -> None:
    """Rates that fall as the RMSE rises by a power law are straight in the logarithms, so any ratio between them is
    exact.
    """
    rmse = np.geomspace(40, 0.8, 12)
    real, ideal = ({"rmse_mean_over_images": list(rmse), "rmse_of_mean_mse": list(1.1 * rmse)} for _ in range(2))
    ideal["ideal_bits_per_dim"] = list(rmse**-1.0)
    real["payload_bits_per_dim"] = list(1.2 * rmse**-1.0)
    real["file_bits_per_dim"] = list(1.2 * rmse**-1.0 + 0.03)
    found = real_over_ideal(real, ideal)
    for rows in found.values():
        np.testing.assert_allclose(rows["ratio"], 1.2)
        assert [r for r in rows["at_rate"] if r] == [0.1, 0.4, 1.0, 1.5]  # 2 is beyond the end
        for rate, payload in zip(rows["at_rate"], rows["payload"], strict=True):
            assert rate is None or payload == pytest.approx(rate)
    assert found["rmse_mean_over_images"]["rmse"][0] == 30


def test_published_points_are_curves() -> None:
    for p in (*SETS["cifar10"], *SETS["kodak"]):
        assert len(p.bits_per_dim) == len(p.rmse) == len(p.psnr)
        assert np.all(np.diff(p.psnr) * np.sign(np.diff(p.bits_per_dim)) > 0)
    assert len(TABLE4) == 10
    assert published_set(["kodim01.png", "kodim03.png"], None) == "kodak"
    assert published_set(["0", "1"], 32) == "cifar10"
    assert published_set(["kodim01.png", "a.png"], None) == ""
    assert all(p.kind in ("real", "estimated", "ideal") and p.source for s in SETS.values() for p in s)


def test_published_curves_are_compared_like_with_like() -> None:
    pytest.importorskip("bjontegaard")
    theirs = {p.name: p for p in SETS["kodak"]}["MLIC++ 2023"]
    ddpm = {p.name: p for p in SETS["cifar10"]}["DDPM"]
    half = [b / 2 for b in theirs.bits_per_dim]
    real = {"file_bits_per_dim": half, "psnr_mean_over_images": theirs.psnr, "psnr_of_mean_mse": [0.0] * len(half)}
    ideal = {"ideal_bits_per_dim": ddpm.bits_per_dim, "rmse_mean_over_images": ddpm.rmse}
    ideal["psnr_mean_over_images"] = ddpm.psnr
    found = against_published({"real-trellis": real}, "kodak")
    assert found["real-trellis"]["MLIC++ 2023"]["percent"] == pytest.approx(-50)
    assert found["real-trellis"].keys() == {p.name for p in SETS["kodak"]}
    both = against_published({"real-trellis": real, "ideal": ideal}, "cifar10")
    assert both["ideal"].keys() == {p.name for p in SETS["cifar10"] if p.kind == "ideal"} == {"DDPM", "VDM"}
    assert both["ideal"]["DDPM"]["percent"] == pytest.approx(0, abs=1e-9)
    assert both["real-trellis"].keys() == {"UQDM", "BPG"}
    assert "3 points" not in both["real-trellis"]["BPG"].get("refused", "")
    assert "curves of 3" in both["real-trellis"]["UQDM"]["refused"]
    assert against_published({"ideal": ideal}, "") == {}
