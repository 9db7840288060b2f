"""What a release is made of: every package and data file is named, and the files for elsewhere can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddpmcodec._version import __version__

ROOT = Path(__file__).parents[1]
tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")))


def test_every_package_is_in_the_wheel(project: dict[str, Any]):
    setuptools = project["tool"]["setuptools"]
    places = setuptools["package-dir"]
    found = set()
    for top, folder in places.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([top, *init.parent.relative_to(ROOT / folder).parts]))
    assert found == set(setuptools["packages"])


def test_every_data_file_is_in_the_wheel(project: dict[str, Any]):
    named = project["tool"]["setuptools"]["package-data"]
    kept = {
        path
        for package, patterns in named.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    others = {p for p in (ROOT / "ddpmcodec").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    code = {".py", ".c", ".h", ".so", ".pyd"}
    assert {p for p in others if p.suffix not in code} == kept


def test_who_cites_it_finds_what_to_write():
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert said["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= said.keys()
    assert said.get("version", __version__) == __version__


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_can_be_read(path: Path):
    for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
        assert job["steps"][0]["uses"].startswith("actions/checkout@")


def test_a_release_s_wheels_are_for_every_python(project: dict[str, Any]):
    wheels = project["tool"]["cibuildwheel"]
    assert wheels["build"] == f"cp{project['project']['requires-python'].removeprefix('>=').replace('.', '')}-*"
