"""A machine that goes, for trying out what happens then."""

from __future__ import annotations

import signal
from collections.abc import Mapping

import numpy as np

from lepton_ref.framework.training.callbacks import Callback
from lepton_ref.framework.training.loop import Run


class MachineGoes(Callback):
    """Send this process SIGTERM in the middle of an epoch, once in the life of a run.

    That it has done so is part of the checkpoint, so the next attempt is left in peace.

    Parameters
    ----------
    epoch : int
        Counted from 1; 0 for never.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch, self.gone = epoch, False

    def on_step(self, run: Run) -> None:
        middle = run.step_in_epoch == max(1, run.steps_per_epoch // 2)
        if not self.gone and run.epoch + 1 == self.epoch and middle:
            self.gone = True
            signal.raise_signal(signal.SIGTERM)

    def state(self) -> dict[str, np.ndarray]:
        return {"gone": np.array(self.gone)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.gone = bool(state["gone"])
