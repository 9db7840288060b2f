"""Memory that large models need: peaks of `encode` with random weights, and what `info` reads of a file of 1 GB.

    python -m ddpmcodec.eval.studies.memory -o results/memory.json

Each model is a whole pipeline in the shape of Stable Diffusion 1.5 (a text encoder of 123 M parameters, an autoencoder
of 84 M in float32), but for the widths of its U-Net; weights are random, in bfloat16, in the pipeline's own folder. One
picture of its window's size is encoded by the command line in a process of its own. Pages of a mapped file are memory
that the kernel takes back where it is short, and are told from the others. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import ddpmcodec
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.data import shipped_picture
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.models import load_diffusers, measure_curve, own_levels, save_model
from ddpmcodec.models.foreign.folder import diffusers_package
from ddpmcodec.models.info import WeightsPlace, read_model_info
from ddpmcodec.models.safetensors_file import read_metadata

_STEPS = 3  # of the chain: all take the same memory


@dataclass(frozen=True)
class Shape:
    """Shape of a pipeline: as Stable Diffusion 1.5's where nothing else is said."""

    widths: tuple[int, ...]  # of the U-Net
    side: int = 64  # of a window, in latents
    text_width: int = 768
    text_layers: int = 12
    vocabulary: int = 49408
    autoencoder_widths: tuple[int, ...] = (128, 256, 512, 512)


SHAPES = {"300M": Shape((192, 384, 768, 768)), "sd15": Shape((320, 640, 1280, 1280))}


def save_pipeline(folder: Path, shape: Shape, dtype: torch.dtype = torch.bfloat16) -> dict[str, int]:
    """Save a pipeline of random weights, part by part, and return the parameters of each."""
    import transformers

    diffusers = diffusers_package()
    inner = len(shape.widths) - 1
    parts: dict[str, Callable[[], Any]] = {
        "unet": lambda: diffusers.UNet2DConditionModel(
            sample_size=shape.side,
            block_out_channels=shape.widths,
            down_block_types=("CrossAttnDownBlock2D",) * inner + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * inner,
            cross_attention_dim=shape.text_width,
            attention_head_dim=8,
            norm_num_groups=min(32, shape.widths[0]),
        ).to(dtype),
        "vae": lambda: diffusers.AutoencoderKL(
            block_out_channels=shape.autoencoder_widths,
            down_block_types=("DownEncoderBlock2D",) * len(shape.autoencoder_widths),
            up_block_types=("UpDecoderBlock2D",) * len(shape.autoencoder_widths),
            layers_per_block=2,
            norm_num_groups=min(32, shape.autoencoder_widths[0]),
            latent_channels=4,
        ),
        "text_encoder": lambda: transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=shape.vocabulary,
                hidden_size=shape.text_width,
                intermediate_size=4 * shape.text_width,
                num_hidden_layers=shape.text_layers,
                num_attention_heads=max(1, shape.text_width // 64),
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ).to(dtype),
    }
    counts = dict[str, int]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, make in parts.items():
            made = make()
            counts[name] = sum(p.numel() for p in made.parameters())
            made.save_pretrained(folder / name)
            del made  # before the next is made
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}
    transformers.CLIPTokenizer(vocab=words, merges=[], model_max_length=77).save_pretrained(folder / "tokenizer")
    diffusers.PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True
    ).save_pretrained(folder / "scheduler")
    index = {name: ["diffusers", ""] for name in ("unet", "vae", "scheduler")}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return counts


def save_codec(folder: Path, target: Path, dtype: str = "bfloat16") -> None:
    """Make a codec of a pipeline's folder. Its error curve is that of a network that knows nothing: memory is all that
    is measured.
    """
    network, config = load_diffusers(folder, dtype=dtype)
    noise = np.random.default_rng(0).integers(0, 256, (2, config.window, config.window, 4), np.uint8)
    curve = measure_curve(lambda x_t, log_snr: x_t, noise, log_snrs=own_levels(config.times, 8), window=config.window)
    save_model(target, network, curve, target.stem, config=config, weights=WeightsPlace(str(folder.resolve())))


