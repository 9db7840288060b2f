"""Training: batches as functions of (seed, step), the objective, the loop, checkpoints, several processes."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError, TrainingError
from ddpmcodec.models import UNetConfig, load_network
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.unet import UNet
from ddpmcodec.training import (
    Goal,
    Processes,
    Recipe,
    Record,
    Trainer,
    TrainingImages,
    View,
    load_checkpoint,
    preset,
    presets,
)
from ddpmcodec.training.checkpoint import NAME
from ddpmcodec.training.objective import denoising_errors, draw_levels
from ddpmcodec.training.trainer import BINS

ALONE = Processes(0, 1, torch.device("cpu"))
TINY = UNetConfig(channels=(8, 16), groups=4, heads=2, embedding=16, frequencies=4, window=8)
SPAN = TINY.min_log_snr, TINY.max_log_snr
RECIPE = Recipe(batch=4, lr=2e-3, warmup=3, ema=(0.9,), seed=3)


def pictures(count: int = 24, side: int = 8) -> NDArray[np.uint8]:
    """Smooth random gradients: something a tiny network can learn."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    slope = random.uniform(-80, 80, (count, 1, 1, 3, 2))
    base = random.uniform(90, 160, (count, 1, 1, 3))
    return (
        (base + slope[..., 0] * y[None, :, :, None] + slope[..., 1] * x[None, :, :, None]).clip(0, 255).astype(np.uint8)
    )


def trainer(recipe: Recipe = RECIPE, network: UNetConfig = TINY, where: Processes = ALONE) -> Trainer:
    return Trainer(network, recipe, TrainingImages(pictures(), network.window, recipe.seed), where)


def run(t: Trainer, directory: Path, goal: Goal, **options: Any) -> list[Record]:
    records: list[Record] = []
    t.run(goal, directory, on_record=records.append, **{"log_every": 1, **options})
    return records


class TestBatches:
    def test_each_pass_shows_every_image_once(self):
        images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((10, 8, 8, 3), np.uint8)
        source = TrainingImages(images, 8, seed=1)
        seen = np.concatenate([source.batch(step, 5)[:, 0, 0, 0] for step in range(4)])
        assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
        assert list(seen[:10]) != list(seen[10:])

    def test_a_batch_depends_on_seed_and_step_alone(self):
        a, b = TrainingImages(pictures(), 8, seed=1), TrainingImages(pictures(), 8, seed=1)
        a.batch(0, 5)
        assert np.array_equal(a.batch(7, 5), b.batch(7, 5))
        assert not np.array_equal(a.batch(7, 5), TrainingImages(pictures(), 8, seed=2).batch(7, 5))
        assert np.array_equal(a.batch(7, 6, slice(3, 6)), b.batch(7, 6)[3:])

    def test_crops_lie_inside_and_vary(self):
        y, x = np.mgrid[:20, :30]
        big = np.stack([y, x, 0 * x], axis=-1).astype(np.uint8)
        batch = TrainingImages([big, big[:9, :8]], 8, seed=0).batch(0, 64)
        assert batch.shape == (64, 8, 8, 3)
        assert (np.diff(batch[..., 0].astype(int), axis=1) == 1).all()  # rows of the picture, in order
        assert set(np.unique(np.diff(batch[..., 1].astype(int), axis=2))) == {-1, 1}  # half of them flipped
        assert len(np.unique(batch[:, 0, 0, 0])) > 5

    def test_more_than_one_pass_in_a_batch(self):
        assert TrainingImages(pictures(3), 8, seed=0).batch(0, 10).shape == (10, 8, 8, 3)

    @pytest.mark.parametrize(
        "images", [np.zeros((0, 8, 8, 3), np.uint8), [np.zeros((7, 8, 3), np.uint8)], [np.zeros((8, 8), np.uint8)]]
    )
    def test_bad_images(self, images: Any):
        with pytest.raises(TrainingError):
            TrainingImages(images, 8, seed=0)


