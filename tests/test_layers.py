"""Imports go down only: the floors of the house, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    ("errors", "_lazy", "_version"),
    ("numerics", "io"),
    ("diffusion",),
    ("models",),
    ("channel",),
    ("bitstream",),
    ("lossless",),
    ("codec", "training"),
    ("page", "many"),
    ("",),  # `ddpmcodec` itself: what is public
    ("pillow", "ray"),
    ("eval",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {package: i for i, floor in enumerate(FLOORS) for package in floor}
SOURCES = [p for folder in ("ddpmcodec", "eval", "cli") for p in sorted((ROOT / folder).rglob("*.py"))]


def package_of(path: Path) -> str:
    first, *rest = path.relative_to(ROOT).with_suffix("").parts
    return first if first != "ddpmcodec" else "" if rest == ["__init__"] else rest[0]


def imported_packages(path: Path) -> set[str]:
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            modules += inside if node.module == "ddpmcodec" else [node.module or ""]
    own = [m.split(".")[1:] for m in modules if m.split(".")[0] == "ddpmcodec"]
    return {parts[0] if parts and parts[0] in FLOOR_OF else "" for parts in own}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_from_its_own_package_and_from_lower_floors(path: Path):
    package = package_of(path)
    for other in imported_packages(path) - {package}:
        assert FLOOR_OF[other] < FLOOR_OF[package], f"{path.relative_to(ROOT)} reaches up into {other or 'ddpmcodec'}"


def test_every_package_has_its_floor():
    folders = {p.name for p in (ROOT / "ddpmcodec").iterdir() if (p / "__init__.py").exists()}
    assert folders <= set(FLOOR_OF)
