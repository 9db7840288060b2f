"""Progress bar whose time left is right: steps count by the seconds they are expected to take, not as one each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from ddpmcodec.cli.speech import bar_of, tells_a_terminal


class StepProgress:
    """Account of a chain's steps: what is done, and what is to come.

    seconds: that each step is expected to take; only their proportions matter. last: how many steps there will be, so
    far as is known. last_takes: times its seconds that the last of them takes, which rate control may try several
    times. search: the seconds of them that go with the bits that a step sends.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        last: int | None = None,
        last_takes: float = 1.0,
        search: Sequence[float] | None = None,
    ):
        self.seconds, self.last_takes = list(seconds), last_takes
        self.search = [0.0] * len(self.seconds) if search is None else list(search)
        self.last = len(self.seconds) if last is None else last
        self.n = 0
        self.searched = 1.0  # times the bits expected of them that steps send
        self.spent = 0.0  # seconds that the steps so far are expected to have taken

    def advance(self, last: int | None = None, searched: float = 1.0) -> None:
        """Take note of a step. last: a better estimate of how many there will be. searched: times the bits expected of
        them that steps send, as far as is known.
        """
        self.spent += sum(s + searched * bits for s, bits in self._of(self.n, self.n + 1))
        self.n += 1
        self.searched = searched
        self.last = max(self.n, self.last if last is None else last)

    @property
    def done(self) -> float:
        """Share (0 to 1) of the time that has passed."""
        if self.n >= self.last:
            return 1.0
        to_come = [s + self.searched * bits for s, bits in self._of(self.n, self.last)]
        total = self.spent + sum(to_come) + (self.last_takes - 1) * (to_come[-1] if to_come else 0.0)
        return self.spent / total if total else 1.0

    def _of(self, first: int, end: int) -> list[tuple[float, float]]:
        return list(zip(self.seconds[first:end], self.search[first:end], strict=True))

    def left(self, elapsed: float) -> float | None:
        """Seconds that are left after `elapsed`, None before there is anything to go by."""
        return elapsed * (1 - self.done) / self.done if self.done else None


class _Left(ProgressColumn):
    """Time left by all that has passed, not by the last seconds' speed."""

    def render(self, task: Task) -> Text:
        steps: StepProgress = task.fields["steps"]
        left = steps.left(task.elapsed or 0.0)
        return Text("-:--:--" if left is None else str(timedelta(seconds=round(left))), style="progress.remaining")


def showing(quiet: bool) -> bool:
    """Return whether a bar is seen at all."""
    return not quiet and tells_a_terminal()


@contextmanager
def step_bar(what: str, steps: StepProgress, show: bool) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr, where that is a terminal. The context gives a function to call after each step, with how
    many there will be where that has become clearer, and how its bits were to those expected.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[steps].n} steps"))
    if not showing(not show):
        yield steps.advance
        return
    with bar_of(*columns, TimeElapsedColumn(), _Left()) as bar:
        task = bar.add_task(what, total=1.0, steps=steps)

        def advance(last: int | None = None, searched: float = 1.0) -> None:
            steps.advance(last, searched)
            bar.update(task, completed=steps.done)

        yield advance
