"""Rating prediction from neighbours: a baseline, and what the nearest say beyond it.

Source: Koren (2010), *Factor in the neighbors: scalable and accurate collaborative filtering*,
section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lepton_ref.framework.arguments import number, one_of, whole
from lepton_ref.framework.compiled import compiled
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import BiasBaseline, Ratings
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.selection import best_in_blocks
from lepton_ref.recsys.neighbours.similarity import centred, nearest

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SIMILARITIES = ("cosine", "adjusted_cosine", "pearson", "msd", "pearson_baseline")


@compiled
def _weighted(order, x, y, s_ptr, s_at, s_val, y_ptr, y_at, y_res, k, damping, out):
    """``out[q]`` = weighted mean of the residuals of the ``k`` nearest that rated, or 0."""
    row = np.zeros(len(s_ptr) - 1)
    near, said = np.zeros(k), np.zeros(k)  # the nearest so far, nearest first
    last = -1
    for q in order:
        if x[q] != last:
            if last >= 0:
                for p in range(s_ptr[last], s_ptr[last + 1]):
                    row[s_at[p]] = 0.0
            last = x[q]
            for p in range(s_ptr[last], s_ptr[last + 1]):
                row[s_at[p]] = s_val[p]
        found = 0
        for p in range(y_ptr[y[q]], y_ptr[y[q] + 1]):
            s = row[y_at[p]]
            if s <= 0.0 or (found == k and s <= near[k - 1]):
                continue
            found = min(found + 1, k)
            at = found - 1
            while at > 0 and near[at - 1] < s:  # of equal ones the first stays before
                near[at], said[at] = near[at - 1], said[at - 1]
                at -= 1
            near[at], said[at] = s, y_res[p]
        above, below = 0.0, damping
        for p in range(found):
            above += near[p] * said[p]
            below += near[p]
        out[q] = above / below if below > 0.0 else 0.0


@dataclass(frozen=True)
class Because:
    """Why a prediction is what it is: baseline + the sum of the contributions.

    Attributes
    ----------
    prediction : float
        Not clipped to the scale.
    baseline : float
        μ + b_u + b_i.
    neighbours : np.ndarray
        int64 (m,), the items that the user has rated (or the users who have rated the item),
        the largest contribution first.
    ratings, similarities, contributions : np.ndarray
        float64 (m,): what was given, how near it is, what it adds to the baseline.
    """

    prediction: float
    baseline: float
    neighbours: np.ndarray
    ratings: np.ndarray
    similarities: np.ndarray
    contributions: np.ndarray


class NearestNeighbours:
    """Ratings by the nearest items that the user has rated, or the nearest users who rated.

    r̂_ui = b_ui + Σ_j s_ij (r_uj − b_uj) / (δ + Σ_j s_ij), over the k most similar j with a
    positive similarity (eq. neighbours-prediction).

    Parameters
    ----------
    of : {"items", "users"}
        What the neighbours are.
    similarity : {"cosine", "adjusted_cosine", "pearson", "msd", "pearson_baseline"}
        Each over common raters.
    k : int
        Neighbours at most; there may be more than there are items.
    shrinkage : float
        λ of the similarities (eq. neighbours-shrunk).
    damping : float
        δ: with few or distant neighbours the prediction stays near the baseline.
    min_support : int
        Pairs with fewer common raters are no neighbours.
    kept : int, optional
        Similarities kept of each item or user; all positive ones without it.
    reg_users, reg_items, epochs
        Of the :class:`~lepton_ref.recsys.evaluation.BiasBaseline` below.
    clip : bool
        Whether predictions are cut to the scale.
    seed : int
        Unused: nothing is drawn. There for the common shape of the chapter's models.

    Attributes
    ----------
    baseline : BiasBaseline
    similarities : csr_matrix
        (n, n), the positive similarities.

    Raises
    ------
    ArgumentError
        For an unknown name or a number out of its range.
    """

    baseline: BiasBaseline
    similarities: csr_matrix

    def __init__(
        self,
        *,
        of: str = "items",
        similarity: str = "pearson_baseline",
        k: int = 40,
        shrinkage: float = 100.0,
        damping: float = 0.0,
        min_support: int = 1,
        kept: int | None = None,
        reg_users: float = 15.0,
        reg_items: float = 10.0,
        epochs: int = 10,
        clip: bool = True,
        seed: int = 0,
    ) -> None:
        where = "NearestNeighbours"
        one_of(where, "of", of, ("items", "users"))
        one_of(where, "similarity", similarity, SIMILARITIES)
        whole(where, k=k, min_support=min_support)
        if kept is not None:
            whole(where, kept=kept)
        number(where, shrinkage=shrinkage, damping=damping)
        self.of, self.similarity, self.k, self.kept = of, similarity, k, kept
        self.shrinkage, self.damping, self.min_support = shrinkage, damping, min_support
        self.baseline = BiasBaseline(reg_users, reg_items, epochs, clip=False)
        self.clip, self.seed = clip, seed
        self.train: Ratings | None = None

    def fit(self, train: Ratings) -> NearestNeighbours:
        """Baselines, and the similarities of all pairs with a common rater.

        Raises
        ------
        ArgumentError
            When there are no ratings.
        """
        self.baseline.fit(train)
        left = train.values - self.baseline.predict(train.users, train.items)
        residuals = replace(train, values=left).matrix()  # (U, I)
        by_items = self.of == "items"
        kind, rows, support = self.similarity, train, self.min_support
        if kind == "pearson_baseline":
            rows, support = replace(train, values=left), max(2, support)
        compared = rows.matrix().T.tocsr() if by_items else rows.matrix()
        if kind == "adjusted_cosine":
            compared = centred(compared)
        self.similarities = nearest(
            compared,
            kind if kind in ("pearson", "msd") else "cosine",
            self.kept,
            shrinkage=self.shrinkage,
            min_support=support,
        )
        # Of each user the residuals of the items they rated, or the other way round.
        self._residuals = residuals if by_items else residuals.T.tocsr()
        self.train = train
        return self

    def predict(
        self, users: Sequence[int] | np.ndarray, items: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Predicted ratings of pairs, float64 (n,).

        A user or an item without a training row has bias 0 and no neighbours.

        Raises
        ------
        ArgumentError
            Not fitted, unequal lengths, or numbers that nobody bears.
        """
        train = self._fitted("predict")
        u = codes("NearestNeighbours.predict", "users", users, train.n_users)
        i = codes("NearestNeighbours.predict", "items", items, train.n_items)
        if u.shape != i.shape:
            raise ArgumentError("NearestNeighbours.predict", "items", f"{i.size} rows", f"{u.size}")
        return self._cut(self._raw(u, i))

    def _raw(self, u: np.ndarray, i: np.ndarray) -> np.ndarray:
        x, y = (i, u) if self.of == "items" else (u, i)
        s, r, out = self.similarities, self._residuals, np.zeros(len(x))
        order, most = np.argsort(x, kind="stable"), min(self.k, s.shape[0])
        arrays = (s.indptr, s.indices, s.data, r.indptr, r.indices, r.data)
        _weighted(order, x, y, *arrays, most, float(self.damping), out)
        return self.baseline.predict(u, i) + out

    def _cut(self, values: np.ndarray) -> np.ndarray:
        scale = self.train.scale if self.train is not None else None
        return np.clip(values, *scale) if self.clip and scale is not None else values

    def scores(self, users: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Predicted ratings of all items, not clipped, so that few are equal: float64 (U, I)."""
        train = self._fitted("scores")
        where = "NearestNeighbours.scores"
        u = (
            np.arange(train.n_users)
            if users is None
            else codes(where, "users", users, train.n_users)
        )
        n = train.n_items
        return self._raw(np.repeat(u, n), np.tile(np.arange(n), len(u))).reshape(len(u), n)

    def recommend(
        self,
        users: Sequence[int] | np.ndarray | None = None,
        k: int = 10,
        exclude_seen: bool = True,
    ) -> np.ndarray:
        """The items with the highest predicted ratings, int64 (U, k); see :func:`top_k`."""
        train = self._fitted("recommend")
        return in_blocks(self.scores, train, users, k, exclude_seen)

    def because(self, user: int, item: int) -> Because:
        """The neighbours behind a prediction, and what each adds (eq. neighbours-because).

        Raises
        ------
        ArgumentError
            Not fitted, or numbers that nobody bears.
        """
        train = self._fitted("because")
        where = "NearestNeighbours.because"
        u = codes(where, "user", [user], train.n_users)
        i = codes(where, "item", [item], train.n_items)
        x, y = (i[0], u[0]) if self.of == "items" else (u[0], i[0])
        said = slice(self._residuals.indptr[y], self._residuals.indptr[y + 1])
        others, residuals = self._residuals.indices[said], self._residuals.data[said]
        near = self.similarities[x].toarray()[0][others]
        order = np.argsort(-near, kind="stable")[: self.k]
        order = order[near[order] > 0]
        others, residuals, near = others[order].astype(np.int64), residuals[order], near[order]
        parts = near * residuals / (self.damping + near.sum()) if len(near) else near
        pair = (y, others) if self.of == "items" else (others, y)
        b = self.baseline
        given = residuals + b.mean + b.user_bias[pair[0]] + b.item_bias[pair[1]]
        first = np.argsort(-np.abs(parts), kind="stable")
        base = float(self.baseline.predict(u, i)[0])
        return Because(
            base + float(parts.sum()), base, others[first], given[first], near[first], parts[first]
        )

    def _fitted(self, method: str) -> Ratings:
        if self.train is None:
            where = f"NearestNeighbours.{method}"
            raise ArgumentError(where, "self", "no similarities yet", "a call of fit(train) before")
        return self.train


def in_blocks(
    scores: Callable[[np.ndarray], np.ndarray],
    train: Ratings,
    users: Sequence[int] | np.ndarray | None,
    k: int,
    exclude_seen: bool,
) -> np.ndarray:
    """The best items of some users of a training set, or of all."""
    n = train.n_users
    u = np.arange(n) if users is None else codes("recommend", "users", users, n)
    return best_in_blocks(scores, u, k, train.matrix(), exclude_seen)
