from __future__ import annotations

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
