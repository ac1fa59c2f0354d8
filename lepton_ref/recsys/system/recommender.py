"""From two judgements to a list: the last line of the documents' listing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import top_k
from lepton_ref.recsys.evaluation.behaviour import ItemScores
from lepton_ref.recsys.evaluation.selection import standardised


@dataclass(frozen=True)
class Recommendation:
    """One line of a list of recommendations.

    Attributes
    ----------
    item_id : int or str
    score : float
        The blend (eq. system-blend): how far above the candidates' mean, in their spread.
    interest, rating : float
        The two parts that add up to it: of the interests and of the predicted ratings.
    """

    item_id: Any
    score: float
    interest: float
    rating: float


class RecommenderSystem:
    """Blends interest and predicted ratings into a list of what to show next.

    Both are brought to one scale over the items that may be shown (eq. system-standard), and added
    with a weight (eq. system-blend). What the person had already is not shown.

    Parameters
    ----------
    weight : float
        Of the interests, in [0, 1]; the rest is the predicted ratings'. The default is as
        good as any weight from 0.8 on (page recsys/system).
    k : int
        Length of a list.
    never : collection of ids
        Items that are not shown to anybody: out of stock, withdrawn.

    Raises
    ------
    ArgumentError
        A weight outside [0, 1], a ``k`` below 1.
    """

    def __init__(self, weight: float = 0.9, k: int = 10, never: Collection[Any] = ()) -> None:
        where = "RecommenderSystem"
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
            raise ArgumentError(where, "weight", f"the value {weight!r}", "a number in [0, 1]")
        whole(where, k=k)
        if isinstance(never, (str, bytes)):
            raise ArgumentError(where, "never", f"the value {never!r}", "a collection of item ids")
        self.weight, self.k, self.never = float(weight), int(k), frozenset(never)

    def generate_recommendations(
        self, user_interests: Any, item_features: Any
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """The best items for a person, or for each of several.

        Parameters
        ----------
        user_interests : array
            (n_items,) or (U, n_items), as ``CollaborativeFiltering.predict`` gives it.
        item_features : array
            Of the same shape: predicted ratings, as ``MatrixFactorization.predict`` gives them.

        Returns
        -------
        list of Recommendation
            At most k, best first; fewer when nothing else is left. For several people a list of
            such lists. Plain arrays do not say what was had already, nor what items are called:
            then nothing is left out, and items are their positions.

        Raises
        ------
        ArgumentError
            Shapes that differ, numbers that are not finite, models of different items.
        """
        ids, one, scores, parts = self._blend(user_interests, item_features)
        lists = [
            [
                Recommendation(
                    ids[i].item(), float(scores[u, i]), float(parts[0][u, i]), float(parts[1][u, i])
                )
                for i in row[row >= 0]
            ]
            for u, row in enumerate(top_k(scores, self.k))
        ]
        return lists[0] if one else lists

    def top_items(self, user_interests: Any, item_features: Any) -> np.ndarray:
        """The same lists as positions of items: int64 (U, k), −1 where nothing is left.

        For serving many people: nothing is made for a line but its number. Arguments and errors as
        in :meth:`generate_recommendations`; one person gives (1, k).
        """
        return top_k(self._blend(user_interests, item_features)[2], self.k)

    def _blend(
        self, user_interests: Any, item_features: Any
    ) -> tuple[np.ndarray, bool, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Ids, whether one person asks, scores (−inf for what is not shown), and their parts."""
        interests, ratings, one = self._read(user_interests, item_features)
        ids = self._ids(user_interests, item_features, interests.shape[1])
        allowed = self._allowed(user_interests, item_features, ids, interests.shape)
        parts = (
            self.weight * standardised(interests, allowed),
            (1.0 - self.weight) * standardised(ratings, allowed),
        )
        return ids, one, np.where(allowed, parts[0] + parts[1], -np.inf), parts

    def _read(self, user_interests: Any, item_features: Any) -> tuple[np.ndarray, np.ndarray, bool]:
        where = "RecommenderSystem.generate_recommendations"
        given = {"user_interests": user_interests, "item_features": item_features}
        found = {}
        for name, values in given.items():
            try:
                found[name] = np.asarray(values, np.float64)
            except (TypeError, ValueError):
                got = f"a {type(values).__name__} that is no array of numbers"
                raise ArgumentError(where, name, got, "what predict() gave") from None
            if found[name].ndim not in (1, 2) or not found[name].shape[-1]:
                got = f"shape {found[name].shape}"
                raise ArgumentError(where, name, got, "(n_items,) or (U, n_items)")
            if not np.isfinite(found[name]).all():
                raise ArgumentError(where, name, "NaN or infinity", "finite scores")
        interests, ratings = found["user_interests"], found["item_features"]
        if interests.shape != ratings.shape:
            got = f"shape {ratings.shape}"
            raise ArgumentError(
                where, "item_features", got, f"that of user_interests, {interests.shape}"
            )
        return np.atleast_2d(interests), np.atleast_2d(ratings), interests.ndim == 1

    def _ids(self, user_interests: Any, item_features: Any, n: int) -> np.ndarray:
        known = [getattr(x, "item_ids", None) for x in (user_interests, item_features)]
        named = [ids for ids in known if ids is not None]
        if len(named) == 2 and not np.array_equal(*named):
            where = "RecommenderSystem.generate_recommendations"
            raise ArgumentError(
                where, "item_features", "scores of other items", "of the same items"
            )
        return named[0] if named else np.arange(n)

    def _allowed(
        self, user_interests: Any, item_features: Any, ids: np.ndarray, shape: tuple[int, ...]
    ) -> np.ndarray:
        """bool (U, n_items): what may be shown."""
        allowed = np.ones(shape, bool)
        for given in (user_interests, item_features):
            if isinstance(given, ItemScores) and given.had is not None:
                had = given.had
                allowed[np.repeat(np.arange(shape[0]), np.diff(had.indptr)), had.indices] = False
        if self.never:
            allowed[:, np.isin(ids, list(self.never))] = False
        return allowed
