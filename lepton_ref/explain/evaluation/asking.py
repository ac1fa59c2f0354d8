"""What the model says of altered inputs; and of one input with some of its players gone, once."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.explain.evaluation.players import counts, owners
from lepton_ref.explain.gradients.attribution import at_target
from lepton_ref.explain.gradients.boxes import BlackBox, black_box
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import probabilities

SCALES = ("probability", "score")
BLOCK = 2_000_000  # numbers in one block of altered inputs


def explained(
    run: BlackBox,
    x: np.ndarray,
    rows: np.ndarray,
    target: np.ndarray,
    scale: str = "score",
) -> tuple[np.ndarray, np.ndarray]:
    """The explained output of altered inputs, float64 (M,), and what was decided, int64 (M,).

    Parameters
    ----------
    run : BlackBox
    x : array, shape (M, *shape)
    rows : int array, shape (M,)
        Which example each of them came from.
    target : int array, shape (N,)
        Of the examples.
    scale : {"probability", "score"}
    """
    y = run.of(x, rows)
    if y.ndim == 1:
        return y, np.full(len(y), -1)
    said = y.argmax(axis=1)
    if scale == "probability":
        y = probabilities(y)
    return at_target(y, np.asarray(target)[rows]), said


class Asked:
    """The explained output with some players at the baseline; nothing is asked twice.

    The removal curves of all explainers have their two ends in common, and often more: a player
    that looks like its baseline, an empty patch, changes nothing by going.

    Parameters
    ----------
    where : str
        Who asks, for errors.
    model : Layer or callable
    x : array, shape (N, *shape)
    target : int array, shape (N,)
    baseline : array, of the shape of x
    players : int array, of the shape of one example or of all, optional
    scale : {"probability", "score"}

    Raises
    ------
    ArgumentError
        For an unknown scale, or players of another shape.
    """

    def __init__(
        self,
        where: str,
        model: Any,
        x: np.ndarray,
        target: np.ndarray,
        baseline: np.ndarray,
        players: np.ndarray | None,
        scale: str,
    ) -> None:
        if scale not in SCALES:
            raise ArgumentError(where, "scale", f"the value {scale!r}", " or ".join(SCALES))
        self.where, self.x, self.target, self.scale = where, x, target, scale
        self.players, self.owner = players, owners(where, players, x.shape)
        self.counts = counts(self.owner)
        self.run = black_box(model)
        self.full, self.empty = x.reshape(len(x), -1), baseline.reshape(len(x), -1)
        n, width = len(x), int(self.counts.max())
        whose, entry = np.nonzero((self.full != self.empty) & (self.owner >= 0))
        self.matters = np.zeros((n, width), bool)
        self.matters[whose, self.owner[whose, entry]] = True
        self.known: dict[bytes, tuple[float, int]] = {}

    def __call__(self, rows: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs, float64 (M,), and decisions, int64 (M,), as :func:`explained` gives them.

        Parameters
        ----------
        rows : int array, shape (M,)
            Which example.
        gone : bool array, shape (M, players)
            Which of its players are at the baseline.
        """
        gone = gone & self.matters[rows]
        packed = np.packbits(gone, axis=1)
        names = np.asarray(rows, ">u4").view(np.uint8).reshape(len(rows), 4)
        keys = [key.tobytes() for key in np.concatenate([names, packed], axis=1)]
        fresh = {key: m for m, key in enumerate(keys) if key not in self.known}
        places = np.array(list(fresh.values()), np.int64)
        nobody = np.zeros((len(gone), 1), bool)  # column -1, the owner of nobody's entries
        gone = np.concatenate([gone, nobody], axis=1)
        block = max(1, BLOCK // self.full.shape[1])
        for start in range(0, len(places), block):
            part = places[start : start + block]
            whose = np.asarray(rows)[part]
            out = np.take_along_axis(gone[part], self.owner[whose], axis=1)
            altered = np.where(out, self.empty[whose], self.full[whose])
            found, said = explained(
                self.run, altered.reshape(-1, *self.x.shape[1:]), whose, self.target, self.scale
            )
            self.known.update(
                (keys[m], answer) for m, answer in zip(part, zip(found.tolist(), said.tolist()))
            )
        outputs, decisions = zip(*(self.known[key] for key in keys))
        return np.array(outputs), np.array(decisions, np.int64)
