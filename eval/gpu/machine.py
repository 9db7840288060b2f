"""Machine without network or this package, but with torch: runs Python in this checkout there.

    python3 eval/gpu/machine.py FOLDER -m ddpmcodec.eval.studies.gpu_day -o OUT --data FOLDER

Needs the standard library only. Packages that are missing come from FOLDER/wheels. The checkout itself is used as it
lies: `ddpmcodec.cli` and `ddpmcodec.eval`, which an install would put in their places, become links there; native code
comes from FOLDER/native, or is built where there is a compiler. Where the package is installed already nothing is
changed.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def missing_wheels(folder: Path) -> list[Path]:
    """Return the wheels of packages that aren't installed."""
    return [
        w for w in sorted((folder / "wheels").glob("*.whl")) if not _installed(w.name.split("-")[0].replace("_", "-"))
    ]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def install(wheels: Sequence[Path], place: Path) -> None:
    """Unpack wheels into a folder, each as it is. Raises CalledProcessError."""
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", str(place)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *map(str, wheels)], check=True)


def make_importable(root: Path, folder: Path) -> None:
    """Put the packages that lie beside `ddpmcodec` inside it, as links, and native code: brought along, else built."""
    for name in ("cli", "eval"):
        link = root / "ddpmcodec" / name
        if not link.exists():
            link.symlink_to(Path("..") / name)
    brought = sorted((folder / "native").glob("*/*"))  # PACKAGE/FILE
    for library in brought:
        shutil.copyfile(library, root / "ddpmcodec" / library.parent.name / library.name)
    if not brought and (root / "setup.py").exists():
        build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(build, cwd=root, stdout=sys.stderr, timeout=120)  # it is optional


def main(arguments: Sequence[str]) -> None:
    """Take this process's place with Python and the arguments after FOLDER."""
    folder, *command = arguments
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    wheels = missing_wheels(Path(folder))
    if wheels:
        place = Path(tempfile.mkdtemp(prefix="site-"))
        install(wheels, place)
        path.append(str(place))
    if not _installed("ddpmcodec"):
        make_importable(ROOT, Path(folder))
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *command], os.environ | {"PYTHONPATH": os.pathsep.join(path)})


if __name__ == "__main__":
    main(sys.argv[1:])
