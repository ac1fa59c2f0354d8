"""What all factor models share: r̂ = μ + b_u + b_i + p·q, and the best items of each user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.selection import best_in_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class FactorModel:
    """Base of the factor models: what is learned, and how it answers.

    Attributes
    ----------
    mean : float
        μ.
    user_bias, item_bias : np.ndarray
        float64 (n_users,), (n_items,); 0 for those without a row in the training set.
    user_factors, item_factors : np.ndarray
        (n_users, k), (n_items, k); 0 for those without a row in the training set.
    seen : scipy.sparse.csr_matrix
        (n_users, n_items), the training set.
    """

    mean: float
    user_bias: np.ndarray
    item_bias: np.ndarray
    user_factors: np.ndarray
    item_factors: np.ndarray
    seen: csr_matrix
    scale: tuple[float, float] | None

    def _prepare(self, train: Ratings) -> None:
        """Check a training set and keep what every answer needs of it."""
        where = type(self).__name__ + ".fit"
        if not isinstance(train, Ratings):
            raise ArgumentError(where, "train", f"type {type(train).__name__}", "Ratings")
        if len(train) == 0:
            raise ArgumentError(where, "train", "no rows", "at least one")
        self.scale, self.seen, self.mean = train.scale, train.matrix(), 0.0
        self.user_bias, self.item_bias = np.zeros(train.n_users), np.zeros(train.n_items)

    def _require_fit(self, where: str) -> None:
        if not hasattr(self, "user_factors"):
            raise ArgumentError(where, "self", "no factors", "a model after fit()")

    def predict(self, users: Any, items: Any, clip: bool = True) -> np.ndarray:
        """Predicted ratings of pairs, float64 (n,) (eq. factorization-prediction).

        A user without a row in the training set gets μ + b_i, an item without one μ + b_u.

        Parameters
        ----------
        users, items : int array, shape (n,)
            Their numbers.
        clip : bool
            Bring predictions back to the scale of the ratings.

        Raises
        ------
        ArgumentError
            Numbers that are out of the numbering, or a model that is not fitted.
        """
        where = type(self).__name__ + ".predict"
        self._require_fit(where)
        u = codes(where, "users", users, len(self.user_factors))
        i = codes(where, "items", items, len(self.item_factors))
        if u.shape != i.shape:
            raise ArgumentError(where, "items", f"shape {i.shape}", f"{u.shape}, like users")
        out = self.mean + self.user_bias[u] + self.item_bias[i]
        for start in range(0, len(u), 1 << 16):
            part = slice(start, start + (1 << 16))
            factors = self.user_factors[u[part]], self.item_factors[i[part]]
            out[part] += np.einsum("nk,nk->n", *factors)
        return out if not clip or self.scale is None else np.clip(out, *self.scale)

    def scores(self, users: Any = None) -> np.ndarray:
        """Scores of all items, (U, n_items), not clipped; for all users by default.

        Raises
        ------
        ArgumentError
            As in :meth:`predict`.
        """
        where = type(self).__name__ + ".scores"
        self._require_fit(where)
        n = len(self.user_factors)
        return self._scores(np.arange(n) if users is None else codes(where, "users", users, n))

    def _scores(self, u: np.ndarray) -> np.ndarray:
        out = self.user_factors[u] @ self.item_factors.T
        if self.user_bias.any() or self.item_bias.any() or self.mean:
            out += (self.mean + self.user_bias[u])[:, None]
            out += self.item_bias
        return out

    def recommend(self, users: Any = None, k: int = 10, exclude_seen: bool = True) -> np.ndarray:
        """The k items with the highest scores, int64 (U, k), best first; −1 where none is left.

        Users are taken in blocks, so that at most about four million scores are held at once.

        Parameters
        ----------
        users : int array, shape (U,), optional
            By default all.
        k : int
        exclude_seen : bool
            Leave out what the user has in the training set.

        Raises
        ------
        ArgumentError
            As in :meth:`predict`; a ``k`` below 1.
        """
        where = type(self).__name__ + ".recommend"
        self._require_fit(where)
        n = len(self.user_factors)
        u = np.arange(n) if users is None else codes(where, "users", users, n)
        return best_in_blocks(self._scores, u, k, self.seen, exclude_seen)
