"""Deletion and insertion: what the output does when the players go, the most important first.

Sources: Samek, Binder, Montavon, Lapuschkin and Müller (2017), *Evaluating the visualization of
what a deep neural network has learned*; Petsiuk, Das and Saenko (2018), *RISE: randomized input
sampling for explanation of black-box models*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.explain.evaluation.asking import Asked
from lepton_ref.explain.evaluation.players import player_values
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.arguments import real_array
from lepton_ref.framework.errors import ArgumentError


@dataclass(frozen=True, repr=False)
class RemovalCurve:
    """What the explained output does while players are taken away, or put in.

    Attributes
    ----------
    fractions : np.ndarray
        float64 (N, L + 1), share of the players that are gone (deletion) or there (insertion).
    outputs : np.ndarray
        float64 (N, L + 1), the output there.
    decisions : np.ndarray
        int64 (N, L + 1), what the model decided there; −1 for a model with one output.
    kind : {"deletion", "insertion"}
    method : str
        Whose attribution gave the order.
    scale : {"probability", "score"}
        What ``outputs`` are.
    """

    fractions: np.ndarray
    outputs: np.ndarray
    decisions: np.ndarray
    kind: str
    method: str
    scale: str

    @property
    def area(self) -> np.ndarray:
        """Σ_k (s_{k+1} − s_k) (d_{k+1} + d_k) / 2 (eq. deletion-area), float64 (N,)."""
        width = np.diff(self.fractions, axis=1)
        return np.sum(width * (self.outputs[:, 1:] + self.outputs[:, :-1]) / 2, axis=1)

    def __repr__(self) -> str:
        n = len(self.outputs)
        return f"{self.kind} curve of {self.method}: {n} examples, area {self.area.mean():.3f}"


def deletion_curve(
    model: Any,
    attribution: Attribution,
    *,
    baseline: Any = None,
    players: np.ndarray | None = None,
    steps: int | None = None,
    scale: str = "probability",
    seed: int = 0,
) -> RemovalCurve:
    """Take the players away, the one with the largest value first, and watch the output.

    A good explanation makes the output fall early: the smaller the area, the better.

    Parameters
    ----------
    model : Layer or callable
        A black box, ndarray (M, *shape) -> ndarray (M, K) or (M,).
    attribution : Attribution
        Of N examples.
    baseline : array, shape (*shape) or (N, *shape), or number, optional
        What stands where a player is gone; without it the attribution's own baseline, and 0 if it
        has none.
    players : int array, of the shape of one example or of all, optional
        Which player each entry belongs to, −1 for nobody's; without it every entry is one.
    steps : int, optional
        L; without it as many as there are players, at most 20.
    scale : {"probability", "score"}
        Whether outputs (M, K) become probabilities. A single output stays as it is.
    seed : int
        Breaks ties in random order: a stable order would prefer the upper left.

    Returns
    -------
    RemovalCurve

    Raises
    ------
    ArgumentError
        For a baseline or players of another shape, no step, an unknown scale.
    """
    asked = _asked("deletion_curve", model, attribution, baseline, players, scale)
    return curve("deletion", asked, attribution, steps, seed)


def insertion_curve(
    model: Any,
    attribution: Attribution,
    *,
    baseline: Any = None,
    players: np.ndarray | None = None,
    steps: int | None = None,
    scale: str = "probability",
    seed: int = 0,
) -> RemovalCurve:
    """Begin with nothing and put the players in, the one with the largest value first.

    The larger the area, the better. Inserting by φ is deleting by −φ, read backwards
    (eq. deletion-insertion). Parameters, result and errors as in :func:`deletion_curve`.
    """
    asked = _asked("insertion_curve", model, attribution, baseline, players, scale)
    return curve("insertion", asked, attribution, steps, seed)


def absent(
    where: str, baseline: Any, attribution: Attribution, x: np.ndarray | None = None
) -> np.ndarray:
    """What "absent" means for each example, (N, *shape), from an argument or the attribution.

    Raises
    ------
    ArgumentError
        For another shape, or a value that is not finite.
    """
    x = np.asarray(attribution.x) if x is None else x
    if baseline is None:
        baseline = attribution.baseline if attribution.baseline is not None else 0.0
    found = real_array(where, "baseline", baseline)
    if found.shape not in ((), x.shape, x.shape[1:]):
        expected = f"a number, {x.shape[1:]} or {x.shape}"
        raise ArgumentError(where, "baseline", f"shape {found.shape}", expected)
    if not np.isfinite(found).all():
        raise ArgumentError(where, "baseline", "entries that are not finite", "finite numbers")
    return np.broadcast_to(found, x.shape).astype(x.dtype)


def order_of(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rank of each player, 0 for the largest value, ties at random: int64 (N, P).

    NaN (a player that an example does not have) comes last.
    """
    rng = np.random.default_rng(seed)
    ties = rng.random(values.shape)
    order = np.lexsort((ties, -values), axis=1)  # NaN sorts last
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(values.shape[1])[None, :], axis=1)
    return ranks


def curve(
    kind: str, asked: Asked, attribution: Attribution, steps: int | None = None, seed: int = 0
) -> RemovalCurve:
    """The curve of one attribution of the examples that ``asked`` has; parameters as above.

    Several curves over the same ``asked`` share what they have in common.
    """
    rows, many = asked.owner, asked.counts
    length = min(int(many.max()), 20) if steps is None else steps
    if type(length) is not int or length < 1:
        raise ArgumentError(asked.where, "steps", f"the value {steps!r}", "a whole number from 1")
    ranks = order_of(player_values(attribution.values, asked.players), seed)  # (N, P)
    first = np.rint(np.arange(length + 1) / length * many[:, None]).astype(np.int64)  # (N, L+1)
    gone = ranks[:, None, :] < first[:, :, None]  # (N, L+1, P)
    if kind == "insertion":
        gone = ~gone
    whose = np.repeat(np.arange(len(rows)), length + 1)
    outputs, decisions = (
        found.reshape(first.shape) for found in asked(whose, gone.reshape(len(whose), -1))
    )
    fractions = first / many[:, None]
    return RemovalCurve(fractions, outputs, decisions, kind, attribution.method, asked.scale)


def _asked(
    where: str,
    model: Any,
    attribution: Any,
    baseline: Any,
    players: np.ndarray | None,
    scale: str,
) -> Asked:
    if not isinstance(attribution, Attribution):
        got = f"type {type(attribution).__name__}"
        raise ArgumentError(where, "attribution", got, "an Attribution, as explainers return it")
    x = np.asarray(attribution.x)
    empty = absent(where, baseline, attribution, x)
    return Asked(where, model, x, attribution.target, empty, players, scale)


def additive_area(values: np.ndarray, empty: float, order: np.ndarray) -> float:
    """Area under the deletion curve of an additive model, in closed form (eq. deletion-additive).

    f(∅) + Σ_k (k − ½)/P · φ of the player that goes at step k.

    Parameters
    ----------
    values : array, shape (P,)
        What each player adds to the output of the empty input.
    empty : float
        f(∅).
    order : int array, shape (P,)
        The players in the order in which they go.
    """
    step = np.arange(1, len(order) + 1)
    return float(empty + np.sum((step - 0.5) / len(order) * np.asarray(values)[order]))
