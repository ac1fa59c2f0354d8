"""Ways to cut a table of ratings into what a model learns from and what it is asked.

Every function keeps the numbering of users and items and the order of the rows. Each of them
answers another question about a model; the page says which, and what it lets through.
"""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation.interactions import Ratings

Split = tuple[Ratings, Ratings]


def random_split(ratings: Ratings, test: float = 0.25, seed: int = 0) -> Split:
    """A share of all rows, drawn without regard to user, item or time.

    Parameters
    ----------
    ratings : Ratings
        At least two rows.
    test : float
        Share of the rows that go to the test set, between 0 and 1; rounded, at least one row.
    seed : int

    Returns
    -------
    train, test : Ratings

    Raises
    ------
    ArgumentError
        A share that is not between 0 and 1, a seed that is no whole number, fewer than two rows.
    """
    n, rng = _checked("random_split", ratings, test, seed)
    held = rng.permutation(n)[: _count(n, test)]
    return _cut(ratings, held)


def stratified_split(ratings: Ratings, test: float = 0.25, seed: int = 0) -> Split:
    """A share of each user's rows, drawn at random.

    Of n rows of a user, round((1 − test) n) stay in the training set, halves to the even number:
    the rule of ``python_stratified_split`` in older versions of Recommenders (newer ones keep the
    whole part of it, so a user's part differs by a row at most). A user with one row keeps it when
    ``test`` is below a half.

    Parameters
    ----------
    ratings, test, seed
        As in :func:`random_split`.

    Returns
    -------
    train, test : Ratings

    Raises
    ------
    ArgumentError
        As in :func:`random_split`.
    """
    n, rng = _checked("stratified_split", ratings, test, seed)
    order = np.lexsort((rng.random(n), ratings.users))  # by user, within a user at random
    count = np.bincount(ratings.users, minlength=ratings.n_users)
    place = _place_in_group(count)
    kept = np.round((1 - test) * count).astype(np.int64)
    return _cut(ratings, order[place >= np.repeat(kept, count)])


def leave_one_out(ratings: Ratings, seed: int = 0) -> Split:
    """Each user's latest row is the test; of rows at one time, or without times, one at random.

    A user with a single row keeps it in the training set and is not tested.

    Parameters
    ----------
    ratings : Ratings
    seed : int

    Returns
    -------
    train, test : Ratings

    Raises
    ------
    ArgumentError
        As in :func:`random_split`.
    """
    n, rng = _checked("leave_one_out", ratings, 0.5, seed)
    times = np.zeros(n, np.int64) if ratings.times is None else ratings.times
    order = np.lexsort((rng.random(n), times, ratings.users))
    count = np.bincount(ratings.users, minlength=ratings.n_users)
    last = (_place_in_group(count) == np.repeat(count, count) - 1) & (np.repeat(count, count) > 1)
    return _cut(ratings, order[last])


def temporal_split(ratings: Ratings, test: float = 0.25) -> Split:
    """What was rated before a point in time, and what from then on, for all users the same point.

    The point is the time of the row before which a share 1 − ``test`` of the rows lie; rows at
    that very time are all tested.

    Parameters
    ----------
    ratings : Ratings
        With times.
    test : float

    Returns
    -------
    train, test : Ratings
        Many users of the test set may have no row in the training set.

    Raises
    ------
    ArgumentError
        Ratings without times, or whose earliest time is also that of the point; else as in
        :func:`random_split`.
    """
    n, _ = _checked("temporal_split", ratings, test, 0)
    if ratings.times is None:
        raise ArgumentError("temporal_split", "ratings", "no times", "ratings with times")
    point = np.sort(ratings.times)[n - _count(n, test)]
    late = ratings.times >= point
    if late.all():
        got = f"all of the first {n - _count(n, test)} rows at one time"
        raise ArgumentError("temporal_split", "ratings", got, "rows before the point of the cut")
    return ratings.take(~late), ratings.take(late)


def item_split(ratings: Ratings, test: float = 0.2, seed: int = 0) -> Split:
    """All ratings of a share of the items are the test: items that nobody has rated before.

    Parameters
    ----------
    ratings : Ratings
    test : float
        Share of the items that have ratings; rounded, at least one.
    seed : int

    Returns
    -------
    train, test : Ratings

    Raises
    ------
    ArgumentError
        Ratings of a single item; else as in :func:`random_split`.
    """
    _, rng = _checked("item_split", ratings, test, seed)
    rated = np.unique(ratings.items)
    if len(rated) < 2:
        raise ArgumentError("item_split", "ratings", "ratings of one item", "of at least two")
    new = rng.permutation(rated)[: _count(len(rated), test)]
    return _cut(ratings, np.flatnonzero(np.isin(ratings.items, new)))


def folds(ratings: Ratings, k: int = 5, seed: int = 0) -> list[Split]:
    """Rows dealt at random into k parts, each tested once, as Surprise's ``KFold`` deals them.

    Parameters
    ----------
    ratings : Ratings
    k : int
        From 2 to the number of rows.
    seed : int

    Returns
    -------
    list of (train, test)
        The sizes of the test sets differ by at most one.

    Raises
    ------
    ArgumentError
        For such a ``k``; else as in :func:`random_split`.
    """
    n, rng = _checked("folds", ratings, 0.5, seed)
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 2 <= k <= n:
        raise ArgumentError("folds", "k", f"the value {k!r}", f"a whole number from 2 to {n}")
    return [_cut(ratings, held) for held in np.array_split(rng.permutation(n), k)]


def _cut(ratings: Ratings, held: np.ndarray) -> Split:
    mask = np.zeros(len(ratings), bool)
    mask[held] = True
    return ratings.take(~mask), ratings.take(mask)


def _count(n: int, share: float) -> int:
    return min(max(round(share * n), 1), n - 1)


def _place_in_group(count: np.ndarray) -> np.ndarray:
    """0, 1, …, c₀ − 1, 0, 1, …, c₁ − 1, … for groups of these sizes."""
    starts = np.cumsum(count) - count
    return np.arange(count.sum()) - np.repeat(starts, count)


def _checked(
    where: str, ratings: Ratings, test: float, seed: int
) -> tuple[int, np.random.Generator]:
    if not isinstance(ratings, Ratings):
        raise ArgumentError(where, "ratings", f"type {type(ratings).__name__}", "Ratings")
    if isinstance(test, bool) or not isinstance(test, (float, np.floating)) or not 0 < test < 1:
        raise ArgumentError(where, "test", f"the value {test!r}", "a share between 0 and 1")
    whole(where, 0, seed=seed)
    if len(ratings) < 2:
        raise ArgumentError(where, "ratings", f"{len(ratings)} rows", "at least 2")
    return len(ratings), np.random.default_rng(seed)
