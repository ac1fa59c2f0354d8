"""What a backend is: a place that executes tasks, several at a time."""

from __future__ import annotations

from typing import Protocol

from lepton_ref.cloud.sweeps.runs import Outcome, Task


class Backend(Protocol):
    """Executes attempts; knows nothing of budgets, searches or tables.

    The driver submits at most :meth:`capacity` attempts that have not come back.
    """

    name: str

    def start(self) -> None:
        """Open the workers. Raises `BackendError` with the reason, within 15 s, if that fails."""

    def capacity(self) -> int:
        """How many attempts to keep submitted: enough to keep every slot busy."""

    def running(self) -> int:
        """How many of the submitted attempts execute now, as far as that is known."""

    def submit(self, task: Task) -> None:
        """Queue one attempt; returns at once."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Attempts that have ended, at least one if any does within ``timeout`` seconds.

        A worker, node or kernel that was lost comes back as an outcome with status
        ``system_fault``; nothing submitted is ever forgotten.
        """

    def close(self, grace: float = 10.0) -> list[Outcome]:
        """End the workers: SIGTERM, ``grace`` seconds for checkpoints, SIGKILL.

        Returns what still came back.
        """


class BackendError(RuntimeError):
    """A backend that cannot start: not installed, no answer at the address, no room."""
