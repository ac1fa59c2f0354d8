"""What a person rated as players: a recommender seen as a game of the items it was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError


class RatedItems:
    """A recommender as a black box of one person's ratings: (M, P) -> (M, number of items).

    A rating of 0 says that the item was not rated, so the baseline is 0 and every rated item is a
    player. An output is the predicted rating of one item; the target is its column.

    Parameters
    ----------
    model : MatrixFactorization or CollaborativeFiltering
        What has ``item_ids`` and ``predict(behaviour)``.
    behaviour : mapping
        ``{item id: rating}`` of one person.

    Attributes
    ----------
    items : tuple
        Ids of the players.
    x : float64 ndarray, shape (1, P)
        Their ratings.

    Raises
    ------
    ArgumentError
        For behaviour that is no mapping, is empty, or names items that the model does not know.
    """

    def __init__(self, model: Any, behaviour: Mapping[Any, float]) -> None:
        if not isinstance(behaviour, Mapping) or not behaviour:
            got = "no rating" if isinstance(behaviour, Mapping) else type(behaviour).__name__
            raise ArgumentError("RatedItems", "behaviour", got, "a dict {item id: rating}")
        known = {item: column for column, item in enumerate(np.asarray(model.item_ids).tolist())}
        for item in behaviour:
            if item not in known:
                raise ArgumentError(
                    "RatedItems", "behaviour", f"the item {item!r}", "items that the model knows"
                )
        self.model, self.items = model, tuple(behaviour)
        self._column = known
        self._columns = np.array([known[item] for item in self.items])
        self.x = np.array([list(behaviour.values())], np.float64)

    def column(self, item: Any) -> int:
        """The target that stands for an item.

        Raises
        ------
        ArgumentError
            For an item that the model does not know.
        """
        if item not in self._column:
            raise ArgumentError(
                "RatedItems.column", "item", f"the value {item!r}", "an item of the model"
            )
        return self._column[item]

    def __call__(self, ratings: np.ndarray) -> np.ndarray:
        """Predicted ratings of all items for rows of the players' ratings: float64 (M, n_items)."""
        table = np.zeros((len(ratings), len(self._column)))
        table[:, self._columns] = ratings
        return np.asarray(self.model.predict(table))