def peak_of(command: Sequence[str]) -> dict[str, Any]:
    """Run a command, and return its seconds and its peaks in bytes: of all memory, as the kernel keeps it, and of what
    is its own alone, both as seen every 10 ms. Raises DdpmCodecError where it fails.

    Not by rusage: what that calls a process's peak may be that of the one that started it.
    """
    start, peak, own = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        status = Path(f"/proc/{process.pid}/status")
        while True:
            pid, code, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            peak, own = (
                max(most, int(fields.get(name, "0").split()[0]) << 10)
                for name, most in (("VmHWM", peak), ("RssAnon", own))
            )
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode:
            said.seek(0)
            raise DdpmCodecError(f"{' '.join(command)}: {said.read().decode(errors='replace')[-300:]}")
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": peak,
        "peak_own_bytes": own,
    }


def encoding(shape: Shape, folder: Path) -> dict[str, Any]:
    """Return the parameters of a pipeline of random weights and the peaks of encoding one picture with it."""
    counts = save_pipeline(folder / "pipeline", shape)
    save_codec(folder / "pipeline", folder / "codec.safetensors")
    side = shape.side << (len(shape.autoencoder_widths) - 1)
    Image.fromarray(shipped_picture(side)).save(folder / "picture.png")
    command = f"encode {folder}/picture.png -o {folder}/s.bin --model {folder}/codec.safetensors --full -q"
    found = peak_of([sys.executable, "-m", "ddpmcodec", *command.split(), "--plan-steps", str(_STEPS)])
    return {"parameters": counts, "picture": side, "steps": _STEPS} | found


def sparse_model(path: Path, size: int) -> None:
    """Write a codec's file with the embedded model's metadata, and `size` bytes of weights that are a hole in it."""
    metadata = read_metadata(read_model_info("cifar10-small").path)
    weights = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": metadata, "weights": weights}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_bytes(path: Path) -> int:
    """Return how much of a file is in the page cache: all that anyone has read, by calls or through mappings."""
    size = path.stat().st_size
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        start = (ctypes.c_char * size).from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), pages):
            raise OSError(ctypes.get_errno(), "mincore failed")
        del start
    return mmap.PAGESIZE * sum(page & 1 for page in bytes(pages))


def information(folder: Path, size: int = 1 << 30) -> dict[str, Any]:
    """Return what `info` costs with a model file of `size` bytes, and how many of these it read."""
    sparse_model(folder / "large.safetensors", size)
    (folder / "s.bin").write_bytes(ddpmcodec.encode(shipped_picture(32), model="cifar10-small"))
    command = f"info {folder}/s.bin --model {folder}/large.safetensors"
    before = cached_bytes(folder / "large.safetensors")
    found = peak_of([sys.executable, "-m", "ddpmcodec", *command.split()])
    read = cached_bytes(folder / "large.safetensors")
    return {
        "file_bytes": (folder / "large.safetensors").stat().st_size,
        "read_before": before,
        "read_bytes": read,
    } | found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    found: dict[str, Any] = provenance()
    try:
        with tempfile.TemporaryDirectory() as name:
            found["info"] = information(Path(name))
            print(f"info: {found['info']['read_bytes']} of {found['info']['file_bytes']} bytes read", flush=True)
        for shape in args.shapes:
            with tempfile.TemporaryDirectory() as name:
                found |= {f"encode {shape}": encoding(SHAPES[shape], Path(name))}
            write_json(args.output, found)
            one = found[f"encode {shape}"]
            print(f"{shape}: {one['peak_bytes'] / 1e9:.2f} GB, {one['peak_own_bytes'] / 1e9:.2f} its own", flush=True)
    except DdpmCodecError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
