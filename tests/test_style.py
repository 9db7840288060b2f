"""The source reads as it was agreed: docstrings begin with a verb or noun, and a module fits in the head."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for folder in ("ddpmcodec", "cli", "eval") for path in (ROOT / folder).rglob("*.py"))
LINES = 250  # of a module

_FIRST = re.compile(r"(The|A|An|Of)\b")


def public_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of the docstrings of a module, of what is public in it, and of what is public in that."""
    waiting: list[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = [tree]
    for node in waiting:
        if (text := ast.get_docstring(node)) is not None:
            yield node.body[0].lineno, text
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            named = (n for n in node.body if isinstance(n, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)))
            waiting += [n for n in named if not n.name.startswith("_") or n.name.endswith("__")]


def wrong_starts(source: str) -> list[tuple[int, str]]:
    return [(line, text[:40]) for line, text in public_docstrings(ast.parse(source)) if _FIRST.match(text)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_reads_well(path: Path):
    source = path.read_text()
    assert not wrong_starts(source), "docstrings begin with a verb or a noun: Return the …"
    assert len(source.splitlines()) <= LINES, "a module is one idea: split it"
    with path.open("rb") as file:
        comments = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    texts = [text for _, text in public_docstrings(ast.parse(source))] + comments
    assert not [text for text in texts if re.search(r"\bso many\b", text)], "say how many: as many as …, `count`"


@pytest.mark.parametrize("start", ["The", "A", "An", "Of"])
@pytest.mark.parametrize("place", ["{}", "def f():\n    {}", "class C:\n    def f(self):\n        {}"])
def test_articles_are_noticed(start: str, place: str):
    assert wrong_starts(place.format(f'"""{start} bits."""'))


@pytest.mark.parametrize("source", ['"""Articles."""', '"""Often."""', 'def _f():\n    """The bits."""', "x = 1"])
def test_other_words_and_private_helpers_pass(source: str):
    assert not wrong_starts(source)
