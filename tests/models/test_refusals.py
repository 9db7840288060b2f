"""Numbers and files that a model can't have: each is refused with what was found, and what was expected."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ddpmcodec.diffusion.axes import AXES_FRACTION, check_axes
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import DdpmCodecError, ImageError, ModelError
from ddpmcodec.models import UNet, UNetConfig, codec_model, forked, load_model, measure_curve, save_model
from ddpmcodec.models.condition import Condition
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.foreign.autoencoder_config import check_autoencoder
from ddpmcodec.models.foreign.checks import require_nothing
from ddpmcodec.models.foreign.config import DiffusersConfig
from ddpmcodec.models.foreign.networks import adapter_of
from ddpmcodec.models.foreign.texts import TextEncoders, load_texts
from ddpmcodec.models.level_ranges_config import LevelRangesConfig
from ddpmcodec.models.library import add_model, remove_model
from ddpmcodec.models.measure import _weighed
from ddpmcodec.models.network_config import parse_config
from ddpmcodec.models.outputs import EpsOf
from ddpmcodec.models.times import MAX_TIMESTEPS, DiscreteTimes
from tests.models.test_hostile_models import parts_of, write

TINY = UNetConfig(channels=(8,), groups=4, heads=2, embedding=8, frequencies=4, window=16)
CONV = ConvUNetConfig(channels=(8, 12), down_blocks=(1, 1), up_blocks=(1, 0), embedding=8, frequencies=4, window=16)
UNET = {"sample_size": 8, "block_out_channels": [8, 16], "layers_per_block": 1}
SD3 = {"sample_size": 8, "in_channels": 16, "out_channels": 16, "num_layers": 2}
FLUX = {"in_channels": 16, "num_layers": 1, "num_single_layers": 1}


def foreign(kind: str, **network: Any) -> Callable[[], None]:
    return lambda: adapter_of(kind).check(network)


# Configurations


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_config("mlp", {}), "architecture 'mlp': this version of ddpmcodec knows unet, "),
        (
            lambda: replace(TINY, attention_levels=(1,)),
            "attention_levels (1,): expected levels from 0 to 0 whose channels",
        ),
        (
            lambda: replace(TINY, channels=(4, 9, 8), groups=1, attention_levels=(0, 1)),
            "attention_levels (0, 1): expected levels from 0 to 2 whose channels heads=2 divides",
        ),
        (
            lambda: LevelRangesConfig((CONV, replace(CONV, image_channels=1)), (4.0,)),
            "networks for pictures of different numbers of channels: expected one number",
        ),
        (
            lambda: DiscreteTimes((0.01,) * (MAX_TIMESTEPS + 1)),
            f"a schedule of {MAX_TIMESTEPS + 1} timesteps: expected at most {MAX_TIMESTEPS}",
        ),
        (foreign("UNet2DModel", **UNET | {"layers_per_block": 0}), "a network of 0 layers a block: expected 1 to"),
        (foreign("UNet2DModel", **UNET | {"block_out_channels": [8] * 12}), "and at most 11 blocks"),
        (
            foreign("UNet2DModel", **UNET | {"block_out_channels": [8, 0.5]}),
            "block_out_channels [8, 0.5]: expected whole numbers from 1 to",
        ),
        (
            foreign("UNet2DConditionModel", **UNET, in_channels=4, out_channels=4, num_class_embeds=3),
            "a network that is told {'num_class_embeds': 3}: expected one that is told a text",
        ),
        (
            foreign("UNet2DConditionModel", **UNET, in_channels=4, out_channels=4, addition_embed_type="image"),
            "addition_embed_type 'image': expected text_time",
        ),
        (
            foreign("SD3Transformer2DModel", **SD3 | {"sample_size": 9}),
            "a transformer for 9 latents: expected a multiple of its patches",
        ),
        (
            foreign("SD3Transformer2DModel", **SD3 | {"num_attention_heads": 1 << 10, "attention_head_dim": 1 << 10}),
            "'num_attention_heads': 1024, 'attention_head_dim': 1024",
        ),
        (
            foreign("FluxTransformer2DModel", **FLUX | {"in_channels": 18}),
            "a transformer from 18 packed channels: expected a multiple of 4",
        ),
        (
            foreign("FluxTransformer2DModel", **FLUX | {"out_channels": 8}),
            "a transformer from 16 to 8 packed channels: expected a multiple of 4, to as many",
        ),
        (
            foreign("FluxTransformer2DModel", **FLUX | {"patch_size": 2}),
            "a transformer of packed latents: expected an even side, and a patch_size of 1",
        ),
        (
            lambda: check_autoencoder({"_class_name": "AutoencoderKL", "layers_per_block": True}, 4),
            "an autoencoder of True layers a block: expected 1 to",
        ),
        (lambda: check_axes((), 4), "the model's spectrum has 4 channels: expected 3, or axes for 1 to"),
        (lambda: check_axes(((1 << AXES_FRACTION,),), 0), "the model's spectrum has 0 channels"),
        (lambda: check_axes(((1 << AXES_FRACTION,),), 2), "axes that are no rotation of 2 channels"),
        (lambda: check_axes(((1 << 40, 0), (0, 1 << 40)), 2), "axes that are no rotation of 2 channels"),
        (lambda: require_nothing(Condition(label=1)), "leave out --class, --prompt and --guidance"),
    ],
)
def test_a_configuration_that_can_t_be_is_refused(make: Callable[[], Any], message: str):
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["UNet2DModel", "SD3Transformer2DModel", "FluxTransformer2DModel"])
def test_what_the_refused_were_made_of_is_accepted(kind: str):
    adapter_of(kind).check({"UNet2DModel": UNET, "SD3Transformer2DModel": SD3}.get(kind, FLUX))
    require_nothing(Condition())
    check_axes((), 3)


@pytest.mark.parametrize("plans", [((),), ((-1, 3),), ((0, 25),), ((3, 3),), ((0, 1, 2), (4, 2))])
def test_plans_that_don_t_rise_within_the_levels_are_refused(curve: ErrorCurve, plans: Any):
    with pytest.raises(ModelError, match="plans need rising levels, from 0 to 24"):
        replace(curve, plans=plans)
    assert replace(curve, plans=((0, 24),)).plans == ((0, 24),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"usual_plan": 26}, "usual plan has 26 steps: expected 1 to 25; measure more levels"),
        ({"usual_plan": 0}, "take fewer steps"),
        ({"bound": 65535}, "values end at 65535 / 65536: expected 1 to 1024"),
        ({"bound": (1 << 26) + 1}, "expected 1 to 1024"),
    ],
)
def test_a_curve_s_numbers_are_within_their_limits(curve: ErrorCurve, changes: dict[str, int], message: str):
    with pytest.raises(ModelError, match=message):
        replace(curve, **changes)  # type: ignore[arg-type]
    assert replace(curve, usual_plan=25, bound=1 << 26).bound == 1 << 26


def test_a_network_for_any_size_takes_pictures_that_are_no_squares():
    assert CONV.any_size
    sides = (3 * CONV.canvas, 5 * CONV.canvas)
    with torch.no_grad():
        assert CONV.build()(torch.zeros(2, 3, *sides), torch.zeros(2)).shape == (2, 3, *sides)


def test_a_network_of_texts_is_not_made_of_its_configuration_alone():
    pytest.importorskip("diffusers")
    unet = UNET | {"in_channels": 3, "out_channels": 3}
    config = DiffusersConfig("UNet2DConditionModel", unet, DiscreteTimes((0.1, 0.2)), "epsilon", None, texts="hash")
    with pytest.raises(ModelError, match="is loaded from its own folder, with its encoders"):
        config.build()


# Files


@pytest.fixture
def good(tmp_path: Path, curve: ErrorCurve) -> Path:
    save_model(tmp_path / "good.safetensors", UNet(TINY), curve, "good")
    return tmp_path / "good.safetensors"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ('{"place": 3}', "its weights have no place"),
        ('{"place": "x", "revision": 1}', "its weights have no place"),
        ('{"place": "x"}', "only networks that diffusers saved have their weights elsewhere"),
    ],
)
def test_weights_that_lie_nowhere_are_refused(good: Path, weights: str, message: str):
    header, body = parts_of(good)
    header["__metadata__"]["weights"] = weights
    write(good, header, body)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(good)
    assert str(good) in str(caught.value)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDPMCODEC_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_a_model_that_can_t_be_copied_or_removed_is_named(good: Path, own: Path, monkeypatch: pytest.MonkeyPatch):
    own.write_bytes(b"a file")
    with pytest.raises(ModelError, match=rf"can't write {own}/good\.safetensors: "):
        add_model(good)
    own.unlink()
    added = add_model(good)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ModelError, match=f"can't remove {added.path}: Permission denied"):
        remove_model("good")


def test_weights_are_named_only_where_they_lie_elsewhere(good: Path, own: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="holds its weights itself: leave out --weights"):
        add_model(good, weights=tmp_path)
    header, body = parts_of(good)
    header["__metadata__"]["weights"] = '{"place": "x"}'
    write(good, header, body)
    with pytest.raises(ModelError, match="none is no folder: expected the one that diffusers saved"):
        add_model(good, weights=tmp_path / "none")
    assert not list(own.glob("*"))


# Networks


def test_a_network_that_can_t_be_copied_is_refused(curve: ErrorCurve):
    class Single(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Single:
            raise RuntimeError("there is\none of it")

    with pytest.raises(ModelError, match=r"can't be copied: there is one of it; give one that copy\.deepcopy takes"):
        codec_model(Single(2, 2), curve, "mine")


@pytest.mark.parametrize("raised", [ImageError("ours"), MemoryError("the host's"), torch.OutOfMemoryError("a GPU's")])
def test_errors_that_say_enough_pass_through_a_network(raised: Exception):
    def fail(x_t: Tensor, log_snr: Tensor) -> Tensor:
        raise raised

    with pytest.raises(type(raised)) as caught:
        EpsOf(fail, "epsilon")(torch.zeros(1, 3, 4, 4), torch.zeros(1))
    assert caught.value is raised
    assert not isinstance(raised, ModelError)
    assert isinstance(raised, (DdpmCodecError, MemoryError, torch.OutOfMemoryError))


def test_images_too_small_for_the_sizes_to_try_are_refused():
    images = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(ModelError, match="images of 16x16: expected at least 32, or fewer sizes"):
        measure_curve(lambda x_t, log_snr: x_t, images, spacing=2.0, window=16, any_size=True, factors=(1, 2))


def test_a_spectrum_needs_an_error():
    with pytest.raises(ModelError, match="makes no error"):
        _weighed(np.zeros((3, 4, 2, 2)))
    covariances = np.zeros((3, 4, 2, 2))
    covariances[1] = np.eye(2)
    np.testing.assert_allclose(_weighed(covariances), np.eye(2) / 2)


@pytest.mark.parametrize(("used", "expected"), [(True, [1]), (False, [])])
def test_a_forked_child_keeps_to_one_thread_where_its_parent_ran_networks(
    used: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
):
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(forked, "_used", False)
    if used:
        forked.remember_use()
    forked._in_child()
    assert threads == expected


# Texts


class Pipeline:
    """Stands for one of diffusers' that can't cope with its encoders."""

    def __init__(self, text_encoder: Any, unet: Any, scheduler: Any = None) -> None:
        assert unet is None, "what is needed and not there is nothing"

    def encode_prompt(self, prompt: str, device: torch.device) -> None:
        raise IndexError(f"no token for\n{prompt}")


def test_a_prompt_that_a_pipeline_can_t_encode_is_an_error():
    diffusers = SimpleNamespace(Broken=Pipeline, DDIMScheduler=lambda **_: None)
    texts = TextEncoders(diffusers, {"text_encoder": nn.Linear(1, 1)}, {})
    with pytest.raises(ModelError, match=r"Broken can't encode the prompt: .*no token for") as caught:
        texts._encode("Broken", "häuser")
    assert "\n" not in str(caught.value)


def test_without_transformers_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"needs transformers, .*: pip install 'ddpmcodec\[text\]'"):
        load_texts(None, tmp_path, {}, torch.float32)


def test_encoders_that_can_t_be_loaded_are_named(tmp_path: Path):
    pytest.importorskip("transformers")
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"text_encoder can't be loaded; is it whole\?") as caught:
        load_texts(None, tmp_path, {"text_encoder": ["transformers", "CLIPTextModel"]}, torch.float32)
    assert "\n" not in str(caught.value)


def test_a_network_that_can_be_told_nothing_is_told_nothing():
    plain = EpsOf(lambda x_t, log_snr: x_t, "epsilon")
    assert plain.told(Condition()) is plain
    with pytest.raises(ModelError, match="this network takes no class, prompt or guidance"):
        plain.told(Condition(label=0))
