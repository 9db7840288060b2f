"""Networks that read text, as their pipelines save them: told the very tensors that the pipeline tells them."""

from __future__ import annotations

import json
import logging.handlers
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ddpmcodec
from ddpmcodec.errors import DdpmCodecError, ModelError
from ddpmcodec.models import load_diffusers, load_model, measure_curve, read_model_info, save_model
from ddpmcodec.models.condition import Condition
from ddpmcodec.models.info import WeightsPlace
from tests.cli.test_cli import assert_refused, run
from tests.models.test_diffusers_adapter import edited
from tests.models.test_latents import smooth

KINDS = ["sd", "xl", "sd3", "flux", "flux-guided"]
WIDTH, WORDS = 16, 8
TOLD = ("x", "encoder_hidden_states", "pooled_projections", "text_embeds", "time_ids", "img_ids", "txt_ids", "guidance")


@pytest.fixture(scope="session")
def diffusers() -> Any:
    pytest.importorskip("transformers")
    return pytest.importorskip("diffusers")


def clip(projected: bool) -> tuple[Any, Any]:
    import transformers

    letters = [*string.ascii_lowercase, *(f"{c}</w>" for c in string.ascii_lowercase)]
    vocab = {word: i for i, word in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    tokenizer = transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=WORDS)
    config = transformers.CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=WORDS,
        projection_dim=WIDTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return tokenizer, kind(config).eval()


def t5() -> tuple[Any, Any]:
    import transformers

    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{c}", -2.0) for c in string.ascii_lowercase)]
    tokenizer = transformers.T5TokenizerFast(vocab=vocab, extra_ids=0)
    config = transformers.T5Config(
        vocab_size=len(vocab), d_model=2 * WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0
    )
    return tokenizer, transformers.T5EncoderModel(config).eval()


def latents_of(diffusers: Any, channels: int) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=[8, 8],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4,
        latent_channels=channels,
        shift_factor=0.1,
    )


