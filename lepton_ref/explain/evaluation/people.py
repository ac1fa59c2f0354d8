"""What people rated, as rows that explainers can read; and reasons of recommenders as attributions.

Two recommenders of the book give reasons of their own, in two shapes, and a third a list; here
all become an :class:`~lepton_ref.explain.gradients.Attribution`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.errors import ArgumentError

HIDDEN = -10.0


class RatedByMany:
    """A recommender as a black box of the ratings of N people: (M, P) -> (M, number of items).

    An output is by how many stars an item leads the mean of all items. What a person's ratings do
    to all items alike (somebody who likes everything) is no reason to suggest one of them. What a
    person has is never suggested to them: its output is −10 stars.

    Row i of a batch holds the ratings that person i gave to *their* items, so explainers that
    repeat rows say whose they are (``select``). A rating of 0 says that the item was not rated.

    Parameters
    ----------
    model : MatrixFactorization or CollaborativeFiltering
        What has ``item_ids`` and ``predict(table)``.
    columns : int array, shape (N, P)
        Which of the model's items each person rated.

    Raises
    ------
    ArgumentError
        For columns that the model does not have, or an item twice in a row.
    """

    def __init__(self, model: Any, columns: np.ndarray) -> None:
        columns = np.asarray(columns)
        n = len(model.item_ids)
        if columns.ndim != 2 or columns.dtype.kind not in "iu" or not columns.size:
            got = f"{columns.dtype} of shape {columns.shape}"
            raise ArgumentError("RatedByMany", "columns", got, "whole numbers (N, P)")
        if columns.min() < 0 or columns.max() >= n:
            bad = columns.min() if columns.min() < 0 else columns.max()
            raise ArgumentError("RatedByMany", "columns", f"the value {bad}", f"0..{n - 1}")
        ordered = np.sort(columns, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise ArgumentError("RatedByMany", "columns", "an item twice", "each item once")
        self.model, self.columns = model, columns

    @property
    def num_examples(self) -> int:
        return len(self.columns)

    def select(self, rows: Any) -> RatedByMany:
        """The same for a batch whose row i is person ``rows[i]``."""
        chosen = object.__new__(type(self))
        chosen.model, chosen.columns = self.model, self.columns[np.asarray(rows)]
        return chosen

    def table(self, ratings: np.ndarray) -> np.ndarray:
        """The ratings in all items' columns: (M, P) -> (M, number of items)."""
        ratings = np.asarray(ratings, np.float64)
        columns = self.columns
        if len(columns) == 1:
            columns = np.broadcast_to(columns, ratings.shape)
        if ratings.shape != columns.shape:
            raise ArgumentError("RatedByMany", "x", f"shape {ratings.shape}", f"{columns.shape}")
        out = np.zeros((len(ratings), len(self.model.item_ids)))
        np.put_along_axis(out, columns, ratings, axis=1)
        return out

    def __call__(self, ratings: np.ndarray) -> np.ndarray:
        """By how much each item's predicted rating leads the mean of all: (M, number of items)."""
        predicted = self.ratings(ratings)
        lead = predicted - predicted.mean(axis=1, keepdims=True)
        columns = np.broadcast_to(self.columns, np.shape(ratings))
        np.put_along_axis(lead, columns, HIDDEN, axis=1)
        return lead

    def ratings(self, ratings: np.ndarray) -> np.ndarray:
        """Predicted ratings of all items, float64 (M, number of items)."""
        return np.asarray(self.model.predict(self.table(ratings)))


