"""Packing of the folder that a day takes along: training, held-out and test pictures, weights, native code, files.

    python -m ddpmcodec.eval.gpu.packing .gpu-day --photos PHOTOS --tiles TRAIN-*.webp --test TEST.webp \\
      --init photo-small=FILE

Pictures are chosen by the day's number until folder and checkout together reach the size that may travel; photographs
and tiles share the room equally where both are given. What is held out from training (`training.held_out`) comes too,
under names of its own. The folder is made anew, but for its wheels (docs/gpu.md says how those are fetched).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.eval.gpu.pictures import INIT, MANIFEST, PHOTOS, PHOTOS_HELD_OUT, STREAMS, TEST, TILES, TILES_HELD_OUT
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.eval.studies.determinism import pictures
from ddpmcodec.io.datasets import load_tiles, named_pictures
from ddpmcodec.models import load_model
from ddpmcodec.training.held_out import is_held_out

_MIB = 1 << 20
_SIDE = 32  # the tiles'
_HELD_OUT_SIDE = 128  # the middles' of held-out photographs, which is all that is looked at
_CHUNK, _COLUMNS = 2500, 50  # tiles of a mosaic
_ONE_TILE_IN = 256


def checkout_bytes(root: Path) -> int:
    """Return the bytes of the files that git tracks, or would: they travel, too. 0 outside a checkout."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    return sum(p.stat().st_size for n in listed.stdout.split("\0") if n and (p := root / n).is_file())


