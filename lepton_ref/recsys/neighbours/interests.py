"""What else would you like: items near those a person liked, from a table of item neighbours.

Sources: Sarwar, Karypis, Konstan and Riedl (2001), *Item-based collaborative filtering
recommendation algorithms*; Deshpande and Karypis (2004), *Item-based top-N recommendation
algorithms*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.arguments import number, one_of, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.models import load_model, register
from lepton_ref.framework.models import save as save_model
from lepton_ref.recsys.evaluation import BiasBaseline, Ratings
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.behaviour import ItemScores, of_several, read_behaviour
from lepton_ref.recsys.evaluation.interactions import checked_scale
from lepton_ref.recsys.neighbours.ratings import in_blocks
from lepton_ref.recsys.neighbours.similarity import nearest

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WEIGHTS = ("ratings", "seen", "opinions")


@register
class CollaborativeFiltering:
    """Interest in every item, from the items that a person rated or liked.

    interest_i = Σ_j s_ij w_j over the items j of the person that are among the ``top`` nearest of
    item i (eq. neighbours-interest); s is the cosine of the items' columns of ratings over all
    users. Only items are described: nothing of any person is kept, and a person that nobody has
    seen before is served like any other.

    Parameters
    ----------
    top : int
        Neighbours kept of each item.
    shrinkage : float
        λ of the similarities (eq. neighbours-shrunk).
    min_support : int
        Every number of the table rests on at least so many people: pairs of items with fewer
        common raters are no neighbours, an item with fewer raters has the mean of all items and
        popularity 0. For a model that leaves the house take 5 or more; with 1, the neighbours of
        an item with one rater are a list of what that one person rated.
    weigh : {"ratings", "seen", "opinions"}
        w_j: the rating as a share of the highest; 1 for whatever was rated; or how far the rating
        lies above the middle of the scale, from −1 to 1, so that what is disliked counts against.
    item_ids : sequence of int or str
        Of a saved model; ``fit`` sets them.
    scale : (low, high), optional
        Of a saved model; ``fit`` sets it.
    seed : int
        Unused: nothing is drawn.

    Attributes
    ----------
    neighbours : np.ndarray
        int32 (n_items, top), nearest first; −1 where there are no more.
    similarities : np.ndarray
        float32 (n_items, top), 0 where there are no more.
    means, popularity : np.ndarray
        float64 (n_items,): mean rating, damped, and share of users who rated.

    Raises
    ------
    ArgumentError
        For an unknown name or a number out of its range.
    """

    description: dict[str, Any]

    def __init__(
        self,
        top: int = 200,
        shrinkage: float = 0.0,
        weigh: str = "ratings",
        min_support: int = 1,
        item_ids: Sequence[int] | Sequence[str] | np.ndarray = (),
        scale: Sequence[float] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        where = "CollaborativeFiltering"
        whole(where, top=top, min_support=min_support)
        number(where, shrinkage=shrinkage)
        one_of(where, "weigh", weigh, WEIGHTS)
        self.top, self.shrinkage, self.weigh, self.seed = top, float(shrinkage), weigh, seed
        self.min_support, self.item_ids = min_support, np.asarray(item_ids)
        whole(where, 0, seed=seed)
        self.scale = checked_scale(where, scale)
        n = len(self.item_ids)
        self.neighbours = np.full((n, top), -1, np.int32)
        self.similarities = np.zeros((n, top), np.float32)
        self.means, self.popularity = np.zeros(n), np.zeros(n)
        self.train: Ratings | None = None

    # --- learning ------------------------------------------------------------------------

    def fit(self, train: Ratings) -> CollaborativeFiltering:
        """Find the nearest items of each item.

        Raises
        ------
        ArgumentError
            When there are no ratings, or negative ones (a similarity of lengths needs none).
        """
        where = "CollaborativeFiltering.fit"
        if not isinstance(train, Ratings):
            raise ArgumentError(where, "train", f"type {type(train).__name__}", "Ratings")
        if not len(train):
            raise ArgumentError(where, "train", "no ratings", "at least one")
        if train.values.min() < 0:
            raise ArgumentError(where, "train", f"the rating {train.values.min():g}", "0 or more")
        found = nearest(
            train.matrix().T.tocsr(),
            "cosine",
            self.top,
            over="all",
            shrinkage=self.shrinkage,
            min_support=self.min_support,
        )
        n = train.n_items
        self.neighbours = np.full((n, self.top), -1, np.int32)
        self.similarities = np.zeros((n, self.top), np.float32)
        rows = np.repeat(np.arange(n), np.diff(found.indptr))
        order = np.lexsort((found.indices, -found.data, rows))
        place = np.arange(found.nnz) - np.repeat(found.indptr[:-1], np.diff(found.indptr))
        self.neighbours[rows, place] = found.indices[order]
        self.similarities[rows, place] = found.data[order]
        base = BiasBaseline(5.0, 3.0).fit(train)
        raters = np.bincount(train.items, minlength=n)
        enough = raters >= self.min_support
        self.means = base.mean + np.where(enough, base.item_bias, 0.0)
        self.popularity = np.where(enough, raters, 0) / len(np.unique(train.users))
        self.item_ids, self.scale, self.train = train.item_ids, train.scale, train
        return self

    # --- answering -----------------------------------------------------------------------

    def predict(self, user_behavior: Any) -> ItemScores:
        """Interest in every item: float64 (n_items,) for one person, (U, n_items) for U.

        Who has done nothing yet is given the popularity of the items. The array knows which items
        it speaks of, and what the person had.

        Parameters
        ----------
        user_behavior : dict, list or array
            ``{item id: rating}``, a list of ids that were liked, a list of (id, rating) pairs, an
            array (n_items,) with 0 or NaN for unknown, or for several people an array
            (U, n_items) or a list of dicts.

        Raises
        ------
        ArgumentError
            An item that the model does not know, a rating out of scale, or a model without items.
        """
        rows = self._read("predict", user_behavior)
        return self._answer(self._interest(rows), rows, user_behavior)

    def predict_ratings(self, user_behavior: Any, damping: float = 1.0) -> ItemScores:
        """Ratings instead of interest, cut to the scale; shapes and errors as in :meth:`predict`.

        m_i + b + Σ_j s_ij (r_j − m_j − b) / (δ + Σ_j s_ij), with the items' means m and the
        person's own bias b, both damped (eq. neighbours-prediction).
        """
        number("CollaborativeFiltering.predict_ratings", damping=damping)
        rows = self._read("predict_ratings", user_behavior)
        who = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        left = rows.copy()
        left.data = rows.data - self.means[rows.indices]
        bias = np.bincount(who, left.data, minlength=rows.shape[0]) / (5.0 + np.diff(rows.indptr))
        left.data, seen = left.data - bias[who], rows.copy()
        seen.data = np.ones_like(rows.data)
        near = self._table().T.tocsr()
        above, below = (left @ near).toarray(), (seen @ near).toarray()
        found = self.means + bias[:, None]
        found = found + np.divide(above, below + damping, out=np.zeros_like(above), where=below > 0)
        found = found if self.scale is None else np.clip(found, *self.scale)
        return self._answer(found, rows, user_behavior)

    def because(self, user_behavior: Any, item_id: Any, k: int = 5) -> list[tuple[Any, float]]:
        """The items of a person that speak most for an item: (id, share of the interest).

        All shares together are the interest that :meth:`predict` gives (eq. neighbours-interest).

        Parameters
        ----------
        user_behavior
            Of one person, as for :meth:`predict`.
        item_id : int or str
        k : int
            How many at most.

        Raises
        ------
        ArgumentError
            Several people, or an item that the model does not know.
        """
        where = "CollaborativeFiltering.because"
        whole(where, k=k)
        row = self._read("because", user_behavior)
        if row.shape[0] != 1:
            raise ArgumentError(where, "user_behavior", f"{row.shape[0]} people", "one")
        at = np.flatnonzero(self.item_ids == item_id)
        if not len(at):
            known = f"one of the {len(self.item_ids)} items of the model"
            raise ArgumentError(where, "item_id", f"the value {item_id!r}", known)
        near = self._table()[at[0]].toarray()[0]
        parts = near[row.indices] * self._weights(row).data
        order = [p for p in np.argsort(-np.abs(parts), kind="stable")[:k] if parts[p] != 0]
        return [(self.item_ids[row.indices[p]].item(), float(parts[p])) for p in order]

    def scores(self, users: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Interest of the users of the training set in all items, float64 (U, n_items).

        Raises
        ------
        ArgumentError
            For a loaded model, which knows no users, or numbers that nobody bears.
        """
        train, where = self._trained("scores"), "CollaborativeFiltering.scores"
        u = (
            np.arange(train.n_users)
            if users is None
            else codes(where, "users", users, train.n_users)
        )
        return self._interest(train.matrix()[u])

    def recommend(
        self,
        users: Sequence[int] | np.ndarray | None = None,
        k: int = 10,
        exclude_seen: bool = True,
    ) -> np.ndarray:
        """The items of highest interest, int64 (U, k), as the chapter's ``top_k`` picks them."""
        return in_blocks(self.scores, self._trained("recommend"), users, k, exclude_seen)

    def _interest(self, rows: csr_matrix) -> np.ndarray:
        found = (self._weights(rows) @ self._table().T.tocsr()).toarray()
        found[~found.any(axis=1)] = self.popularity
        return found

    def _weights(self, rows: csr_matrix) -> csr_matrix:
        """What each rating counts for (eq. neighbours-interest)."""
        out, (low, high) = rows.copy(), self.scale or (0.0, 1.0)
        if self.weigh == "seen" or self.scale is None:
            out.data = np.ones_like(rows.data)
        elif self.weigh == "ratings":
            out.data = rows.data / high
        else:
            out.data = (2 * rows.data - low - high) / (high - low)
        return out

    def _table(self) -> csr_matrix:
        """The kept similarities as a sparse matrix (n_items, n_items)."""
        from scipy.sparse import csr_matrix

        n, there = len(self.item_ids), self.neighbours >= 0
        ends = np.concatenate([[0], np.cumsum(there.sum(1))])
        values = self.similarities[there].astype(np.float64)
        return csr_matrix((values, self.neighbours[there], ends), shape=(n, n))

    def _answer(self, values: np.ndarray, rows: csr_matrix, user_behavior: Any) -> ItemScores:
        return ItemScores.of(values, rows, self.item_ids, of_several(user_behavior))

    def _read(self, method: str, user_behavior: Any) -> csr_matrix:
        where = f"CollaborativeFiltering.{method}"
        if not len(self.item_ids):
            got, expected = "no items yet", "fit(train) or load_model(name) before"
            raise ArgumentError(where, "self", got, expected)
        return read_behaviour(where, user_behavior, self.item_ids, self.scale)

    def _trained(self, method: str) -> Ratings:
        if self.train is None:
            where, got = f"CollaborativeFiltering.{method}", "no users: it was not trained here"
            raise ArgumentError(where, "self", got, "fit(train) before, or predict(user_behavior)")
        return self.train

    # --- saving --------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """The arrays that are saved, all about items."""
        names = ("neighbours", "similarities", "means", "popularity")
        return {name: getattr(self, name).copy() for name in names}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Overwrite the arrays with those of :meth:`state`."""
        for name, array in state.items():
            setattr(self, name, np.array(array))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON holds them."""
        return {
            "top": self.top,
            "shrinkage": self.shrinkage,
            "weigh": self.weigh,
            "min_support": self.min_support,
            "item_ids": self.item_ids.tolist(),
            "scale": None if self.scale is None else list(self.scale),
        }

    def save(self, path: str | Path, description: Mapping[str, Any] | None = None) -> Path:
        """Write the model to a file; see :func:`lepton_ref.framework.models.save`."""
        return save_model(self, path, description)

    @classmethod
    def load_model(cls, name: str, path: str | Path | None = None) -> CollaborativeFiltering:
        """A saved model by its name; see :func:`lepton_ref.framework.models.load_model`.

        Raises
        ------
        ModelFileError
            When there is none of this name, it is damaged, or it holds another class.
        """
        return load_model(name, path=path, expected=cls)
