"""Pictures of a day: those that were brought along (packing.py makes the folder), or generated ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.eval.rd.pictures import Pictures, load_pictures
from ddpmcodec.training import Sources, training_images

# Names in the folder: what is trained on and what is held out lie apart.
PHOTOS, PHOTOS_HELD_OUT = "photos-training-{}.zip", "photos-held-out.zip"  # {}: the first call's, the second's …
TILES, TILES_HELD_OUT, TEST = "tiles-training-{:02d}.webp", "tiles-held-out.webp", "tiles-test.webp"
STREAMS, INIT, MANIFEST = "streams", "init", "pack.json"
_GENERATED = 24


def sources(folder: Path | None, window: int, photos: bool) -> Sources:
    """Return training pictures and held-out ones: photographs, or tiles of window × window. Raises DdpmCodecError."""
    held_out = PHOTOS_HELD_OUT if photos else TILES_HELD_OUT
    names = _training(folder, photos)
    if folder is None or not names:
        generated = _generated(window)
        return Sources(generated[:-4], generated[-4:])
    training = training_images([str(folder / n) for n in names], window).training
    return Sources(training, training_images([str(folder / held_out)], window).training)


def are_there(folder: Path | None, photos: bool) -> bool:
    """Return whether there are such training pictures: brought along, or, without a folder, generated."""
    return folder is None or bool(_training(folder, photos))


def _training(folder: Path | None, photos: bool) -> list[str]:
    pattern = PHOTOS.format("*") if photos else TILES.replace("{:02d}", "*")
    return sorted(p.name for p in folder.glob(pattern)) if folder else []


def unseen_pictures(folder: Path | None, count: int) -> Pictures:
    """Return the first test pictures of 32 × 32. Raises DdpmCodecError."""
    if folder is None or not (folder / TEST).exists():
        images = list(_generated(32)[:count])
        return Pictures(images, [f"generated/{i}" for i in range(len(images))], "generated")
    return load_pictures(folder / TEST, limit=count)


def initial_model(folder: Path | None, name: str, embedded: list[str]) -> str | None:
    """Return the weights that a network of this name starts from: brought along, else embedded, else none."""
    if folder is not None and (folder / INIT / f"{name}.safetensors").exists():
        return str(folder / INIT / f"{name}.safetensors")
    name = {"photo-fine": "photo-small"}.get(name, name)  # which holds both networks
    return name if name in embedded else None


def _generated(side: int) -> NDArray[np.uint8]:
    """Generate pictures: slopes of random colours."""
    random = np.random.default_rng(0)
    slope, base = random.uniform(-90, 90, (_GENERATED, 1, 1, 3, 2)), random.uniform(90, 160, (_GENERATED, 1, 1, 3))
    y, x = np.mgrid[:side, :side] / side
    return (
        (base + slope[..., 0] * y[None, :, :, None] + slope[..., 1] * x[None, :, :, None]).clip(0, 255).astype(np.uint8)
    )