def pack_photos(folder: Path, photos: Path, room: int, day: int, before: Sequence[Path] = ()) -> dict[str, int]:
    """Pack photographs as they are into an archive of at most `room` bytes; the middles of all held-out ones into
    another. before: folders of earlier calls, whose photographs the machine has already.
    """
    brought = {n for earlier in before for a in earlier.glob(PHOTOS.format("*")) for n in zipfile.ZipFile(a).namelist()}
    files = sorted(p for p in photos.iterdir() if p.suffix == ".webp" and p.name not in brought)
    held = [p for p in files if is_held_out(p.name)]
    with zipfile.ZipFile(folder / PHOTOS_HELD_OUT, "w") as archive:
        for file, picture in named_pictures(photos):
            if file in held:
                top, left = ((s - _HELD_OUT_SIDE) // 2 for s in picture.shape[:2])
                archive.writestr(
                    file.name, _webp(picture[max(top, 0) :, max(left, 0) :][:_HELD_OUT_SIDE, :_HELD_OUT_SIDE])
                )
    room -= (folder / PHOTOS_HELD_OUT).stat().st_size
    taken: list[Path] = []
    for file in sorted(set(files) - set(held), key=lambda p: hashlib.sha1(f"{day}/{p.name}".encode()).digest()):
        size = file.stat().st_size + 2 * len(file.name) + 128  # its entries in the archive
        if size <= room:
            taken.append(file)
            room -= size
    with zipfile.ZipFile(folder / PHOTOS.format(len(before)), "w") as archive:
        for file in sorted(taken):
            archive.write(file, file.name)
    rest = len(files) - len(held)
    return {"photos": len(taken), "photos_before": len(brought), "photos_of": rest, "photos_held_out": len(held)}


def pack_tiles(folder: Path, mosaics: Sequence[Path], room: int, day: int) -> dict[str, int]:
    """Pack training tiles into mosaics of at most `room` bytes together, and all held-out ones into one."""
    training, held = [], []
    for mosaic in mosaics:
        tiles = load_tiles(mosaic, None, _SIDE)
        out = np.array([is_held_out(str(i), _ONE_TILE_IN) for i in range(len(tiles))])
        training.append(tiles[~out])
        held.append(tiles[out])
    held_out = np.concatenate(held)
    (folder / TILES_HELD_OUT).write_bytes(_mosaic(held_out))
    room -= (folder / TILES_HELD_OUT).stat().st_size
    whole = np.concatenate(training)
    order = np.random.Generator(np.random.Philox(day)).permutation(len(whole))
    taken = 0
    for i, first in enumerate(range(0, len(order), _CHUNK)):
        data = _mosaic(whole[order[first : first + _CHUNK]])
        if len(data) > room:
            break
        (folder / TILES.format(i)).write_bytes(data)
        room -= len(data)
        taken += _CHUNK
    return {"tiles": min(taken, len(whole)), "tiles_of": len(whole), "tiles_held_out": len(held_out)}


def pack_test(folder: Path, mosaic: Path, count: int) -> dict[str, int]:
    """Pack the first test tiles, with their names."""
    tiles = load_tiles(mosaic, count, _SIDE)
    (folder / TEST).write_bytes(_mosaic(tiles))
    names = mosaic.with_suffix(".names.txt")
    if names.exists():
        lines = names.read_text().split("\n")[: len(tiles)]
        (folder / TEST).with_suffix(".names.txt").write_text("\n".join(lines) + "\n")
    return {"test": len(tiles)}


def pack_native(folder: Path) -> dict[str, int]:
    """Pack native code as it was built here: the same for every Python, and a bare machine may have no compiler."""
    built = sorted(Path(ddpmcodec.__file__).parent.glob("*/_native*.so"))
    for library in built:
        place = folder / "native" / library.parent.name
        place.mkdir(parents=True)
        shutil.copyfile(library, place / library.name)
    return {"native": len(built)}


def pack_streams(folder: Path) -> dict[str, int]:
    """Pack the determinism table's pictures and their files, made on this CPU."""
    (folder / STREAMS).mkdir()
    shown, model = pictures(), load_model()  # the table's, whatever a picture's size would choose
    for i, (picture, options) in enumerate(shown.values()):
        (folder / STREAMS / f"{i}.bin").write_bytes(ddpmcodec.encode(picture, model=model, **options))
        Image.fromarray(picture).save(folder / STREAMS / f"{i}.png")
    return {"streams": len(shown)}


def _mosaic(tiles: NDArray[np.uint8]) -> bytes:
    columns = _COLUMNS if len(tiles) % _COLUMNS == 0 else max(c for c in range(1, 65) if len(tiles) % c == 0)
    rows = tiles.reshape(-1, columns, _SIDE, _SIDE, 3).swapaxes(1, 2)
    return _webp(np.ascontiguousarray(rows.reshape(-1, columns * _SIDE, 3)))


def _webp(picture: NDArray[np.uint8]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "WEBP", lossless=True, exact=True)
    return data.getvalue()


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="ignored by git, inside the checkout")
    parser.add_argument("--photos", type=Path, help="folder of lossless WebP photographs")
    parser.add_argument("--tiles", type=Path, nargs="+", default=[], help="mosaics of 32x32 training pictures")
    parser.add_argument("--test", type=Path, help="mosaic of 32x32 test pictures")
    parser.add_argument("--test-count", type=int, default=1000)
    parser.add_argument(
        "--init", action="append", default=[], metavar="NAME=FILE", help="weights that NAME starts from"
    )
    parser.add_argument("--before", type=Path, nargs="+", default=[], help="folders of this day's earlier calls")
    parser.add_argument("--day", type=int, default=0, help="which pictures are chosen")
    parser.add_argument("--mebibytes", type=float, default=60.0, help="folder and checkout together")
    args = parser.parse_args(arguments)
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name != "wheels":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    (folder / INIT).mkdir()
    for name, _, file in (pair.partition("=") for pair in args.init):
        shutil.copyfile(file, folder / INIT / f"{name}.safetensors")
    found: dict[str, int | float] = {"day": args.day, **pack_native(folder), **pack_streams(folder)}
    if args.test:
        found |= pack_test(folder, args.test, args.test_count)
    checkout = checkout_bytes(Path(__file__).resolve().parents[2])
    room = int(args.mebibytes * _MIB) - checkout - folder_bytes(folder) - (64 << 10)
    if args.photos:
        found |= pack_photos(folder, args.photos, room // 2 if args.tiles else room, args.day, args.before)
    if args.tiles:
        room = int(args.mebibytes * _MIB) - checkout - folder_bytes(folder) - (64 << 10)
        found |= pack_tiles(folder, args.tiles, room, args.day)
    found |= {"folder_mebibytes": folder_bytes(folder) / _MIB, "checkout_mebibytes": checkout / _MIB}
    write_json(folder / MANIFEST, provenance() | found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
