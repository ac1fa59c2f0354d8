"""Counterfactuals: the smallest change that makes the model decide otherwise.

Source: Wachter, Mittelstadt and Russell (2017), *Counterfactual explanations without opening the
black box*, for the objective; Martens and Provost (2014), *Explaining data-driven document
classifications*, for words taken out of a text.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    SaturationWarning,
    as_target,
    check_target,
)
from lepton_ref.explain.perturbation.coalitions import (
    Game,
    Question,
    check_background,
    question,
)
from lepton_ref.explain.perturbation.removal import smallest_removal
from lepton_ref.explain.perturbation.search import smallest_change
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError

WHERE = "counterfactual"


class Lead:
    """How far the present decision leads: negative where it has flipped (eq. perturbation-lead).

    Parameters
    ----------
    decided : int
        The decision; for a single output, 1 above zero and 0 below.
    to : int or None
        The decision that is wanted; None takes any other.
    margin : float
        By how much the other decision must lead for this to be negative.
    """

    def __init__(self, decided: int, to: int | None, margin: float) -> None:
        self.decided, self.to, self.margin = decided, to, margin

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """float64 (M, K) -> (M,)."""
        y = y.reshape(len(y), -1)
        if y.shape[1] == 1:
            return (y[:, 0] if self.decided else -y[:, 0]) + self.margin
        if self.to is None:
            return y[:, self.decided] - np.delete(y, self.decided, 1).max(axis=1) + self.margin
        return np.delete(y, self.to, 1).max(axis=1) - y[:, self.to] + self.margin


def decisions(y: np.ndarray) -> np.ndarray:
    """Decisions, int64 (M,): the largest output, or whether the only one is above 0."""
    y = y.reshape(len(y), -1)
    return (y[:, 0] > 0).astype(np.int64) if y.shape[1] == 1 else y.argmax(axis=1)


def counterfactual(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    to: int | None = None,
    training: Any = None,
    immutable: Sequence[int] = (),
    levels: int = 32,
    players: Any = None,
    baseline: Any = None,
    margin: float | None = None,
    batch_size: int = 256,
    engine: str | Engine | None = None,
    seed: int | None = None,
) -> Attribution:
    """The smallest change found that flips the decision, and what each part of it is worth.

    With ``training`` (tables) columns move to values that occur there, the change measured in
    median absolute deviations (eq. perturbation-wachter), then back as far as the flip allows.
    Without, players are taken out: all singles and (of up to 200 players) all pairs are tried, so
    that up to two the answer is the smallest there is; beyond, greedily. Either way the last step
    undoes what is not needed.

    Parameters
    ----------
    model : Layer or function
        A black box; see :func:`lepton_ref.explain.gradients.black_box`.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        The decision, if you want to be sure of it; another is refused. Of a model with a single
        output 0; it decides for 1 when that output is above 0, so give the logit.
    to : int, optional
        The decision wanted; any other by default.
    training : array, shape (B, P), optional
        Rows of a table.
    immutable : sequence of int
        Columns or players that must stay.
    levels : int
        Quantiles of each column that are tried.
    players, baseline : optional
        As for ``exact_shapley``: what is taken out together, and what it looks like then.
    margin : float, optional
        How far the other decision must lead; by default a thousandth of the present lead, so that
        it is not rounding that decides.
    batch_size : int
    engine : str or Engine, optional
    seed : None
        Nothing is drawn; accepted so that all explainers are called alike.

    Returns
    -------
    Attribution
        ``baseline`` is the counterfactual x′. ``values``: by how much the old decision comes back
        when this change alone is undone, 0 where nothing changed (eq. perturbation-undoing). In
        ``settings``: ``counterfactual``; ``flipped`` bool (N,), False where none was found (x′ is
        then x); ``decided`` and ``decision`` int (N,), of x and of x′; ``single``, whether the
        model has one output; ``changed``, for each example the columns or players; ``cost`` (N,),
        MADs or number of players; ``margin`` (N,); ``at_least`` (N,), a size below which nothing
        flips (removal only).

    Warns
    -----
    SaturationWarning
        When all outputs of a model with a single one lie in [0, 1].

    Raises
    ------
    ArgumentError
        For a target that is not the decision, a wish for the decision itself or one out of range,
        immutable columns that do not exist, ``training`` beside players or a baseline; otherwise
        as all explainers.
    """
    whole(WHERE, 2, levels=levels)
    if margin is not None:
        number(WHERE, margin=margin)
    rows = None
    if training is not None:
        if players is not None or baseline is not None:
            got = "rows beside players or a baseline"
            raise ArgumentError(WHERE, "training", got, "only one of them")
        rows = check_background(WHERE, training, np.shape(x)[1:], "training")
        if rows.ndim != 2:
            raise ArgumentError(WHERE, "training", f"shape {rows.shape}", "a table (B, P)")
        # Nothing is absent here: a baseline outside the data keeps its warning silent.
        baseline = rows.max(axis=0) + 1
    asked = question(
        WHERE, model, x, None, players, baseline, batch_size=batch_size, engine=engine
    )  # fmt: skip
    decided = decisions(asked.outputs)
    _check_decision(asked, target, decided, to)
    found = []
    margins = []
    for game, was, y in zip(asked.games, decided, asked.outputs[:, None]):
        fixed = _check_immutable(immutable, game)
        lead = Lead(int(was), to, 0.0)
        lead.margin = 1e-3 * float(lead(y)[0]) if margin is None else margin
        margins.append(lead.margin)
        if rows is None:
            found.append(smallest_removal(game, lead, fixed))
        else:
            found.append(smallest_change(game, lead, fixed, rows, levels))
    other = np.stack([one.x for one in found]).astype(asked.x.dtype)
    settings: dict[str, Any] = {
        "counterfactual": other,
        "flipped": np.array([one.flipped for one in found]),
        "decision": np.array([
            decisions(game.f(row[None]))[0] for game, row in zip(asked.games, other)
        ]),
        "changed": [one.changed for one in found],
        "cost": np.array([one.cost for one in found]),
        "margin": np.array(margins),
        "decided": decided,
    }  # fmt: skip
    if rows is None:
        settings["at_least"] = np.array([one.at_least for one in found])
    values = [_undone(g, one.values, one.changed) for g, one in zip(asked.games, found)]
    single = asked.outputs.ndim == 1 or asked.outputs.shape[1] == 1
    if single and _like_probabilities(asked, rows):
        warnings.warn(
            f"{WHERE}: all single outputs lie in [0, 1]. The decision is whether an output is "
            "above 0; of a probability explain the logit",
            SaturationWarning, stacklevel=2,
        )  # fmt: skip
    asked.target = np.zeros_like(decided) if single else decided
    settings["single"] = single
    asked.baseline = other
    return asked.answer(values, settings=settings)


def _like_probabilities(asked: Question, rows: np.ndarray | None) -> bool:
    """Whether no single output leaves [0, 1], here or on the rows of the table."""
    y = asked.outputs.ravel()
    if rows is not None and getattr(asked.f.model, "select", None) is None:
        y = np.concatenate([y, asked.f(rows).ravel()])
    return bool(y.min() >= 0 and y.max() <= 1)


def _undone(game: Game, values: np.ndarray, changed: np.ndarray) -> np.ndarray:
    out = np.zeros(game.players)
    out[changed] = values
    return out


def _check_decision(asked: Question, target: Any, decided: np.ndarray, to: int | None) -> None:
    y = asked.outputs.reshape(len(decided), -1)
    K = y.shape[1]
    given = as_target(WHERE, target, len(decided))
    if given is not None:
        given = np.broadcast_to(given, decided.shape)
        if K == 1:  # its only output has the number 0, whatever is decided
            check_target(WHERE, given, y)
        elif (given != decided).any():
            i = int(np.argmax(given != decided))
            expected = f"{decided[i]}, the model's decision for example {i} (0..{K - 1})"
            raise ArgumentError(WHERE, "target", f"the value {given[i]}", expected)
    if to is None:
        return
    if K == 1:
        raise ArgumentError(WHERE, "to", f"the value {to!r}", "None for a model of one output")
    if isinstance(to, bool) or not isinstance(to, (int, np.integer)) or not 0 <= to < K:
        raise ArgumentError(WHERE, "to", f"the value {to!r}", f"0..{K - 1}")
    if (decided == to).any():
        raise ArgumentError(WHERE, "to", f"the value {to}", "another than the present decision")


def _check_immutable(immutable: Sequence[int], game: Game) -> np.ndarray:
    fixed = np.zeros(game.players, bool)
    if not hasattr(immutable, "__iter__"):
        got = f"type {type(immutable).__name__}"
        raise ArgumentError(WHERE, "immutable", got, "a list of columns or players")
    for i in immutable:
        if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not 0 <= i < len(fixed):
            expected = f"numbers from 0 to {len(fixed) - 1}"
            raise ArgumentError(WHERE, "immutable", f"the value {i!r}", expected)
        fixed[i] = True
    return fixed