def pipeline_of(diffusers: Any, kind: str) -> Any:
    """Tiny, with random weights: two pixels for a latent, windows of 8×8 latents."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        blocks = {
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "block_out_channels": [8, 16],
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "attention_head_dim": 4,
            "sample_size": 8,
        }
        if kind == "sd":
            tokenizer, encoder = clip(False)
            unet = diffusers.UNet2DConditionModel(**blocks, cross_attention_dim=WIDTH)
            scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction")
            vae = latents_of(diffusers, 4)
            return diffusers.StableDiffusionPipeline(
                vae, encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
            )
        if kind == "xl":
            (tokenizer, encoder), (tokenizer_2, encoder_2) = clip(False), clip(True)
            more = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
            more |= {"projection_class_embeddings_input_dim": WIDTH + 24, "transformer_layers_per_block": 1}
            unet = diffusers.UNet2DConditionModel(**blocks, cross_attention_dim=2 * WIDTH, **more)
            scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear")
            return diffusers.StableDiffusionXLPipeline(
                latents_of(diffusers, 4), encoder, encoder_2, tokenizer, tokenizer_2, unet, scheduler
            )
        tokenizer_t5, encoder_t5 = t5()
        if kind == "sd3":
            (tokenizer, encoder), (tokenizer_2, encoder_2) = clip(True), clip(True)
            transformer = diffusers.SD3Transformer2DModel(
                sample_size=8,
                in_channels=16,
                num_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                caption_projection_dim=16,
                joint_attention_dim=2 * WIDTH,
                pooled_projection_dim=2 * WIDTH,
                pos_embed_max_size=16,
            )
            texts = (encoder, tokenizer, encoder_2, tokenizer_2, encoder_t5, tokenizer_t5)
            return diffusers.StableDiffusion3Pipeline(transformer, flow, latents_of(diffusers, 16), *texts)
        tokenizer, encoder = clip(False)
        transformer = diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=kind == "flux-guided",
        )
        vae = latents_of(diffusers, 4)
        return diffusers.FluxPipeline(flow, vae, encoder, tokenizer, encoder_t5, tokenizer_t5, transformer)


@pytest.fixture(scope="session", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, diffusers: Any) -> Path:
    place: Path = tmp_path_factory.mktemp(request.param)
    pipeline_of(diffusers, request.param).save_pretrained(place)
    if request.param.startswith("flux"):  # which has no side of its own
        edited(place / "transformer" / "config.json", sample_size=8)
    return place


class Watched:
    """What a network is called with, and gives."""

    def __init__(self, network: torch.nn.Module):
        self.calls: list[tuple[dict[str, Any], torch.Tensor]] = []
        forward = network.forward
        names = ("x", "timestep", "encoder_hidden_states")

        def watched(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            given = dict(zip(names, args, strict=False)) | kwargs
            given["x"] = given.pop("x", None) if "hidden_states" not in given else given.pop("hidden_states")
            tensor = output[0] if isinstance(output, tuple) else output.sample
            self.calls.append((flat(given), tensor))
            return output

        network.forward = watched  # type: ignore[method-assign]


def flat(given: dict[str, Any]) -> dict[str, torch.Tensor]:
    found = {}
    for name, value in given.items():
        if isinstance(value, dict):
            found |= flat(value)
        elif isinstance(value, torch.Tensor):
            found[name] = value
    return found


def asked(folder: Path, condition: Condition, calls: list[tuple[dict[str, Any], torch.Tensor]]) -> list[Any]:
    """Our network's calls and ε̂ at the pipeline's state and time of the last call."""
    network, config = load_diffusers(folder)
    watched = Watched(network.network)
    theirs, _ = calls[-1]
    t = float(theirs["timestep"].flatten()[0])
    state = theirs["x"][-1:]
    if config.predicts == "flow_prediction":
        s = t if config.kind.startswith("Flux") else t / 1000
        level = 2 * np.log((1 - s) / s)
        x = unpacked(state) if config.kind.startswith("Flux") else state
        x_t = x / ((1 - s) ** 2 + s**2) ** 0.5
    else:
        level, x_t = config.schedule.log_snr(round(t) + 1), state  # type: ignore[union-attr]
    eps = network.told(condition)(x_t, torch.tensor([level], dtype=torch.float32))
    return [watched.calls, eps, x_t, level, config]


def unpacked(state: torch.Tensor) -> torch.Tensor:
    n, _, channels = state.shape
    x = state.reshape(n, 4, 4, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(n, channels // 4, 8, 8)


def test_the_network_is_told_what_the_pipeline_tells_it(folder: Path, diffusers: Any):
    """The pipeline draws a picture of two steps, and its calls are watched; ours is the same call."""
    pipeline = pipeline_of(diffusers, folder.name[:-1])
    pipeline.set_progress_bar_config(disable=True)
    watched = Watched(getattr(pipeline, "unet", None) or pipeline.transformer)
    guided, flux = folder.name.startswith("flux-guided"), folder.name.startswith("flux")
    options: dict[str, Any] = {"guidance_scale": 2.5 if guided else 1.0}
    pipeline("a b c", num_inference_steps=2, height=16, width=16, output_type="latent", **options)
    condition = Condition(prompt="a b c", guidance=250 if guided else 100)
    calls, eps, x_t, level, config = asked(folder, condition, watched.calls)
    ours, output = calls[-1]
    theirs, expected = watched.calls[-1]
    for name in TOLD:
        assert (name in ours) == (name in theirs), name
        if name in ours:
            torch.testing.assert_close(ours[name], theirs[name][-len(ours[name]) :], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours["timestep"].float(), theirs["timestep"].float().expand(1), rtol=0, atol=1e-3)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    # and ε̂ is what the output means
    alpha, sigma = ((1 / (1 + np.exp(sign * level))) ** 0.5 for sign in (-1, 1))
    flown = unpacked(output) if flux else output
    wanted = {
        "flow_prediction": lambda: (x_t / (alpha + sigma)) + alpha / (alpha + sigma) * flown,
        "v_prediction": lambda: alpha * output + sigma * x_t,
        "epsilon": lambda: output,
    }[config.predicts]()
    torch.testing.assert_close(eps, wanted, rtol=0, atol=1e-5)


def test_nothing_said_is_what_guidance_starts_from(folder: Path, diffusers: Any):
    if folder.name.startswith("flux"):
        pytest.skip("Flux's pipeline guides by a number")
    pipeline = pipeline_of(diffusers, folder.name[:-1])
    pipeline.set_progress_bar_config(disable=True)
    watched = Watched(getattr(pipeline, "unet", None) or pipeline.transformer)
    pipeline("a b c", num_inference_steps=2, height=16, width=16, output_type="latent", guidance_scale=3.0)
    unsaid, said = watched.calls[-1][1].chunk(2)
    calls, eps, *_ = asked(folder, Condition(prompt="a b c", guidance=300), watched.calls)
    torch.testing.assert_close(calls[0][1], said, rtol=0, atol=1e-5)
    torch.testing.assert_close(calls[1][1], unsaid, rtol=0, atol=1e-5)
    _, nothing, *_ = asked(folder, Condition(), watched.calls)
    _, something, *_ = asked(folder, Condition(prompt="a b c"), watched.calls)
    torch.testing.assert_close(eps, nothing + 3 * (something - nothing), rtol=1e-4, atol=1e-5)


def test_transformers_warns_of_nothing_here_and_may_elsewhere(folder: Path):
    """A prompt that is too long: diffusers says what is cut, transformers that nothing would be."""
    heard, logger = logging.handlers.BufferingHandler(99), logging.getLogger("transformers")
    logger.addHandler(heard)
    level = logger.level
    network, _ = load_diffusers(folder)
    network.told(Condition(prompt="a b c d " * WORDS))
    logger.removeHandler(heard)
    assert [record.getMessage() for record in heard.buffer] == []
    assert logger.level == level < logging.ERROR


def codec(folder: Path, target: Path, dtype: str = "float32") -> str:
    network, config = load_diffusers(folder, dtype=dtype)
    low, high = max(config.min_log_snr, -6.0), 4.0
    levels = np.linspace(low, high, 5)
    curve = measure_curve(
        network, smooth(2, 16, 16), log_snrs=levels, window=8, space=network.space, min_log_snr=low, max_log_snr=high
    )
    return save_model(target, network, curve, "texts", config=config, weights=WeightsPlace(str(folder)))


def test_a_prompt_travels_in_the_header(folder: Path, tmp_path: Path):
    target = tmp_path / "codec.safetensors"
    mark = codec(folder, target)
    assert target.stat().st_size < 60_000  # no weights
    info = read_model_info(target)
    assert (info.fingerprint, info.weights) == (mark, WeightsPlace(str(folder)))
    model = load_model(target)
    picture, files = smooth(1, 24, 33)[0], {}
    for prompt in ("", "a b c", "x"):
        sent: list[Any] = []
        data = ddpmcodec.encode(picture, model=model, full=True, prompt=prompt, on_step=sent.append)
        *_, last = ddpmcodec.decode_progressive(data, model=load_model(target))
        np.testing.assert_array_equal(last.state.x0_hat, sent[-1].chain.x0_hat())
        assert last.image.shape == (24, 33, 3)
        short = ddpmcodec.truncate(data, steps=2, model=model)
        assert ddpmcodec.decode(short, model=model).shape == picture.shape
        files[prompt] = data
    assert len(set(files.values())) == 3
    with pytest.raises(DdpmCodecError, match="--class"):
        ddpmcodec.encode(picture, model=model, class_label=1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_dtype_is_part_of_the_model(folder: Path, tmp_path: Path, dtype: str):
    if "-" in folder.name or folder.name.startswith("xl"):
        pytest.skip("as the others")
    marks = {codec(folder, tmp_path / f"{kind}.safetensors", kind) for kind in ("float32", dtype)}
    assert len(marks) == 2
    model = load_model(tmp_path / f"{dtype}.safetensors")
    network = model.eps_model
    assert next(network.network.parameters()).dtype == getattr(torch, dtype)  # type: ignore[attr-defined]
    assert next(network.autoencoder.parameters()).dtype == torch.float32  # type: ignore[attr-defined]
    picture = smooth(1, 16, 16)[0]
    data = ddpmcodec.encode(picture, model=model, full=True, prompt="a")
    assert ddpmcodec.decode(data, model=model).shape == picture.shape


# Weights that lie elsewhere


@pytest.fixture
def kept(tmp_path: Path, diffusers: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a pipeline's folder, its codec, and a stream."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDPMCODEC_MODELS", str(tmp_path / "models"))
    pipeline_of(diffusers, "sd").save_pretrained("their")
    Path("photos").mkdir()
    Image.fromarray(smooth(1, 20, 20)[0]).save("photos/0.png")
    monkeypatch.setattr("ddpmcodec.cli.plan._draw", lambda curve, picture: True)
    made = run("plan", "their", "--data", "photos", "--spacing", 1.0, "--dtype", "bfloat16", "-q")
    assert made.exit_code == 0, made.output
    coded = run("encode", "photos/0.png", "-o", "s.bin", "--model", "their", "--prompt", "a b", "--guidance", 2, "-q")
    assert coded.exit_code == 0, coded.output
    return tmp_path


def test_the_command_line_codes_with_a_text_model(kept: Path):
    shown = json.loads(run("models", "show", "their", "--json").stdout)
    assert shown["weights"] == str(kept / "their")
    fields = json.loads(run("info", "s.bin", "--json").stdout)["fields"]
    assert {field["name"] for field in fields} == {"prompt", "guidance"}
    assert run("decode", "s.bin", "-o", "s.png", "-q").exit_code == 0
    assert Image.open("s.png").size == (20, 20)
    refused = run("encode", "photos/0.png", "-o", "x.bin", "--model", "their", "--prompt", "q" * 70_000, "-q")
    assert_refused(refused, "make it shorter")


def test_weights_that_moved_are_named_and_found_again(kept: Path):
    Path("their").rename("moved")
    assert json.loads(run("info", "s.bin", "--json").stdout)["complete"]  # which reads no weights
    assert_refused(run("decode", "s.bin", "-o", "s.png", "-q"), "--weights FOLDER")
    file = kept / "models" / "their.safetensors"
    assert run("models", "add", file, "--weights", "moved", "-q").exit_code == 0
    done = run("decode", "s.bin", "-o", "s.png", "-q")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("what", ["weights", "texts", "tokenizer", "configuration"])
def test_other_weights_than_the_model_s_are_refused(kept: Path, what: str):
    if what in ("weights", "texts"):
        from safetensors.torch import load_file, save_file

        name = {"weights": "unet/diffusion_pytorch_model", "texts": "text_encoder/model"}[what]
        tensors = load_file(f"their/{name}.safetensors")
        first = sorted(tensors)[0]
        save_file(tensors | {first: tensors[first] + 1}, f"their/{name}.safetensors", {"format": "pt"})
    elif what == "tokenizer":
        path = min(Path("their/tokenizer").glob("*.json"))
        path.write_text(path.read_text() + " ")
    else:
        edited(Path("their/scheduler/scheduler_config.json"), beta_end=0.013)
    assert_refused(run("decode", "s.bin", "-o", "s.png", "-q"), "other weights")


def test_a_pipeline_without_its_encoders_is_refused(kept: Path, diffusers: Any, monkeypatch: pytest.MonkeyPatch):
    edited(Path("their/model_index.json"), text_encoder=["transformers", "BertModel"])
    with pytest.raises(ModelError, match="BertModel"):
        load_diffusers("their")
    edited(Path("their/model_index.json"), text_encoder=None, tokenizer=None)
    with pytest.raises(ModelError, match="no text_encoder"):
        load_diffusers("their")
    Path("their/model_index.json").unlink()
    with pytest.raises(ModelError, match=r"model_index\.json"):
        load_diffusers("their")