def from_because(reason: Any, *, names: Any = None) -> Attribution:
    """A recommender's own reasons as an attribution of the items that a person had.

    Parameters
    ----------
    reason : Because of recsys.neighbours or of recsys.content, or list of (item, share)
        The last as ``CollaborativeFiltering.because`` gives it: the shares are the interest, so
        nothing is left for a base.
    names : sequence, optional
        Ignored numbers of items are looked up in it; kept in ``settings["items"]``.

    Returns
    -------
    Attribution
        ``values`` (1, m), largest first; ``outputs`` the score, ``baseline_outputs`` what the
        score would be without any of them; ``settings["items"]`` the items. The gap is zero: such
        reasons are complete by construction.

    Raises
    ------
    ArgumentError
        For anything else, or a reason that names nothing.
    """
    if isinstance(reason, list):
        items = np.array([item for item, _ in reason])
        shares = np.array([share for _, share in reason], np.float64)
        score, base = float(shares.sum()), 0.0
    elif hasattr(reason, "neighbours"):
        items, shares = reason.neighbours, reason.contributions
        score, base = float(reason.prediction), float(reason.baseline)
    elif hasattr(reason, "items") and hasattr(reason, "base"):
        items, shares = reason.items, reason.contributions
        score, base = float(reason.score), float(reason.base)
    else:
        raise ArgumentError(
            "from_because", "reason", f"type {type(reason).__name__}",
            "a Because of recsys.neighbours or recsys.content, or a list of (item, share)",
        )  # fmt: skip
    if not len(items):
        raise ArgumentError("from_because", "reason", "no item in it", "at least one")
    shown = [item.item() if hasattr(item, "item") else item for item in items]
    if names is not None:
        shown = [names[item] for item in shown]
    values = np.asarray(shares, np.float64)[None]
    return Attribution(
        values, np.ones_like(values), np.zeros(1, np.int64), np.array([score]), "because",
        np.zeros_like(values), np.array([base]), settings={"items": tuple(shown)},
    )  # fmt: skip


def liked_logits(
    data: Any, shown: int = 16, held: int = 5, seed: int = 0, iterations: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How a recommender's guesses fare on ratings that it does not know.

    Each person's last ``held`` ratings are kept from a fresh matrix factorisation; it then reads
    the ``shown`` ratings before them and guesses.

    Parameters
    ----------
    data : Dataset
        ``movielens-100k``.
    shown, held : int
    seed : int
        Of the factorisation.
    iterations : int
        Of the factorisation. Twice as many hardly change how sure it may be.

    Returns
    -------
    logits : float64 (M, 2)
        0, and by how much the predicted rating lies above the middle between three stars and four.
    liked : int64 (M,)
        Whether four stars or five were given.
    person : int64 (M,)

    Raises
    ------
    ArgumentError
        When nobody has so many ratings.
    """
    from lepton_ref.recsys.evaluation import Ratings
    from lepton_ref.recsys.factorization import MatrixFactorization

    order = np.lexsort((data.items, data.times, data.users))
    users = data.users[order]
    ends = np.flatnonzero(np.append(users[1:] != users[:-1], True)) + 1
    starts = np.append(0, ends[:-1])
    enough = ends - starts >= shown + held
    if not enough.any():
        raise ArgumentError(
            "liked_logits", "shown, held", f"{shown} and {held} ratings", "what somebody has"
        )
    kept = np.ones(len(order), bool)
    last = (ends[enough, None] - 1 - np.arange(held)).ravel()
    kept[last] = False
    rows = order[kept]
    table = Ratings.of(
        data.users[rows], data.items[rows], data.ratings[rows].astype(float), scale=(1.0, 5.0),
        item_ids=data.item_ids,
    )  # fmt: skip
    model = MatrixFactorization(iterations=iterations, seed=seed, min_support=5).fit(table)
    column = np.searchsorted(data.item_ids, data.items)
    before = order[ends[enough, None] - held - shown + np.arange(shown)]  # (people, shown)
    given = np.zeros((len(before), len(data.item_ids)))
    np.put_along_axis(given, column[before], data.ratings[before].astype(float), axis=1)
    guess = np.asarray(model.predict(given))
    asked = order[last].reshape(-1, held)
    score = np.take_along_axis(guess, column[asked], axis=1).ravel() - 3.5
    liked = (data.ratings[asked] >= 4).astype(np.int64).ravel()
    person = np.repeat(data.users[asked[:, 0]], held)
    return np.stack([np.zeros_like(score), score], axis=1), liked, person
