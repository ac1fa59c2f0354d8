"""One live progress bar for a whole sweep, whatever runs where (rich)."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lepton_ref.cloud.sweeps.runs import Outcome
from lepton_ref.cloud.sweeps.state import State

#: Seconds between two lines where there is no terminal to draw a bar on.
LINE_EVERY = 30.0


class Bar:
    """Done, running, failed, retried, time left and estimated cost.

    Parameters
    ----------
    console : rich.console.Console
        On a terminal a bar that moves; elsewhere (a log) a line now and then.
    title : str
    cost_per_second : float, optional
        What one second of one run costs, in ``currency``.
    currency : str
    """

    def __init__(
        self,
        console: Console,
        title: str,
        cost_per_second: float | None = None,
        currency: str = "USD",
    ) -> None:
        self.console, self.title = console, title
        self.cost_per_second, self.currency = cost_per_second, currency
        self._progress: Progress | None = None
        self._task: Any = None
        self._began = self._line_due = time.monotonic()
        self._before = 0

    def begin(self, total: int, done: int) -> None:
        """Show the bar; nothing when all is done already."""
        self._began = self._line_due = time.monotonic()
        self._before = done
        if done >= total or not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            console=self.console,
        )
        self._task = self._progress.add_task(self.title, total=total, completed=done, words="")
        self._progress.start()

    def update(self, state: State) -> None:
        """Draw how the sweep stands."""
        words = self.words(state)
        if self._progress is not None:
            self._progress.update(
                self._task, total=state.total, completed=state.done, words=words
            )
        elif time.monotonic() >= self._line_due and state.done > self._before:
            self._line_due = time.monotonic() + LINE_EVERY
            self.console.print(f"{self.title}: {state.done}/{state.total} {words}", highlight=False)

    def words(self, state: State) -> str:
        """What stands beside the bar."""
        parts = [f"{state.running} running"]
        if state.failed:
            parts.append(f"{state.failed} failed")
        if state.retried:
            parts.append(f"{state.retried} retried")
        new, seconds = state.done - self._before, time.monotonic() - self._began
        if new > 0 and state.total > state.done:
            left = seconds / new * (state.total - state.done)
            parts.append(f"{shown(left)} left")
        if self.cost_per_second is not None:
            parts.append(f"about {state.busy_seconds * self.cost_per_second:.2f} {self.currency}")
        if state.notice:
            parts.append(state.notice)
        return " · ".join(parts)

    def note(self, outcome: Outcome, again: bool) -> None:
        """A line above the bar for an attempt that failed."""
        error = outcome.error or {}
        first = str(error.get("value", "")).partition("\n")[0][:200]
        cell = f" in cell {error['cell']}" if error.get("cell") else ""
        name = error.get("name", outcome.status)
        what = f"{outcome.id[:8]} {given(outcome)}: {name}{cell}: {first}"
        self.console.print(
            f"[yellow]{'again' if again else 'failed'}[/] {escape(what)}", highlight=False
        )

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def given(outcome: Outcome) -> str:
    """The parameters of a run in a line."""
    shown_parameters = ", ".join(f"{k}={v}" for k, v in outcome.parameters.items())
    return shown_parameters[:120] or "(defaults)"


def shown(seconds: float) -> str:
    """``1 h 05 min``, ``3 min 20 s``, ``12 s``."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
