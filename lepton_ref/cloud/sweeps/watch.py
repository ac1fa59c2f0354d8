"""Watching over one run: its time, its output, its reported values, and orders to stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from lepton_ref.cloud.sweeps.notebooks import REPORT
from lepton_ref.cloud.sweeps.runs import (
    PRUNED,
    SYSTEM_FAULT,
    TIMED_OUT,
    TOO_MUCH_OUTPUT,
    Limits,
)
from lepton_ref.cloud.sweeps.storage import Store

#: Seconds between asking a kernel to stop and ending its process group.
GRACE = 5.0
#: The same for SIGTERM, after which a training run writes its checkpoint.
CHECKPOINT_GRACE = 20.0


class Watch:
    """Ends a run that takes too long, prints too much or was told to stop.

    Attributes
    ----------
    reason : tuple of (str, str) or None
        Status and message, once the run was stopped.
    notebook : NotebookNode or None
        The notebook as far as it was executed.
    """

    def __init__(self, limits: Limits, run: str, channel: Store | None) -> None:
        self.limits, self.run, self.channel = limits, run, channel
        self.reason: tuple[str, str] | None = None
        self.notebook: Any = None
        self.reports: list[dict[str, Any]] = []
        self._printed = 0
        self._timed = False
        self._manager: Any = None
        self._timers: list[threading.Timer] = []

    def begin(self, manager: Any) -> None:
        """The kernel of ``manager`` is about to start."""
        self._manager = manager

    def first_cell(self) -> None:
        """The notebook begins, unless it has begun already: its time runs from here."""
        if self.limits.timeout and not self._timed:
            self._timed = True
            message = f"the notebook took longer than {self.limits.timeout:g} s"
            self._later(self.limits.timeout, lambda: self.stop(TIMED_OUT, message))

    def end(self) -> None:
        """The run is over; nothing is stopped any more."""
        for timer in self._timers:
            timer.cancel()
        self._manager = None

    def stop(self, status: str, message: str, signum: int = signal.SIGINT) -> None:
        """Ask the kernel to stop; end its whole process group when it does not."""
        if self.reason is None:
            self.reason = (status, message)
        self._signal(signum)
        grace = CHECKPOINT_GRACE if signum == signal.SIGTERM else GRACE
        self._later(grace, lambda: self._signal(signal.SIGKILL))

    def preempted(self, signum: int = signal.SIGTERM, frame: Any = None) -> None:
        """Handler of SIGTERM: the machine goes; pass it on, so that training is saved."""
        self.stop(SYSTEM_FAULT, "the worker was told to end (SIGTERM)", signal.SIGTERM)

    def _signal(self, signum: int) -> None:
        provisioner = getattr(self._manager, "provisioner", None)
        pid = getattr(provisioner, "pid", None)
        if pid:
            try:
                os.killpg(pid, signum)
            except (ProcessLookupError, PermissionError):
                pass

    def _later(self, seconds: float, act: Any) -> None:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    # --- what the kernel says

    def admits(self, message: Mapping[str, Any]) -> bool:
        """Whether an output enters the notebook; reports and floods do not."""
        content = message["content"]
        data = content.get("data", {})
        if REPORT in data:
            self._reported(data[REPORT])
            return False
        size = len(content.get("text", "")) + sum(len(str(value)) for value in data.values())
        self._printed += size
        if self._printed <= self.limits.output_bytes:
            return True
        if self.reason is None:
            limit = self.limits.output_bytes / 1e6
            self.stop(
                TOO_MUCH_OUTPUT,
                f"the notebook's outputs passed {limit:g} MB; what came after is not kept "
                "(limits: output_mb)",
            )
        return False

    def _reported(self, report: dict[str, Any]) -> None:
        self.reports.append(report)
        if self.channel is None:
            return
        self.channel.write_json(f"reports/{self.run}.json", self.reports)
        if self.channel.exists(f"stop/{self.run}"):
            self.stop(PRUNED, f"others do better at step {report['step']}")
