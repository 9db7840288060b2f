"""A run's directory: its log, its model file, and what is said where they can't be read or written."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ddpmcodec.errors import TrainingError
from ddpmcodec.training import report
from ddpmcodec.training.report import LOG, PLOT, Reporter, plot_losses, read_log, rewrite_log
from tests.training.test_training import trainer


def test_a_log_that_can_t_be_read_is_an_error_and_one_that_isn_t_there_is_empty(tmp_path: Path):
    assert read_log(tmp_path, 10) == []
    (tmp_path / LOG).mkdir()
    with pytest.raises(TrainingError, match=rf"can't read .*{LOG}: Is a directory"):
        read_log(tmp_path, 10)


def test_a_log_that_can_t_be_written_is_an_error(tmp_path: Path):
    with pytest.raises(TrainingError, match=rf"can't write .*none.*{LOG}: No such file"):
        rewrite_log(tmp_path / "none", [])


def test_a_plot_needs_matplotlib_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(TrainingError, match=r"matplotlib is not installed \(pip install 'ddpmcodec\[train\]'\)"):
        plot_losses(tmp_path)


def test_nothing_is_drawn_of_an_empty_log(tmp_path: Path):
    pytest.importorskip("matplotlib")
    plot_losses(tmp_path)
    assert not (tmp_path / PLOT).exists()


def test_a_model_that_can_t_be_written_ends_the_run_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reporter = Reporter(tmp_path, trainer(), "noise")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "save_model", full)
    with pytest.raises(TrainingError, match=f"can't write to {tmp_path}: No space left on device"):
        reporter.save(draw=False)
    assert reporter.trainer.best is None


def test_only_the_first_process_touches_the_directory(tmp_path: Path):
    later = SimpleNamespace(where=SimpleNamespace(first=False), step=0)
    Reporter(tmp_path, later, "noise")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
