"""Help: docs/cli.md lists what the program takes, shells complete it, and colours can be left out."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ddpmcodec.cli.app import app
from ddpmcodec.cli.reference import MARK, main, reference, with_reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_lists_the_program_s_options():
    page = PAGE.read_text("utf-8")
    assert with_reference(page) == page, "python -m ddpmcodec.cli.reference docs/cli.md"


def test_every_command_and_option_is_listed():
    text, group = reference(), typer.main.get_command(app)
    sections = {part.split("\n")[0]: part for part in text.split("\n### ")[1:]}
    commands = {}
    for name, command in group.commands.items():
        inside = getattr(command, "commands", None)
        commands |= {f"{name} {other}": run for other, run in inside.items()} if inside else {name: command}
    assert sorted(sections) == sorted(commands)
    for name, command in commands.items():
        for parameter in command.params:
            for option in parameter.opts:
                assert not option.startswith("-") or f"`{option}" in sections[name], (name, option)
    assert text.startswith(MARK)


def complete(words: str) -> list[str]:
    """What a shell is told to complete the last of some words with."""
    told = {"_DDPMCODEC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    program = [sys.executable, "-c", "from ddpmcodec.cli.start import program; program()"]
    done = subprocess.run(program, env=os.environ | told, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_shells_complete_commands_options_and_models():
    assert complete("ddpmcodec enc") == ["encode"]
    assert complete("ddpmcodec encode --qual") == ["--quality"]
    assert complete("ddpmcodec encode --model pho") == ["photo-small"]


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are POSIX's")
@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_heeded(environment: dict[str, str], coloured: bool):
    parent, child = pty.openpty()
    told = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "ddpmcodec", "decode", "/no/such.bin", "-o", "x.png"]
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=told | {"TERM": "xterm"} | environment):
        os.close(child)
        said = b""
        try:
            while piece := os.read(parent, 1 << 16):
                said += piece
        except OSError:  # Linux's way to say that the other end is closed
            pass
    os.close(parent)
    assert b"/no/such.bin" in said
    assert bool(re.search(rb"\x1b\[[\d;]*3[0-7]m", said)) == coloured


@pytest.mark.parametrize(("text", "word"), [(None, "No such file"), ("no mark", "expected one where the reference")])
def test_a_page_that_cant_be_written_anew_is_an_error(
    tmp_path: Path, text: str | None, word: str, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "cli.md"
    if text is not None:
        page.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main([str(page)])
    assert stopped.value.code == 2
    assert word in capsys.readouterr().err
    assert text is None or page.read_text() == text
