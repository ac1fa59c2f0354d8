"""Callbacks: code that looks in on a run between its steps and its epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.recording import report

if TYPE_CHECKING:
    from lepton_ref.framework.training.loop import Run


class Callback:
    """Base of all callbacks; override what you need.

    A callback that remembers something across epochs gives it to the checkpoint through
    :meth:`state` and takes it back through :meth:`load_state`.
    """

    def on_start(self, run: Run) -> None:
        """Before the first step, after a checkpoint (if there is one) was loaded."""

    def on_step(self, run: Run) -> None:
        """After each step; ``run.history.losses[-1]`` is its loss."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch; ``run.history.rows[-1]`` is its row. May call ``run.stop(why)``."""

    def on_end(self, run: Run) -> None:
        """After the last epoch, also when the run was stopped early."""

    def state(self) -> dict[str, np.ndarray]:
        """What the next epoch depends on, as arrays."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what :meth:`state` gave."""


class Report(Callback):
    """Tell a search a column of the history after each epoch (:func:`.evaluation.report`).

    Outside a sweep that searches this does nothing.

    Parameters
    ----------
    monitor : str
        A column of the history: ``"validation_accuracy"``.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_epoch(self, run: Run) -> None:
        row = run.history.rows[-1]
        if self.monitor not in row:
            raise ArgumentError(
                "Report", "monitor", f"the value {self.monitor!r}",
                f"one of {', '.join(row)}" + ("" if run.validated else " (give `validation`)"),
            )  # fmt: skip
        report(self.monitor, row[self.monitor], run.epoch)

    def state(self) -> dict[str, np.ndarray]:
        """Nothing to remember, so a checkpoint may be resumed around it."""
        return {}


class EarlyStopping(Callback):
    """Stop when a validation figure has not improved for some epochs; restore the best weights.

    On a quadratic this is an L2 penalty in disguise (eq. training-early-stopping).

    Parameters
    ----------
    monitor : str
        A column of the history.
    patience : int
        Epochs without improvement before the run stops.
    min_delta : float
        By how much a figure must improve to count.
    mode : {"min", "max"}
        Whether small or large is good.
    restore_best : bool
        Put the weights of the best epoch back at the end, also when all epochs ran.

    Attributes
    ----------
    best : float
        Best figure so far.
    best_epoch : int
        Its epoch, counted from 1.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "min",
        restore_best: bool = True,
    ) -> None:
        where = "EarlyStopping"
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ArgumentError(where, "patience", f"the value {patience!r}", "an int >= 1")
        if not (isinstance(min_delta, (int, float)) and 0 <= min_delta < math.inf):
            raise ArgumentError(where, "min_delta", f"the value {min_delta!r}", "a number >= 0")
        if mode not in ("min", "max"):
            raise ArgumentError(where, "mode", f"the value {mode!r}", "'min' or 'max'")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.sign = 1.0 if mode == "min" else -1.0
        self.restore_best = restore_best
        self.best = math.inf * self.sign
        self.best_epoch = 0
        self._weights: dict[str, np.ndarray] = {}

    def on_epoch(self, run: Run) -> None:
        row = run.history.rows[-1]
        if self.monitor not in row:
            raise ArgumentError(
                "EarlyStopping", "monitor", f"the value {self.monitor!r}",
                f"one of {', '.join(row)}" + ("" if run.validated else " (give `validation`)"),
            )  # fmt: skip
        figure, epoch = row[self.monitor], len(run.history)
        if self.sign * (self.best - figure) > self.min_delta or not self.best_epoch:
            self.best, self.best_epoch = figure, epoch
            self._weights = run.model.state() if self.restore_best else {}
        elif epoch - self.best_epoch >= self.patience:
            run.stop(f"{self.monitor} was best in epoch {self.best_epoch}, stopped after {epoch}")

    def on_end(self, run: Run) -> None:
        if self._weights:
            run.model.load_state(self._weights)

    def state(self) -> dict[str, np.ndarray]:
        weights = {f"weights/{name}": array for name, array in self._weights.items()}
        return {"best": np.array(self.best), "best_epoch": np.array(self.best_epoch)} | weights

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        self._weights = {k[8:]: v for k, v in state.items() if k.startswith("weights/")}
