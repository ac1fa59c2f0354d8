"""How a sweep stands, what it came to, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lepton_ref.cloud.sweeps.runs import BELOW_BOUNDS, COMPLETE, Outcome


class Listener(Protocol):
    """What wants to know how a sweep goes (the progress bar)."""

    def begin(self, total: int, done: int) -> None:
        """The sweep starts; ``done`` of its runs were there already."""

    def update(self, state: State) -> None:
        """Something changed, or a moment passed."""

    def note(self, outcome: Outcome, again: bool) -> None:
        """An attempt failed; ``again`` tells whether the run is tried again."""

    def end(self) -> None:
        """The sweep is over."""


@dataclass
class State:
    """How a sweep stands.

    Attributes
    ----------
    total, done, running, failed, retried : int
    busy_seconds : float
        Summed over attempts that ended.
    executed : int
        Attempts that ended in this process.
    notice : str
        What the backend has to say, such as that no node can take a run.
    """

    total: int
    done: int = 0
    running: int = 0
    failed: int = 0
    retried: int = 0
    busy_seconds: float = 0.0
    executed: int = 0
    notice: str = ""


@dataclass
class SweepResult:
    """What a sweep came to.

    Attributes
    ----------
    outcomes : dict of str to Outcome
        By run, in the order of the sweep; also of runs that were done before.
    attempts : dict of str to int
    state : State
    interrupted : int
        The signal that ended the sweep early; 0 when it came to its end.
    earlier : int
        Complete runs in the store that this sweep does not ask for.
    missing : int
        Runs without an outcome (after an interruption).
    """

    outcomes: dict[str, Outcome]
    attempts: dict[str, int]
    state: State
    interrupted: int = 0
    earlier: int = 0
    missing: int = 0

    def failures(self, below_bounds: bool = True) -> list[Outcome]:
        """Runs that did not finish; with ``below_bounds`` also those below a bound."""
        fine = COMPLETE - ({BELOW_BOUNDS} if below_bounds else set())
        return [o for o in self.outcomes.values() if o.status not in fine]


class Silent:
    """A listener that keeps it to itself."""

    def begin(self, total: int, done: int) -> None: ...

    def update(self, state: State) -> None: ...

    def note(self, outcome: Outcome, again: bool) -> None: ...

    def end(self) -> None: ...
