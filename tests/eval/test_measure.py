from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.diffusion.schedule import named
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd import measure, table4
from ddpmcodec.eval.rd.curves import breakdown, ideal_curve, joined, rate_at, real_curve
from ddpmcodec.models import CodecModel
from tests.conftest import PRIOR_VARIANCE, prior_mean

STEPS = 6


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """Eight draws from the cheating model's own prior, 32 × 32."""
    noise = np.random.default_rng(3).normal(scale=math.sqrt(PRIOR_VARIANCE), size=(8, 3, 32, 32))
    levels = np.clip(np.rint((prior_mean() + noise + 1) * 127.5), 0, 255)
    return list(levels.astype(np.uint8).transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def table(tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]) -> measure.Table:
    return measure.real(tiny_model, pictures[:3], STEPS, "trellis", 4)


def test_points_of_the_curve_are_files_of_so_many_steps(
    tiny_model: CodecModel, pictures: list[NDArray[np.uint8]], table: measure.Table
) -> None:
    for n in range(1, STEPS + 1):
        data = ddpmcodec.encode(pictures[1], model=tiny_model, plan_steps=STEPS, seed=4, steps=n)
        decoded = ddpmcodec.decode(data, model=tiny_model)
        assert table["file_bytes"][1, n - 1] == len(data)
        assert table["mse"][1, n - 1] == np.mean((decoded.astype(float) - pictures[1]) ** 2)


def test_a_batch_may_hold_grey_pictures(tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]) -> None:
    grey = np.repeat(pictures[0][..., :1], 3, axis=2)
    both, alone = (measure.real(tiny_model, p, STEPS, "trellis", 4) for p in ([pictures[1], grey], [grey]))
    for name in ("file_bytes", "mse", "ideal_bits"):
        np.testing.assert_allclose(both[name][1], alone[name][0])


def test_where_the_bits_go_adds_up_to_the_file_to_the_byte(
    pictures: list[NDArray[np.uint8]], table: measure.Table
) -> None:
    dims = np.full(3, 3072.0)
    parts, curve = breakdown(table, dims), real_curve(table, dims)
    total = np.sum([parts["of_files"][p] for p in parts["of_files"]], axis=0)
    np.testing.assert_allclose(total, curve["file_bits_per_dim"], rtol=1e-12)
    # What is not header, check, or information is the rounding to whole bytes: less than two of them, and never
    # negative.
    known = (
        np.cumsum(table["channel_bits"] + table["count_bits"], axis=1) + table["end_bits"] + 8 * table["header_bytes"]
    )
    rounding = 8 * table["file_bytes"] - known
    assert (rounding > -1e-6).all()
    assert (rounding < 16).all()
    assert (table["end_bits"][:, :-1] > 5).all()
    assert (table["end_bits"][:, -1] == 0).all()
    assert (table["header_bytes"] == 14).all()  # 12, the plan's number of steps, and the seed


def test_payload_is_the_file_without_header_and_check(table: measure.Table) -> None:
    curve = real_curve(table, np.full(3, 3072.0))
    difference = np.subtract(curve["file_bits_per_dim"], curve["payload_bits_per_dim"])
    np.testing.assert_allclose(difference, 8 * 14 / 3072)


def test_ideal_bits_are_the_closed_form_for_gaussian_pictures(
    tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]
) -> None:
    """For x_0 ~ N(m, s²) and its exact model, the expected distortion after n steps is s² / (1 + s² SNR)."""
    found = measure.ideal(tiny_model, pictures, STEPS, 0)
    plan = tiny_model.plan(STEPS)
    snr = np.exp(np.array(plan.log_snr))
    expected_mse = PRIOR_VARIANCE / (1 + PRIOR_VARIANCE * snr) * 127.5**2 + 1 / 12
    np.testing.assert_allclose(found["mse"].mean(axis=0), expected_mse, rtol=0.03)
    before = np.concatenate([[PRIOR_VARIANCE], PRIOR_VARIANCE / (1 + PRIOR_VARIANCE * snr)])[:-1]
    gain = np.diff(np.concatenate([[0.0], snr]))
    expected_bits = 3072 / 2 * np.log2(1 + before * gain)
    np.testing.assert_allclose(found["ideal_bits"].mean(axis=0), expected_bits, rtol=0.03)


