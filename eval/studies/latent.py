"""Small latent diffusion model of photographs, trained from nothing in minutes, as a folder that diffusers saved.

    python -m ddpmcodec.eval.studies.latent --data photos/ -o runs/latent
    ddpmcodec plan runs/latent --data photos/ --name latent-tiny
    ddpmcodec rd --model latent-tiny --data kodak/ -o out/

First an AutoencoderTiny (4×4 pixels to 8 numbers; mean squared error, with noise on the latents so that they are worth
their bits), then a UNet2DModel of 32×32 of them, which predicts v (Salimans & Ho 2022) and is trained through the very
adapter that the codec asks: the plain error of ε at log-SNRs drawn uniformly. Both are adapted to nothing but these
photographs, of which one in 16 is held out; what they reach on those is in training.json beside them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.models import DiffusersEps, load_diffusers
from ddpmcodec.models.foreign.folder import diffusers_package
from ddpmcodec.training import TrainingImages, training_images
from ddpmcodec.training.averages import Averages
from ddpmcodec.training.objective import denoising_errors

FACTOR, CHANNELS, WINDOW = 4, 8, 32  # pixels along a side for a latent, numbers in it, latents along a window's side
_CROP = 64  # pixels along a side, of what the autoencoder is trained on
_MARGIN = 2 * FACTOR  # pixels around a window, so that its latents are those of a whole picture
_NOISE = 0.1  # standard deviation, beside latents that the decoder bounds to ±3
_BATCH = 8, 4  # of crops, of windows
_RATE = 2e-3, 1e-3  # learning rate at its peak
_DECAY = 0.995  # of the average of the U-Net's weights


def autoencoder_of(width: int = 32) -> Any:
    """Return an AutoencoderTiny with initial weights; at full size it has a convolution each way, no blocks."""
    widths = {"encoder_block_out_channels": (width,) * 3, "decoder_block_out_channels": (width,) * 3}
    blocks = {"num_encoder_blocks": (0, 1, 2), "num_decoder_blocks": (3, 1, 0)}
    return diffusers_package().AutoencoderTiny(**widths, **blocks, latent_channels=CHANNELS)


def unet_of(widths: tuple[int, ...] = (32, 64, 96)) -> Any:
    """Return a UNet2DModel of latents with initial weights; attention is in the middle only."""
    return diffusers_package().UNet2DModel(
        sample_size=WINDOW,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=widths,
        down_block_types=("DownBlock2D",) * len(widths),
        up_block_types=("UpBlock2D",) * len(widths),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
    )


def train_autoencoder(autoencoder: Any, images: TrainingImages, steps: int, seed: int = 0) -> None:
    """Train an autoencoder in place on crops, and set the scale and shift that make its latents mean 0 and variance
    1.
    """
    random = torch.Generator().manual_seed(seed)
    for step in _optimised(autoencoder, steps, _RATE[0]):
        x = planes(images.batch(step, _BATCH[0]))
        z = autoencoder.encode(x).latents
        shown = autoencoder.decode(z + _NOISE * torch.randn(z.shape, generator=random)).sample
        loss: Tensor = (shown - x).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        z = autoencoder.encode(planes(images.batch(steps, 64))).latents
    autoencoder.register_to_config(scaling_factor=float(1 / z.std()), shift_factor=float(z.mean()))


def train_network(network: DiffusersEps, images: TrainingImages, steps: int, seed: int = 0) -> None:
    """Train a model's U-Net in place on windows of latents. images: with the margin around windows."""
    random = torch.Generator().manual_seed(seed)
    network.network.requires_grad_(True)
    averages = Averages(network.network, (_DECAY,))
    for step in _optimised(network.network, steps, _RATE[1], averages.update):
        x_0 = windows(network, images.batch(step, _BATCH[1]))
        u = (torch.arange(len(x_0)) + torch.rand(len(x_0), generator=random)) / len(x_0)
        log_snr = network.config.min_log_snr + (network.config.max_log_snr - network.config.min_log_snr) * u
        eps = torch.randn(x_0.shape, generator=random)
        denoising_errors(network, x_0, log_snr, eps).mean().backward()  # type: ignore[no-untyped-call]
    network.network.load_state_dict(averages.after(steps)[_DECAY])
    network.requires_grad_(False).eval()