class TestObjective:
    def test_vlb_levels_fill_the_range_evenly(self):
        levels = draw_levels(RECIPE, SPAN, 64, torch.Generator().manual_seed(0))
        edges = np.linspace(TINY.min_log_snr, TINY.max_log_snr, 65)
        assert ((levels.log_snr.numpy() >= edges[:-1] - 1e-5) & (levels.log_snr.numpy() <= edges[1:] + 1e-5)).all()

    def test_vlb_rate_of_a_known_error(self):
        """An ε-MSE of 1 everywhere is half the log-SNR span in nats."""
        levels = draw_levels(RECIPE, SPAN, 100, torch.Generator())
        assert float(levels.bits.mean()) == pytest.approx(
            (TINY.max_log_snr - TINY.min_log_snr) / 2 / math.log(2), rel=1e-5
        )

    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    def test_simple_draws_the_chain_s_own_levels(self, schedule: str):
        recipe = replace(RECIPE, objective="simple", schedule=schedule, timesteps=30)
        own = recipe.noise_schedule().log_snrs.astype(np.float32)
        levels = draw_levels(recipe, SPAN, 4000, torch.Generator().manual_seed(0))
        assert set(levels.log_snr.tolist()) == set(own.tolist())
        # an ε-MSE of 1 everywhere is, again, half the span of the chain's log-SNRs, up to the draw
        assert float(levels.bits.mean()) == pytest.approx((own[0] - own[-1]) / 2 / math.log(2), rel=0.1)

    def test_the_error_is_that_of_the_predicted_noise(self):
        x_0, eps = torch.rand(3, 3, 8, 8), torch.randn(3, 3, 8, 8)
        log_snr = torch.tensor([-3.0, 0.0, 3.0])
        alpha_bar = torch.sigmoid(log_snr)[:, None, None, None]

        def knows_x_0(x_t: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()

        assert denoising_errors(knows_x_0, x_0, log_snr, eps).max() < 1e-10
        shifted = denoising_errors(lambda x, level: knows_x_0(x, level) + 2.0, x_0, log_snr, eps)
        assert shifted.tolist() == pytest.approx([4.0] * 3, rel=1e-4)


class TestPresets:
    def test_sizes(self):
        def parameters(config: UNetConfig | ConvUNetConfig) -> int:
            return sum(p.numel() for p in config.build().parameters())

        found = {name: parameters(p.network) for name, p in presets().items()}
        assert found["cifar10-small"] <= 4_000_000
        assert found["photo-small"] <= 6_000_000
        assert 15_000_000 <= found["cifar10-base"] <= 20_000_000
        assert found["ddpm-paper"] == 35_746_307  # that of Ho et al.'s CIFAR-10 network

    def test_the_paper_s_preset_covers_its_own_chain(self):
        paper = presets()["ddpm-paper"]
        levels = paper.recipe.noise_schedule().log_snrs
        assert (paper.network.min_log_snr, paper.network.max_log_snr) == (levels[-1], levels[0])

    def test_changing_the_objective_changes_the_range(self):
        chosen = preset("cifar10-small", recipe={"objective": "simple", "schedule": "cosine"})
        assert chosen.network.min_log_snr == chosen.recipe.noise_schedule().log_snrs[-1]

    def test_so_does_its_cosine_variant(self):
        chosen = preset("ddpm-paper", recipe={"schedule": "cosine"})
        assert chosen.network.min_log_snr == chosen.recipe.noise_schedule().log_snrs[-1]

    def test_the_embedded_model_can_start_the_small_preset(self):
        network, _ = load_network()
        UNet(presets()["cifar10-small"].network).load_state_dict(network.state_dict())

    @pytest.mark.parametrize(
        "bad",
        [
            {"lr": 0.0},
            {"batch": 0},
            {"ema": (1.0,)},
            {"ema": ()},
            {"ema": (0.9, 0.9)},
            {"muon_lr": 0},
            {"tilt": -1},
            {"seed": -1},
            {"objective": "l1"},
            {"schedule": "cubic"},
        ],
    )
    def test_bad_settings(self, bad: dict[str, Any]):
        with pytest.raises(DdpmCodecError):
            preset("cifar10-small", recipe=bad)

    def test_unknown_name(self):
        with pytest.raises(TrainingError, match="cifar10-base"):
            preset("cifar100")

    @pytest.mark.parametrize("bad", [(None, None), (5, 1.0), (0, None), (None, -1.0)])
    def test_goals(self, bad: tuple[Any, Any]):
        with pytest.raises(TrainingError):
            Goal(*bad)


class TestTrainer:
    def test_learns(self, tmp_path: Path):
        records = run(trainer(), tmp_path, Goal(steps=60))
        first, last = (np.mean([r.loss for r in part]) for part in (records[:10], records[-10:]))
        assert last < 0.8 * first
        assert records[-1].images == 240
        assert [r.step for r in records] == list(range(1, 61))

    def test_records_are_means_of_the_steps_since(self, tmp_path: Path):
        fine = run(trainer(), tmp_path, Goal(steps=6))
        (coarse,) = run(trainer(), tmp_path, Goal(steps=6), log_every=6)
        assert coarse.loss == pytest.approx(np.mean([r.loss for r in fine]))
        assert coarse.bits_per_dim == pytest.approx(coarse.loss * 17.5 / 2 / math.log(2), rel=1e-5)
        assert len(coarse.loss_by_log_snr) == BINS

    def test_resuming_is_the_same_trajectory(self, tmp_path: Path):
        goal = Goal(steps=8)
        network = replace(TINY, dropout=0.2)  # which draws random numbers too
        whole = trainer(network=network)
        records = run(whole, tmp_path, goal)
        parts = trainer(network=network)
        seen: list[Record] = []

        def stop_at_3(record: Record) -> None:
            seen.append(record)
            if record.step == 3:
                os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C: the step after it is finished, and saved

        assert not parts.run(goal, tmp_path, log_every=1, on_record=stop_at_3)
        state = load_checkpoint(tmp_path)
        assert state.step in (3, 4)
        rest = Trainer(state.network, state.recipe, TrainingImages(pictures(), 8, state.recipe.seed), ALONE)
        rest.resume(state)
        seen = seen[: state.step] + run(rest, tmp_path, state.goal)
        assert [r.loss for r in seen] == [r.loss for r in records]
        for name, a in whole.averages()[0.9].items():
            assert torch.equal(a, rest.averages()[0.9][name])
        assert all(torch.equal(a, b) for a, b in zip(whole.net.parameters(), rest.net.parameters(), strict=True))

    def test_bf16_and_preconditioning(self, tmp_path: Path):
        records = run(trainer(replace(RECIPE, bf16=True), replace(TINY, knots=6)), tmp_path, Goal(steps=3))
        assert all(math.isfinite(r.loss) for r in records)

    def test_a_checkpoint_is_a_copy(self, tmp_path: Path):
        t = trainer()
        run(t, tmp_path, Goal(steps=2))
        state = t.checkpoint(Goal(steps=4))
        before = state.optimiser[0]["state"][0]["exp_avg"].clone()
        run(t, tmp_path, Goal(steps=4))
        assert torch.equal(state.optimiser[0]["state"][0]["exp_avg"], before)

    def test_any_seed_will_do(self, tmp_path: Path):
        losses = {
            run(trainer(replace(RECIPE, seed=s)), tmp_path, Goal(steps=1))[0].loss
            for s in (0, 1, 1 << 40, (1 << 63) - 1)
        }
        assert len(losses) == 4

    def test_the_average_follows_the_weights(self, tmp_path: Path):
        t = trainer(replace(RECIPE, ema=(0.0, 0.5, 0.999)))
        seen = []
        t.run(Goal(steps=3), tmp_path, log_every=1, on_record=lambda r: seen.append(copy.deepcopy(t.net.state_dict())))
        averages = t.averages()
        for name, last in t.net.state_dict().items():
            first, second, _ = (weights[name] for weights in seen)
            assert torch.equal(averages[0.0][name], last)
            assert torch.allclose(averages[0.5][name], (first + 2 * second + 4 * last) / 7, atol=1e-6)
            assert torch.allclose(averages[0.999][name], (first + second + last) / 3, atol=1e-3)

    def test_the_learning_rate_rises_and_falls(self, tmp_path: Path):
        rates = [r.lr for r in run(trainer(), tmp_path, Goal(steps=20))]
        assert rates[0] == pytest.approx(2e-3 / 3)
        assert max(rates) == pytest.approx(2e-3, rel=0.05)
        assert rates[-1] < 0.1 * 2e-3
        constant = [r.lr for r in run(trainer(replace(RECIPE, decay=False)), tmp_path, Goal(steps=5))]
        assert constant[3:] == [2e-3, 2e-3]

    def test_minutes_end_a_run(self, tmp_path: Path):
        t = trainer()
        run(t, tmp_path, Goal(minutes=0.01))
        assert 0.6 <= t.seconds < 30

    def test_diverging_keeps_the_last_good_checkpoint(self, tmp_path: Path):
        run(trainer(), tmp_path, Goal(steps=2))
        good = (tmp_path / NAME).read_bytes()
        t = trainer()
        with torch.no_grad():
            next(t.net.parameters()).fill_(float("nan"))
        with pytest.raises(TrainingError, match=r"loss is nan at step 1.*last good checkpoint is kept"):
            run(t, tmp_path, Goal(steps=2))
        assert (tmp_path / NAME).read_bytes() == good

    def test_weights_spoiled_by_the_last_step_are_not_saved(self, tmp_path: Path):
        t = trainer()

        def spoil(record: Record) -> None:
            with torch.no_grad():
                next(t.net.parameters())[0] = float("inf")

        with pytest.raises(TrainingError, match="no finite numbers"):
            t.run(Goal(steps=1), tmp_path, on_record=spoil)
        assert not (tmp_path / NAME).exists()

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        run(trainer(), tmp_path, Goal(steps=1))
        good = (tmp_path / NAME).read_bytes()

        def full(*args: Any, **kwargs: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(TrainingError, match="No space left on device; the one before is kept"):
            run(trainer(), tmp_path, Goal(steps=2))
        assert (tmp_path / NAME).read_bytes() == good
        assert [p.name for p in tmp_path.iterdir()] == [NAME]

    def test_other_weights_don_t_fit(self):
        with pytest.raises(TrainingError, match="don't fit"):
            trainer().load_weights(UNet(replace(TINY, channels=(8, 24))).state_dict())

    def test_signals_are_given_back(self, tmp_path: Path):
        before = signal.getsignal(signal.SIGINT)
        run(trainer(), tmp_path, Goal(steps=1))
        assert signal.getsignal(signal.SIGINT) is before

    def test_runs_in_another_thread(self, tmp_path: Path):
        thread = threading.Thread(target=run, args=(trainer(), tmp_path, Goal(steps=1)))
        thread.start()
        thread.join()
        assert load_checkpoint(tmp_path).step == 1


class TestViews:
    NETWORK = ConvUNetConfig(
        channels=(8, 12), down_blocks=(1, 1), up_blocks=(1, 0), embedding=8, frequencies=4, window=8, knots=4
    )
    VIEWS = (View(8, 1, 3, -4.0, 9.5), View(16, 1, 1, -4.0, 9.5), View(8, 4, 2, -8.0, 0.0))
    RECIPE = replace(RECIPE, batch=6, tilt=0.1, ema=(0.5, 0.9), views=VIEWS)

    def trainer(self, recipe: Recipe | None = None) -> Trainer:
        recipe = recipe or self.RECIPE
        return Trainer(self.NETWORK, recipe, TrainingImages(pictures(24, 40), 8, recipe.seed), ALONE)

    def test_learns_from_all_of_them(self, tmp_path: Path):
        records = run(self.trainer(replace(self.RECIPE, lr=1e-2, muon_lr=0.05)), tmp_path, Goal(steps=80))
        first, last = (np.mean([r.loss for r in part]) for part in (records[:20], records[-20:]))
        assert last < 0.95 * first
        assert records[-1].images == 480

    def test_the_network_sees_scaled_pictures_at_cleaner_levels(self):
        t = self.trainer()
        seen: list[tuple[tuple[int, ...], float, float]] = []

        def look(module: Any, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
            seen.append((tuple(inputs[0].shape), float(inputs[1].min()), float(inputs[1].max())))

        t.net.register_forward_pre_hook(look)
        t._train_step(Goal(steps=1))
        assert [shape for shape, _, _ in seen] == [(3, 3, 8, 8), (1, 3, 16, 16), (2, 3, 8, 8)]
        assert -8 + 2 * math.log(4) <= seen[2][1] < seen[2][2] <= 2 * math.log(4)

    def test_resuming_is_the_same_trajectory(self, tmp_path: Path):
        whole = self.trainer()
        run(whole, tmp_path, Goal(steps=4))
        half = self.trainer()
        half.run(Goal(steps=2), tmp_path)
        state = load_checkpoint(tmp_path)
        assert state.recipe == self.RECIPE
        assert state.network == self.NETWORK
        again = self.trainer()
        again.resume(replace(state, goal=Goal(steps=4)))
        assert again.step == 2
        # the cosine of a goal of 2 steps has ended, so only the state is compared
        assert all(torch.equal(a, b) for a, b in zip(half.net.parameters(), again.net.parameters(), strict=True))
        losses = [run(t, tmp_path, Goal(steps=4))[-1].loss for t in (half, again)]
        assert losses[0] == losses[1]

    def test_batches_keep_the_mixture(self):
        twice = self.RECIPE.with_batch(12)
        assert [v.count for v in twice.views] == [6, 2, 4]
        with pytest.raises(TrainingError, match="multiple of 6"):
            self.RECIPE.with_batch(9)

    @pytest.mark.parametrize(
        "bad",
        [
            {"batch": 5},
            {"objective": "simple"},
            {"views": (View(6, 1, 6, 0.0, 1.0),)},  # no multiple of the network's downsampling
            {"views": (View(16, 4, 6, 0.0, 1.0),)},  # larger than the pictures
        ],
    )
    def test_impossible_views(self, bad: dict[str, Any], tmp_path: Path):
        with pytest.raises(TrainingError):
            run(self.trainer(replace(self.RECIPE, **bad)), tmp_path, Goal(steps=1))
        with pytest.raises(TrainingError):
            View(8, 0, 1, 0.0, 1.0)


class TestFailures:
    @pytest.mark.parametrize(
        "error",
        [
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
            MemoryError("Unable to allocate 5.00 GiB"),
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
        ],
    )
    def test_out_of_memory_says_what_needs_less(
        self, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        run(trainer(), tmp_path, Goal(steps=1))

        def fail(self: Trainer, goal: Goal) -> None:
            raise error

        monkeypatch.setattr(Trainer, "_train_step", fail)
        with pytest.raises(TrainingError, match=r"out of memory: .*--batch") as caught:
            run(trainer(), tmp_path, Goal(steps=2))
        assert "\n" not in str(caught.value)
        assert load_checkpoint(tmp_path).step == 1

    def test_no_memory_for_the_network(self, monkeypatch: pytest.MonkeyPatch):
        def fail(self: UNet, *args: Any) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(UNet, "to", fail)
        with pytest.raises(TrainingError, match="--batch"):
            trainer()

    def test_a_compiler_that_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        failure = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})

        def forward(*args: Any) -> None:
            raise failure("\n\nInvalidCxxCompiler: No working C++ compiler found\nSet TORCHDYNAMO_VERBOSE=1")

        monkeypatch.setattr(torch, "compile", lambda network, **options: forward)
        compiled = Trainer(TINY, RECIPE, TrainingImages(pictures(), 8, 3), ALONE, compiled=True)
        with pytest.raises(TrainingError, match=r"No working C\+\+ compiler found; .*leave out --compile"):
            run(compiled, tmp_path, Goal(steps=1))

    def test_other_errors_stay_what_they_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def fail(self: Trainer, goal: Goal) -> None:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        monkeypatch.setattr(Trainer, "_train_step", fail)
        with pytest.raises(RuntimeError, match="mat1"):
            run(trainer(), tmp_path, Goal(steps=1))


class TestCheckpoint:
    def test_another_number_of_processes_shares_the_same_batches(self, tmp_path: Path):
        run(trainer(), tmp_path, Goal(steps=2))
        state = replace(load_checkpoint(tmp_path), processes=3)  # of 4 images each
        assert [state.recipe_for(n).batch for n in (1, 2, 3, 12)] == [12, 6, 4, 1]
        with pytest.raises(
            TrainingError, match=r"12 images came from 3 processes and can't be shared by 5: .*nproc-per-node 3"
        ):
            state.recipe_for(5)

    def test_holds_everything(self, tmp_path: Path):
        t = trainer()
        run(t, tmp_path, Goal(steps=2))
        state = load_checkpoint(tmp_path)
        assert (state.network, state.recipe, state.step, state.images, state.pictures) == (TINY, RECIPE, 2, 8, 24)
        assert state.goal == Goal(steps=2)
        assert all(torch.equal(v, t.net.state_dict()[k]) for k, v in state.weights.items())

    def test_none(self, tmp_path: Path):
        with pytest.raises(TrainingError, match="no checkpoint"):
            load_checkpoint(tmp_path)

    @pytest.mark.parametrize(
        "change",
        [
            {"step": "3"},
            {"images": -1},
            {"processes": 0},
            {"architecture": "diffusers", "network": {}},
            {"averages": []},
            {"recipe": {"batch": "many"}},
            {"recipe": {"schedule": "cubic"}},
            {"network": {"channels": [1 << 16]}},  # gigabytes, of weights that aren't there
            {"weights": {}},
            {"weights": []},
            {"goal": {}},
        ],
    )
    def test_that_lies(self, tmp_path: Path, change: dict[str, Any]):
        run(trainer(), tmp_path, Goal(steps=1))
        values = torch.load(tmp_path / NAME, weights_only=True)
        torch.save(values | change, tmp_path / NAME)
        with pytest.raises(TrainingError, match=r"not understood|expected"):
            load_checkpoint(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x04K\x01."])
    def test_damaged(self, content: bytes, tmp_path: Path):
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(TrainingError):
            load_checkpoint(tmp_path)

    def test_of_damaged_weights(self, tmp_path: Path):
        weight = torch.full((1000,), 0.375)
        torch.save({"format": "ddpmcodec-checkpoint-2", "weights": {"w": weight}}, tmp_path / NAME)
        data = bytearray((tmp_path / NAME).read_bytes())
        data[data.index(weight.numpy().tobytes()) + 2] ^= 1
        (tmp_path / NAME).write_bytes(data)
        assert torch.load(tmp_path / NAME, weights_only=True)  # torch doesn't notice
        with pytest.raises(TrainingError, match=r"not a readable checkpoint: the check of .* fails"):
            load_checkpoint(tmp_path)

    def test_of_something_else(self, tmp_path: Path):
        torch.save({"format": "other"}, tmp_path / NAME)
        with pytest.raises(TrainingError, match="expected format"):
            load_checkpoint(tmp_path)


_SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {root!r})
from tests.training.test_training import RECIPE, TINY, pictures
from dataclasses import replace
from ddpmcodec.training import Goal, Trainer, TrainingImages, processes
with processes("cpu") as where:
    recipe = replace(RECIPE, batch=int(sys.argv[2]))
    t = Trainer(TINY, recipe, TrainingImages(pictures(), TINY.window, recipe.seed), where)
    losses, saves = [], []
    goal, record = Goal(steps=6), lambda r: losses.append(r.loss)
    t.run(goal, Path(sys.argv[1]), log_every=1, on_record=record, on_save=lambda: saves.append(1))
    if where.first:
        print(json.dumps([losses, len(saves), t.seen]))
    else:
        assert not losses and not saves
"""


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT.format(root=str(Path(__file__).parents[2])))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run_it(*command: str) -> Any:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    one = run_it(sys.executable, str(script), str(tmp_path / "one"), "8")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = run_it(*torchrun, str(script), str(tmp_path / "two"), "4")
    assert two[0] == pytest.approx(one[0], rel=1e-4)
    assert two[1:] == one[1:] == [1, 48]
    a, b = load_checkpoint(tmp_path / "one"), load_checkpoint(tmp_path / "two")
    assert (a.processes, b.processes) == (1, 2)
    assert b.recipe_for(1) == a.recipe
    for name, tensor in a.averages[0.9].items():
        assert torch.allclose(tensor, b.averages[0.9][name], atol=1e-3), name  # Muon works in bfloat16
