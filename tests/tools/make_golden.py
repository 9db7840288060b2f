"""The golden files: small streams of every kind, the hash of each one's integers, and the pictures they decode to.

    python -m tests.tools.make_golden

makes tests/golden anew, with the model that it names. It refuses where a file of the same format version would change:
then VERSION in ddpmcodec/bitstream/header.py goes up first. With --new it leaves alone what is there, and makes what
isn't: other machines' floats lead to other bytes. When embedded weights change, the model file before goes into
tests/golden/models, for these files are decoded by it for ever.
`tests/test_golden.py` reads them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.bitstream.fields import FILE_NAME, FRAME, ICC_PROFILE
from ddpmcodec.bitstream.file import finish, writer_of
from ddpmcodec.bitstream.header import VERSION
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.atomic import write_whole
from ddpmcodec.lossless.learning import RATES
from ddpmcodec.lossless.network import WEIGHTS
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.models.info import read_model_info
from ddpmcodec.models.places import find_model

TESTS = Path(__file__).resolve().parents[1]
Picture = NDArray[np.uint8]


def picture(height: int, width: int, turn: int = 0) -> Picture:
    """(height, width, 3): a made-up landscape of whole numbers, edges and noise included; `turn` makes another one."""
    y, x = np.mgrid[:height, :width]
    hill = (3 * x + 40 * turn) % 64 // 2 + 10
    sky = np.stack([120 + 2 * y, 150 + y + x // 2, 230 - y], -1)
    land = np.stack([60 + 3 * (x % 7), 110 - y + 20 * turn, 40 + 2 * (y % 5)], -1)
    out = np.where((y > hill)[..., None], land, sky)
    out += ((x * 7919 + y * 104729 + x * y * 31 + turn) % 13 - 6)[..., None]
    out[(y - 8) ** 2 + (x - 22 + 5 * turn) ** 2 < 20] = (250, 240, 120 + 30 * turn)
    return np.clip(out, 0, 255).astype(np.uint8)


def grey(shown: Picture) -> Picture:
    """The same, its green everywhere."""
    return np.repeat(shown[..., 1:2], 3, axis=2)


def golden_files(model: CodecModel) -> dict[str, bytes]:
    """One of every kind, by name."""

    def code(shown: Picture, **options: Any) -> bytes:
        return ddpmcodec.encode(shown, model=model, **options)

    small = picture(32, 32)
    plain = code(small, plan_steps=10)
    return {
        "plain": plain,
        "default": code(small),
        "ended": ddpmcodec.truncate(plain, steps=3, model=model),
        "cut": plain[: len(plain) * 3 // 5],
        "one-pixel": code(picture(1, 1), plan_steps=8),
        "odd": code(picture(33, 41), plan_steps=8, steps=5, channel="trellis:8", seed=2026),
        "random-coding": code(small, plan_steps=8, steps=4, channel="orc:10", seed=(1 << 64) - 1),
        "large": code(picture(60, 70), plan_steps=8, steps=3),
        # Windows move apart at a log-SNR of -1: the second steps of these go there, and just short of it.
        "windows-apart": code(picture(33, 56), plan_steps=22, steps=4),
        "windows-close": code(picture(33, 56), plan_steps=23, steps=4),
        "short-step": code(small, plan_steps=10, target_bytes=150),
        "no-short-step": without_short_step(plain, model),
        "lossless": code(small, plan_steps=10, lossless=True),
        "lossless-odd": code(picture(5, 7), plan_steps=6, lossless=True, steps=2),
        "lossless-learning": code(picture(67, 81), plan_steps=8, lossless=True, steps=6),
        "grey-learning": code(grey(picture(66, 70)), plan_steps=8, lossless=True, steps=5),
        "grey": code(grey(small), plan_steps=10, steps=6),
        "grey-odd": code(grey(picture(33, 41)), plan_steps=8, target_bytes=90),
        "grey-lossless": code(grey(picture(18, 23)), plan_steps=10, lossless=True),
        "fields": code(small, plan_steps=10, steps=2, fields={FILE_NAME: b"hill.png", 99: bytes(200)}),
        "archive-grey": ddpmcodec.encode_archive(
            [grey(picture(9, 8, t)) for t in range(2)], model=model, plan_steps=6, steps=2
        ),
        "archive-mixed": ddpmcodec.encode_archive(
            [picture(12, 9), grey(picture(12, 9)), picture(12, 9, 1)], model=model, plan_steps=6, steps=5
        ),
        "archive-fields": ddpmcodec.pack_archive(
            [
                code(picture(20, 24, turn), plan_steps=6, steps=2, fields={ICC_PROFILE: b"shared"} | own)
                for turn, own in enumerate(({FILE_NAME: b"a.png"}, {}, {FILE_NAME: b"c.png", FRAME: b"\x02"}))
            ]
        ),
        "archive": ddpmcodec.encode_archive(
            [picture(20, 24, turn) for turn in range(3)], model=model, plan_steps=6, steps=3
        ),
        "archive-lossless": ddpmcodec.encode_archive(
            [picture(9, 8, t) for t in range(2)], model=model, plan_steps=6, lossless=True
        ),
        # Blocks of three and of two pictures; of two and of one.
        "archive-solid": ddpmcodec.encode_archive(
            [picture(20, 24), grey(picture(20, 24)), *(picture(20, 24, turn) for turn in range(1, 4))],
            model=model,
            plan_steps=10,
            steps=4,
            solid=3,
        ),
        "archive-solid-lossless": ddpmcodec.encode_archive(
            [picture(9, 8, t) for t in range(3)], model=model, plan_steps=6, lossless=True, solid=2
        ),
    }


def without_short_step(data: bytes, model: CodecModel) -> bytes:
    """The stream of its first two steps as a coder that looked for a short one, and found none, may leave it."""
    info = ddpmcodec.read_info(data, model)
    header = replace(info.header, short=True)
    writer = writer_of(header, model)
    for packet in info.packets[:2]:
        writer.write(packet)
    writer.end()
    return finish(header, writer)


def pictures_of(data: bytes, model: CodecModel) -> list[Picture]:
    """What a file decodes to."""
    try:
        archive = ddpmcodec.read_archive(data)
    except DdpmCodecError:
        return [ddpmcodec.decode(data, model=model, allow_partial=True)]
    return [item.image for item in ddpmcodec.decode_archive(archive.data, model=model)]


def integers(names: Sequence[str], folder: Path, model: Path) -> dict[str, Any]:
    """Hashes by the tests' own parser, which is no part of the package: in a process of its own."""
    command = [
        sys.executable,
        str(TESTS / "tools" / "format_parser.py"),
        str(model),
        *(str(folder / f"{name}.bin") for name in names),
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


def model_path(folder: Path) -> Path:
    """Where the model of a folder's files lies: in its models/, or embedded. Raises DdpmCodecError."""
    embedded, summary = find_model("cifar10-small"), folder / "golden.json"
    if not summary.exists():
        return embedded
    wanted = json.loads(summary.read_text())["model"]
    for path in (embedded, *sorted((folder / "models").glob("*.safetensors"))):
        if read_model_info(path).fingerprint == wanted:
            return path
    raise DdpmCodecError(f"model {wanted[:8]} of the golden files is gone: put its file into {folder / 'models'}")


def make(folder: Path, say: Callable[[str], None], new: bool = False) -> None:
    """Writes files, pictures and golden.json. Raises DdpmCodecError where that would change a version's files."""
    torch.set_num_threads(1)
    path_of_model, summary = model_path(folder), folder / "golden.json"
    model = load_model(path_of_model)
    before: dict[str, Any] = json.loads(summary.read_text()) if summary.exists() else {"version": 0, "files": {}}
    files = golden_files(model)
    kept = set(before["files"]) if new else set[str]()
    files |= {name: (folder / f"{name}.bin").read_bytes() for name in kept}
    with tempfile.TemporaryDirectory() as temporary:
        for name, data in files.items():
            (Path(temporary) / f"{name}.bin").write_bytes(data)
        found = integers(list(files), Path(temporary), path_of_model)
    values: dict[str, Any] = {
        "version": VERSION,
        "model": model.fingerprint,
        "tail_weights": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "tail_rates": hashlib.sha256(RATES.read_bytes()).hexdigest(),
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "integers": found[f"{name}.bin"]}
            for name, data in files.items()
        },
    }
    changed = [name for name, found in before["files"].items() if values["files"].get(name) != found]
    changed += [key for key in ("model", "tail_weights", "tail_rates") if before.get(key, values[key]) != values[key]]
    if before["version"] == VERSION and changed:
        raise DdpmCodecError(
            f"files of format version {VERSION} would change ({', '.join(changed)}): a decoder that is out there could "
            "not read them; raise VERSION in ddpmcodec/bitstream/header.py"
        )
    for path in (*folder.glob("*.bin"), *folder.glob("*.png")) if not new else ():
        path.unlink()
    for name, data in files.items():
        if name in kept:
            continue
        write_whole(folder / f"{name}.bin", data)
        shown = pictures_of(data, model)
        for i, image in enumerate(shown):
            path = folder / (f"{name}.png" if len(shown) == 1 else f"{name}-{i}.png")
            Image.fromarray(image).save(path, optimize=True)
        say(f"{name}: {len(data)} bytes, {len(shown)} picture{'s' * (len(shown) > 1)}")
    write_whole(summary, (json.dumps(values, indent=1) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new", action="store_true", help="make only files that are not there yet")
    parser.add_argument("-o", "--output", type=Path, default=TESTS / "golden", help="default: tests/golden")
    args = parser.parse_args(arguments)
    os.makedirs(args.output, exist_ok=True)
    try:
        make(args.output, print, args.new)
    except DdpmCodecError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