def _optimised(module: nn.Module, steps: int, rate: float, after: Any = lambda: None) -> Iterator[int]:
    """Yield step after step, each with no gradients yet, and take it by those that are there then (AdamW; the rate
    warms up and falls along a cosine to nothing).
    """
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(module.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.0)
    start = time.process_time()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.zero_grad()
        yield step
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        after()
        if (step + 1) % 100 == 0:
            spent = time.process_time() - start
            print(f"{type(module).__name__}: {step + 1} of {steps} steps, {spent:.0f} s of the CPU", flush=True)
    module.eval()


def planes(crops: NDArray[np.uint8]) -> Tensor:
    """Return pictures (n, h, w, 3) as (n, 3, h, w) on [-1, 1]."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1


def windows(network: DiffusersEps, crops: NDArray[np.uint8]) -> Tensor:
    """Return the latents (n, c, window, window) in the middle of crops (n, side, side, 3)."""
    edge = _MARGIN // FACTOR
    return torch.from_numpy(network.space.of_pictures(planes(crops).numpy()))[..., edge:-edge, edge:-edge]


def held_out(network: DiffusersEps, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Return what a model reaches on the middles of pictures: the PSNR of its autoencoder alone, and the ideal rate of
    a chain of many steps over the trained levels, ½∫E|ε - ε̂|²/d dλ (Kingma et al. 2021, eq. 17).
    """
    side = FACTOR * WINDOW + 2 * _MARGIN
    able = [p for p in pictures if min(p.shape[:2]) >= side]
    crops = np.stack([p[(p.shape[0] - side) // 2 :, (p.shape[1] - side) // 2 :][:side, :side] for p in able])
    exact = planes(crops).numpy()
    shown = network.space.to_pictures(network.space.of_pictures(exact), side, side)
    psnr = -10 * np.log10(np.square((shown - exact) / 2).mean(axis=(1, 2, 3)))
    x_0, random = windows(network, crops), torch.Generator().manual_seed(1)
    levels = np.linspace(network.config.min_log_snr, network.config.max_log_snr, 24)
    eps = torch.randn(x_0.shape, generator=random)
    with torch.inference_mode():
        errors = [
            denoising_errors(network, x_0, torch.full((len(x_0),), level), eps).mean() for level in levels.tolist()
        ]
    bits = float(np.trapezoid(np.array(errors), levels)) / (2 * math.log(2))
    return {
        "crops": len(crops),
        "autoencoder_psnr": float(psnr.mean()),
        "ideal_bits_per_latent": bits,
        "ideal_bits_per_pixel": bits * CHANNELS / FACTOR**2,
        "log_snr": levels.tolist(),
        "eps_mse": [float(e) for e in errors],
    }


def train(data: Sequence[str], folder: Path, steps: tuple[int, int], seed: int) -> dict[str, Any]:
    """Train both, save them as a pipeline's folder, and return what was reached."""
    side = FACTOR * WINDOW + 2 * _MARGIN
    found = training_images(data, side, hold_out=True, skip=lambda why: print(f"left out: {why}", file=sys.stderr))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        autoencoder, unet = autoencoder_of(), unet_of()
    start = time.process_time()
    train_autoencoder(autoencoder, TrainingImages(found.training, _CROP, seed), steps[0], seed)
    between = time.process_time()
    autoencoder.save_pretrained(folder / "vae")
    unet.save_pretrained(folder / "unet")
    _scheduler().save_pretrained(folder / "scheduler")
    network, _ = load_diffusers(folder)
    train_network(network, TrainingImages(found.training, side, seed), steps[1], seed)
    network.network.save_pretrained(folder / "unet")  # type: ignore[operator]
    return {
        "seed": seed,
        "photographs": len(found.training),
        "autoencoder": {"parameters": _parameters(autoencoder), "steps": steps[0], "cpu_seconds": between - start},
        "unet": {
            "parameters": _parameters(network.network),
            "steps": steps[1],
            "cpu_seconds": time.process_time() - between,
        },
        "held_out": held_out(network, list(found.held_out)),
    }


def _scheduler() -> Any:
    """Return Stable Diffusion's, but for what the network predicts."""
    return diffusers_package().DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction"
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="folders of training photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder of the model")
    parser.add_argument("--steps", nargs=2, type=int, default=(800, 600), help="of the autoencoder, of the U-Net")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    try:
        made = provenance()
        found = train(args.data, args.output, tuple(args.steps), args.seed)
        write_json(args.output / "training.json", made | found)
        on, psnr, bits = (found["held_out"][k] for k in ("crops", "autoencoder_psnr", "ideal_bits_per_pixel"))
        print(f"on {on} held-out crops: {psnr:.2f} dB by the autoencoder alone, {bits:.3f} ideal bits a pixel")
    except DdpmCodecError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
