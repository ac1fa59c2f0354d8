"""What a training run writes down."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class History:
    """The record of a run: one row per epoch, one loss and one gradient norm per step.

    ``history["validation_loss"]`` is the column of that name over the epochs.

    Attributes
    ----------
    rows : list of dict
        ``epoch`` (from 1), ``lr`` (of the epoch's last step), ``train_loss`` (mean over the
        rows seen, while the weights moved, without the penalty), and, where validation data
        were given, ``validation_loss`` and ``validation_<metric>``.
    losses : list of float
        Loss of each step's batch, without the penalty.
    norms : list of float
        Norm of each step's gradient, before clipping.
    stopped : str
        Why the run ended before its last epoch, or "".
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    stopped: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> np.ndarray:
        """One column over the epochs, float64 (epochs,)."""
        if not self.rows:
            raise KeyError(f"{name!r}: no epoch has ended yet")
        if name not in self.rows[-1]:
            raise KeyError(f"{name!r}; there are {', '.join(self.rows[-1])}")
        return np.array([row[name] for row in self.rows])

    def __str__(self) -> str:
        if not self.rows:
            return "no epoch yet"
        names = list(self.rows[-1])
        lines = ["  ".join(f"{n:>{max(9, len(n))}}" for n in names)]
        for row in self.rows:
            cells = [f"{row[n]:.0f}" if n == "epoch" else f"{row[n]:.4f}" for n in names]
            lines.append("  ".join(f"{c:>{max(9, len(n))}}" for c, n in zip(cells, names)))
        return "\n".join(lines + [self.stopped] * bool(self.stopped))
