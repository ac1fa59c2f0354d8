"""What every model that ranks items shares: who is asked, what was seen, the first k."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.interactions import Ratings
from lepton_ref.recsys.evaluation.selection import best_in_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class Ranker:
    """Base of the ranking models: a subclass defines ``fit`` and ``_scores(users)``.

    What nobody could know is settled here. A user without a training row gets the popularity of
    the items as scores. An item without one stands below all others in every row.
    """

    seen: csr_matrix | None = None
    popularity: np.ndarray
    knows_cold_items = False  # True where an item without a row has features to be judged by

    def _remember(self, train: Ratings) -> csr_matrix:
        """Keep what was seen (every row counts as liked), and how often each item was."""
        where = f"{type(self).__name__}.fit"
        if not isinstance(train, Ratings):
            raise ArgumentError(where, "train", f"type {type(train).__name__}", "Ratings")
        if not len(train):
            raise ArgumentError(where, "train", "no rows", "at least one")
        seen = train.matrix()
        seen.data[:] = 1.0
        self.seen = seen
        self.popularity = np.bincount(train.items, minlength=train.n_items).astype(np.float64)
        return seen

    def _scores(self, users: np.ndarray) -> np.ndarray:
        """float64 (U, n_items) of users that have training rows."""
        raise NotImplementedError(f"{type(self).__name__} does not define _scores(users)")

    def scores(self, users: Any = None) -> np.ndarray:
        """How much each user is expected to like each item; only the order has a meaning.

        Parameters
        ----------
        users : int array, shape (U,), optional
            User numbers; all users by default.

        Returns
        -------
        np.ndarray
            float64 (U, n_items).

        Raises
        ------
        ArgumentError
            Before ``fit``, or for numbers that are not users.
        """
        seen, whose = self._asked("scores", users)
        return with_strangers(
            self._scores, whose, seen, self.popularity, keep_new=self.knows_cold_items
        )

    def recommend(self, users: Any = None, k: int = 10, exclude_seen: bool = True) -> np.ndarray:
        """The k items with the highest scores, best first.

        Users are scored in blocks, so that memory stays bounded however many there are.

        Parameters
        ----------
        users : int array, shape (U,), optional
        k : int
            At least 1.
        exclude_seen : bool
            Leave out what the user has a training row of.

        Returns
        -------
        np.ndarray
            int64 (U, k), item numbers; −1 where fewer than k items remain.

        Raises
        ------
        ArgumentError
            As :meth:`scores`, or for a ``k`` below 1.
        """
        seen, whose = self._asked("recommend", users)
        return best_in_blocks(self.scores, whose, k, seen, exclude_seen)

    def _asked(self, method: str, users: Any) -> tuple[csr_matrix, np.ndarray]:
        where = f"{type(self).__name__}.{method}"
        if self.seen is None:
            raise ArgumentError(where, "self", "no training set yet", "fit(train) first")
        n = self.seen.shape[0]
        return self.seen, np.arange(n) if users is None else codes(where, "users", users, n)


def with_strangers(
    scores: Callable[[np.ndarray], np.ndarray],
    users: np.ndarray,
    seen: csr_matrix,
    popularity: np.ndarray,
    keep_new: bool = False,
) -> np.ndarray:
    """Scores of users and items of whom some have no training row.

    Parameters
    ----------
    scores : callable
        Takes numbers of users that have rows, gives float (n, n_items).
    users : np.ndarray
        int64 (U,).
    seen : csr_matrix
        (n_users, n_items), the training rows.
    popularity : np.ndarray
        float64 (n_items,), 0 for an item without a row: what a user without one is given.
    keep_new : bool
        Leave the scores of items without a row as they are; else they stand below all others.

    Returns
    -------
    np.ndarray
        float (U, n_items).
    """
    warm = np.diff(seen.indptr)[users] > 0
    known = scores(users[warm]) if warm.any() else np.zeros((0, len(popularity)))
    if warm.all():
        out = known
    else:
        out = np.tile(popularity.astype(known.dtype), (len(users), 1))
        out[warm] = known
    new = popularity == 0
    if new.any() and not new.all() and not keep_new:
        lowest = out[:, ~new].min(axis=1, keepdims=True)
        below = np.nextafter(lowest, np.asarray(-np.inf, lowest.dtype))
        out[:, new] = np.minimum(out[:, new], below)
    return out