def test_real_rate_is_above_ideal_at_equal_distortion(
    tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]
) -> None:
    dims = np.full(8, 3072.0)
    ideal = ideal_curve(measure.ideal(tiny_model, pictures, STEPS, 0), dims)
    real = real_curve(measure.real(tiny_model, pictures, STEPS, "trellis", 0), dims)
    rmse = math.sqrt(ideal["rmse_mean_over_images"][2] * ideal["rmse_mean_over_images"][3])  # type: ignore[operator]
    a, b = rate_at(ideal, "ideal_bits_per_dim", rmse), rate_at(real, "payload_bits_per_dim", rmse)
    assert a is not None
    assert b is not None
    assert 1 < b / a < 1.35


def test_ideal_does_not_depend_on_the_batches(tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]) -> None:
    whole = measure.ideal(tiny_model, pictures[:4], STEPS, 1)
    halves = [measure.ideal(tiny_model, pictures[i : i + 2], STEPS, 1, i) for i in (0, 2)]
    for name, values in joined(halves).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-6)


def test_pictures_smaller_than_the_window(tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]) -> None:
    small = [pictures[0][:5, :20].copy()]
    found = measure.real(tiny_model, small, STEPS, "trellis", 0)
    assert found["mse"][0, -1] < found["mse"][0, 0]
    assert np.isnan(found["ssim"]).all()  # smaller than its window
    ideal = measure.ideal(tiny_model, small, STEPS, 0)
    # 300 of the canvas's 3072 values are known, and only these cost bits
    assert ideal["ideal_bits"].sum() < 0.35 * measure.ideal(tiny_model, pictures[:1], STEPS, 0)["ideal_bits"].sum()


def test_parsing_gives_what_decoding_gives(
    tiny_model: CodecModel, pictures: list[NDArray[np.uint8]], table: measure.Table
) -> None:
    parsed = measure.real(tiny_model, pictures[:3], STEPS, "trellis", 4, decode=False)
    for name, values in parsed.items():
        np.testing.assert_array_equal(values, table[name], err_msg=name)


@pytest.mark.parametrize("decode", [True, False])
def test_files_that_do_not_hold_what_was_sent_are_an_error(
    decode: bool, tiny_model: CodecModel, pictures: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_another(images: list[NDArray[np.uint8]], **options: object) -> list[bytes]:
        ddpmcodec.encode_batch(images, **options)  # type: ignore[arg-type]
        return ddpmcodec.encode_batch([image[::-1] for image in images], **options | {"on_step": lambda step: None})  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "encode_batch", of_another)
    with pytest.raises(DdpmCodecError, match=r"decoder's picture|packets"):
        measure.real(tiny_model, pictures[:1], STEPS, "trellis", 0, decode=decode)


def test_steps_are_counted(tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]) -> None:
    ticks: list[int] = []
    measure.real(tiny_model, pictures[:1], STEPS, "trellis", 0, lambda: ticks.append(1))
    assert len(ticks) == 2 * STEPS


def test_table4_measures_every_timestep_and_agrees_with_the_bound(
    tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]
) -> None:
    """With as many turns as pictures each timestep is measured on one of them; the sum is the Gaussian's closed
    form.
    """
    turns = table4.turns(len(pictures))
    found = joined(
        [table4.measured(tiny_model, [pictures[i]], i, len(pictures), 0, i, lambda: None) for i in range(turns)]
    )
    assert (np.isfinite(found["exact_mse"]).sum(axis=0) == 1)[1:].all()
    ideal = {"ideal_bits_per_dim": [1.0], "rmse_mean_over_images": [1.0], "rmse_of_mean_mse": [1.0]}
    rows = table4.table4(found, tiny_model, ideal, {})  # type: ignore[arg-type]
    schedule = named("linear", 1000)
    # Under σ² = β̃ each KL is ½ log2(e) mse (SNR_{t-1} - SNR_t), with the Gaussian's mse = s² / (1 + s² SNR_t).
    snr = np.exp(schedule.log_snrs)
    terms = PRIOR_VARIANCE / (1 + PRIOR_VARIANCE * snr[1:]) * (snr[:-1] - snr[1:]) / (2 * math.log(2))
    for time, rate in zip(rows["reverse_time"], rows["ideal_T1000_beta-tilde_bits_per_dim"], strict=True):
        assert rate == pytest.approx(terms[1000 - time :].sum(), rel=0.02, abs=1e-4)
