from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ddpmcodec.models import precision
from ddpmcodec.models.precision import full_precision

CPU = torch.device("cpu")


def test_a_switch_that_fails_half_way_leaves_the_caller_s_settings(monkeypatch: pytest.MonkeyPatch):
    settings = {"first": "caller's", "second": "caller's"}

    def switch_off() -> None:
        settings["first"] = "ours"
        precision._undo.append(lambda: settings.update(first="caller's"))
        raise RuntimeError("the second can't be set")

    monkeypatch.setattr(precision, "_switch_off", switch_off)
    with pytest.raises(RuntimeError, match="the second"), full_precision(CPU):
        pass
    assert settings == {"first": "caller's", "second": "caller's"}
    assert (precision._inside, precision._undo) == (0, [])


def test_what_can_t_be_undone_doesn_t_keep_the_rest_from_it(monkeypatch: pytest.MonkeyPatch):
    settings = {"first": "caller's"}

    def fail() -> None:
        raise RuntimeError("can't be put back")

    def switch_off() -> None:
        settings["first"] = "ours"
        precision._undo.append(lambda: settings.update(first="caller's"))
        precision._undo.append(fail)

    monkeypatch.setattr(precision, "_switch_off", switch_off)
    with pytest.raises(RuntimeError, match="can't be put back"), full_precision(CPU):
        assert settings["first"] == "ours"
    assert settings["first"] == "caller's"
    assert (precision._inside, precision._undo) == (0, [])


def test_a_device_without_autocast_is_computed_on_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def none(kind: str, enabled: bool) -> None:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{kind}'")

    monkeypatch.setattr(torch, "autocast", none)
    with full_precision(CPU):
        assert precision._inside == 1
    assert precision._inside == 0


@pytest.fixture
def tf32(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for cuDNN, and a torch older than 2.9 that was built for GPUs."""
    found = SimpleNamespace(allow_tf32=True)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends, "cudnn", found)
    for verb in ("get", "set"):
        monkeypatch.delattr(torch._C, f"_{verb}_fp32_precision_{verb}ter", raising=False)
    return found


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_of_convolutions_is_off_inside_and_as_it_was_outside(tf32: SimpleNamespace, allowed: bool):
    tf32.allow_tf32 = allowed
    with full_precision(CPU):
        assert tf32.allow_tf32 is False
        with full_precision(CPU):
            pass
        assert tf32.allow_tf32 is False
    assert tf32.allow_tf32 is allowed


def test_a_caller_of_the_newer_settings_is_left_in_peace(tf32: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    """torch raises where old and new settings were mixed."""

    class Mixed:
        @property
        def allow_tf32(self) -> bool:
            raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch.backends, "cudnn", Mixed())
    with full_precision(CPU):
        assert precision._undo == []
