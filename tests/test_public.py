"""What is public: one list of it, and everything that docs/python.md names is on it."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import ddpmcodec
from ddpmcodec._lazy import found
from ddpmcodec.codec.options import EncodeOptions, Options

ROOT = Path(__file__).parents[1]


def test_every_public_name_can_be_imported_and_says_what_it_is():
    assert len(set(ddpmcodec.__all__)) == len(ddpmcodec.__all__)
    for name in ddpmcodec.__all__:
        value = getattr(ddpmcodec, name)
        assert name == "__version__" or (value.__doc__ and not value.__doc__.startswith(f"{name}(")), name


def test_the_names_of_the_page_on_python_are_public():
    page = (ROOT / "docs" / "python.md").read_text()
    named = set(re.findall(r"ddpmcodec\.([A-Za-z_]+)", page)) | set(
        re.findall(r"`([a-z]+_[a-z_]+|[A-Z][A-Za-z]+)`", page)
    )
    assert {"encode", "decode", "encode_stream", "Sender", "Receiver", "TruncatedStreamError"} <= named
    modules_and_attributes = {
        "models",
        "training",
        "codec",
        "pillow",
        "register_ddpmcodec",
        "save_all",
        "append_images",
    } | {"LOAD_TRUNCATED_IMAGES", "OSError", "__all__", "intact_steps", "intact_pictures", "ValueError", "TypeError"}
    assert named - modules_and_attributes <= set(ddpmcodec.__all__)


def test_options_have_one_list():
    typed, defaulted = EncodeOptions.__annotations__, Options.__dataclass_fields__
    assert list(typed) == list(defaulted)
    assert get_type_hints(Options) == get_type_hints(EncodeOptions)
    for function in (ddpmcodec.encode, ddpmcodec.encode_stream, ddpmcodec.encode_batch, ddpmcodec.encode_archive):
        parameters = inspect.signature(function).parameters
        assert "options" in parameters
        assert not set(parameters) & set(typed)


def test_an_unknown_option_is_a_type_error(picture):
    with pytest.raises(TypeError, match="target_size"):
        ddpmcodec.encode(picture, target_size=100)


def test_the_package_is_a_program():
    said = subprocess.run([sys.executable, "-m", "ddpmcodec", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[0] == f"ddpmcodec {ddpmcodec.__version__}"


def test_a_name_that_isn_t_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ddpmcodec.nothing  # noqa: B018
    assert ddpmcodec.bitstream.header.Header is ddpmcodec.Header
    assert set(ddpmcodec.__all__) <= set(dir(ddpmcodec))


def test_the_package_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["ddpmcodec", "--version"])
    monkeypatch.delitem(sys.modules, "ddpmcodec.__main__", raising=False)
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("ddpmcodec.__main__")
    assert not caught.value.code
    assert capsys.readouterr().out.startswith(f"ddpmcodec {ddpmcodec.__version__}")


def test_a_name_that_no_module_has_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'ddpmcodec' has no attribute 'decide'"):
        ddpmcodec.decide  # noqa: B018
    with pytest.raises(AttributeError, match="module 'ddpmcodec' has no attribute 'decide'"):
        found("decide", ["errors", "models"], {"__name__": "ddpmcodec"})


def test_a_module_that_lacks_its_library_says_which(monkeypatch: pytest.MonkeyPatch):
    """And not that there is no such module."""
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "ddpmcodec.ray", raising=False)
    monkeypatch.delitem(vars(ddpmcodec), "ray", raising=False)
    with pytest.raises(ModuleNotFoundError, match="ray") as caught:
        ddpmcodec.ray  # noqa: B018
    assert caught.value.name == "ray"
