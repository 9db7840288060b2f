"""Results as files: JSON that says what made it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import ddpmcodec
from ddpmcodec.io.atomic import write_whole

_PACKAGES = (
    *("ddpmcodec", "torch", "numpy", "constriction", "scikit-image"),
    *("Pillow", "imagecodecs", "pillow-heif", "bjontegaard"),
    *("diffusers", "transformers", "accelerate"),
)


def provenance() -> dict[str, Any]:
    """Return what made a result: the command, versions, the commit of a checkout, the machine."""
    return {
        "command": " ".join([_program(), *sys.argv[1:]]),
        "versions": {p: v for p in _PACKAGES if (v := _version(p))} | {"python": platform.python_version()},
        "git_commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _program() -> str:
    """Return how this process was started: `ddpmcodec`, or python -m and a module's name."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is None or spec.name is None:
        return Path(sys.argv[0]).name
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    start = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    return f"{start} -m {spec.name.removesuffix('.__main__')}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the checkout's commit, with + where files other than results differ from it; None outside a checkout."""
    here = Path(ddpmcodec.__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, check=True, text=True
        ).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):
            return None  # an installed package that lies in somebody else's repository
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno", ":(top,exclude)results") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a result as JSON, whole, by rename."""
    write_whole(path, (json.dumps(_rounded(values), indent=1) + "\n").encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float | np.floating) else value
