"""The README and docs keep their word: Python blocks run, shell blocks are commands that the programs take."""

from __future__ import annotations

import argparse
import glob
import importlib
import re
import shlex
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import ddpmcodec
from ddpmcodec.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# How many leading blocks of a page are run, too: they need no GPU, no network and no hours.
RUN = {"README.md": 3, "cli.md": 8, "progressive.md": 2}
WORDS_OF_THE_README = 900
COLUMNS = 100  # of prose; tables and code may be longer


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
            found.append(Block(page, text[: match.start()].count("\n") + 1, match[1], match[2]))
    return [block for block in found if block.language == language]


class Zero(torch.nn.Module):
    def forward(self, x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        return x_t * torch.sigmoid(-log_snr / 2).reshape(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def namespace(picture: NDArray[np.uint8]) -> dict[str, Any]:
    """What the blocks may take for granted; they run in the order of their page."""
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    data = ddpmcodec.encode(picture, plan_steps=20)
    return {"ddpmcodec": ddpmcodec, "image": picture, "data": data, "network": Zero(), "training_images": images}


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_run(
    block: Block,
    namespace: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), namespace)


def test_the_program_with_a_socket(picture: NDArray[np.uint8]):
    (block,) = (b for b in blocks("python") if "socket" in b.text)
    programs: dict[str, Any] = {"ddpmcodec": ddpmcodec}
    exec(compile(block.text, str(block), "exec"), programs)
    here, there = socket.socketpair()
    seen: list[NDArray[np.uint8]] = []

    def send() -> None:
        with here:
            programs["send"](here, picture)

    thread = threading.Thread(target=send)
    thread.start()
    with there:
        programs["receive"](there, seen.append)
    thread.join()
    expected = ddpmcodec.decode_progressive(ddpmcodec.encode(picture, plan_steps=20))
    np.testing.assert_array_equal(seen, [item.image for item in expected])


def commands(text: str) -> list[list[list[str]]]:
    """Each command line of a block, as its pipeline's commands in words; comments and shell variables left out."""
    text = re.sub(r"(^|\s)#.*", "", text)
    lines = re.sub(r"\\\n|(?<=&&)\n|(?<=\|)\n", " ", text).splitlines()
    found = []
    for line in lines:
        for part in re.split(r"&&|;", line):
            pipeline = [shlex.split(words) for words in part.split(" | ")]
            stripped = [[w for i, w in enumerate(words) if i or not re.match(r"[A-Z_]+=", w)] for words in pipeline]
            stripped = [words[1:] if words and re.match(r"[A-Z_]+=", words[0]) else words for words in stripped]
            if any(stripped):
                found.append(stripped)
    return found


class ParsedError(Exception):
    pass


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the words are a command of ours; raises where its program doesn't take them."""
    if words[:1] == ["torchrun"]:
        words = ["python", *words[words.index("-m") :]]
    if words[:2] == ["python", "-m"] and words[2] in ("ddpmcodec", "ddpmcodec.cli"):
        words = ["ddpmcodec", *words[3:]]
    if words[:1] == ["ddpmcodec"]:
        group: Any = typer.main.get_command(app)
        if words[1:] in [[option] for parameter in group.params for option in parameter.opts]:
            return True
        context = group.commands[words[1]].make_context(words[1], words[2:])
        if isinstance(context.command, type(group)):  # a group of commands
            context.command.commands[words[2]].make_context(words[2], words[3:])
        return True
    if words[:2] == ["python", "-m"] and words[2].startswith(("ddpmcodec.", "tests.")):
        original = argparse.ArgumentParser.parse_args

        def parse_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            original(self, args, namespace)
            raise ParsedError

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(ParsedError):
            importlib.import_module(words[2]).main(words[3:])
        return True
    return False


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_shell_blocks_are_commands_that_the_programs_take(block: Block, monkeypatch: pytest.MonkeyPatch):
    ours = [parse(words, monkeypatch) for pipeline in commands(block.text) for words in pipeline]
    assert any(ours) or "pytest" in block.text


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= WORDS_OF_THE_README


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_prose_is_narrow(page: Path):
    prose = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), page.read_text(), flags=re.M | re.S)
    lines = enumerate(prose.splitlines(), 1)
    assert not [i for i, line in lines if len(line) > COLUMNS and not line.startswith(("|", "    ", "!["))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        if "://" in name:
            continue
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], target


def test_a_wrong_option_is_noticed(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Exception, match="No such option: --no-such-option"):
        parse(["ddpmcodec", "encode", "a.png", "-o", "b", "--no-such-option"], monkeypatch)
    with pytest.raises(SystemExit):
        parse(["python", "-m", "ddpmcodec.eval.studies.benchmark", "--no-such-option"], monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's first commands run: with a clone's picture, and two more of its size."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "astronaut-32.png", folder / "docs")
    for name, turns in (("one", 1), ("two", 2)):
        Image.open(ROOT / "docs" / "astronaut-32.png").rotate(90 * turns).save(folder / f"{name}.png")
    (folder / "photos").mkdir()
    Image.open(ROOT / "docs" / "astronaut-32.png").resize((8, 8)).save(folder / "photos" / "photo.jpg")
    return folder


def test_the_first_commands_of_a_page_run(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    here = [block for block in blocks("sh") if "s3://" not in block.text]
    shown = [block for page, count in RUN.items() for block in [b for b in here if b.page.name == page][:count]]
    ran = 0
    for block in shown:
        for pipeline in commands(block.text):
            *before, words = pipeline
            if words[0] != "ddpmcodec":
                continue
            piped = subprocess.run(before[0], capture_output=True, check=True).stdout if before else None
            arguments = [name for word in words[1:] for name in (sorted(glob.glob(word)) or [word])]
            result = CliRunner().invoke(app, arguments, input=piped)
            assert result.exit_code == 0, (arguments, result.output)
            ran += 1
    assert ran > 15
    assert (folder / "pictures" / "00000.png").exists()
