"""The model of the documents' listing: item vectors that read a person's behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.models import load_model, register, save
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.behaviour import ItemScores, of_several, read_behaviour
from lepton_ref.recsys.evaluation.interactions import checked_scale
from lepton_ref.recsys.factorization.als import Entries
from lepton_ref.recsys.factorization.alternating import ExplicitALS, fold_in

WHERE = "MatrixFactorization"


@register
class MatrixFactorization:
    """Predicted ratings for whoever comes: their behaviour is folded in (eq. als-fold-in).

    Holds the item side of an :class:`ExplicitALS` alone: factors, biases, the mean. No user's
    vector and no rating is kept. The vector of an item that one person rated has the direction of
    that person's, so ``min_support`` leaves such items without one.

    Parameters
    ----------
    factors, iterations, reg, seed
        As for :class:`ExplicitALS`, with ``weighted=True``.
    min_support : int
        Items with fewer raters have no vector and no bias: they are rated as nobody knows them.
        For a model that leaves the house take 5 or more.
    item_ids : sequence, optional
        Ids of the items, whole numbers or str; :meth:`fit` sets them.
    scale : (low, high), optional
        Of the ratings; :meth:`fit` sets it.

    Attributes
    ----------
    item_ids : np.ndarray
        (n_items,).
    item_factors, item_bias : np.ndarray
        float32 (n_items, k), (n_items,).
    mean : float

    Raises
    ------
    ArgumentError
        As for :class:`ExplicitALS`.

    Examples
    --------
    >>> model = MatrixFactorization.load_model("matrix_factorization_model")
    >>> model.predict({50: 5, 181: 4}).shape  # Star Wars and its sequel
    (1682,)
    """

    description: dict[str, Any]

    def __init__(
        self, factors: int = 50, iterations: int = 15, reg: float = 0.12, seed: int = 0,
        min_support: int = 1,
        item_ids: Sequence[Any] | np.ndarray | None = None,
        scale: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        whole(WHERE, factors=factors, iterations=iterations, min_support=min_support)
        number(WHERE, 0.0, reg=reg)
        whole(WHERE, 0, seed=seed)
        self.factors, self.iterations, self.reg, self.seed = factors, iterations, reg, seed
        self.min_support = min_support
        self.item_ids = np.array([] if item_ids is None else item_ids)
        self.scale = checked_scale(WHERE, scale)
        self.item_factors = np.zeros((len(self.item_ids), factors), np.float32)
        self.item_bias = np.zeros(len(self.item_ids), np.float32)
        self.mean = 0.0

    def fit(self, train: Ratings) -> MatrixFactorization:
        """Learn the items from ratings, and forget who gave them.

        Raises
        ------
        ArgumentError
            No ratings.
        """
        whole = ExplicitALS(self.factors, self.iterations, self.reg, seed=self.seed).fit(train)
        self.item_ids, self.scale = train.item_ids.copy(), train.scale
        enough = np.bincount(train.items, minlength=train.n_items) >= self.min_support
        self.item_factors = (whole.item_factors * enough[:, None]).astype(np.float32)
        self.item_bias = (whole.item_bias * enough).astype(np.float32)
        self.mean = float(np.float32(whole.mean))
        return self

    def predict(self, user_behavior: Any) -> ItemScores:
        """Predicted rating of every item.

        Parameters
        ----------
        user_behavior : dict, list or array
            Of one person: ``{item id: rating}``, a list of ids that were liked, a list of
            (id, rating) pairs, or an array (n_items,), 0 or NaN where unknown. Of U people: an
            array (U, n_items), or a list of U dicts. Nothing at all is allowed: the answer is
            then μ + b_i.

        Returns
        -------
        ItemScores
            float64 (n_items,), or (U, n_items) for several; within the scale. It knows which items
            it speaks of, and what the person had.

        Raises
        ------
        ArgumentError
            Behaviour of another form, unknown items, ratings out of scale; no fitted model.
        """
        if not len(self.item_ids):
            raise ArgumentError(
                WHERE + ".predict", "self", "no items", "a model after fit() or load_model()"
            )
        rows = read_behaviour(WHERE + ".predict", user_behavior, self.item_ids, self.scale)
        b = self.item_bias.astype(np.float64)
        q = self.item_factors.astype(np.float64)
        bias, factors = fold_in(Entries.of(rows), b, q, self.mean, self.reg)
        out = self.mean + bias[:, None] + b + factors @ q.T  # (U, n_items)
        if self.scale is not None:
            out = np.clip(out, *self.scale)
        return ItemScores.of(out, rows, self.item_ids, of_several(user_behavior))

    def state(self) -> dict[str, np.ndarray]:
        """Copies of the arrays by name, float32."""
        return {
            "item_factors": self.item_factors.copy(),
            "item_bias": self.item_bias.copy(),
            "mean": np.array([self.mean], np.float32),
        }

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Overwrite the arrays."""
        self.item_factors = np.array(state["item_factors"], np.float32)
        self.item_bias = np.array(state["item_bias"], np.float32)
        self.mean = float(state["mean"][0])

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {
            "factors": self.factors, "iterations": self.iterations, "reg": self.reg,
            "seed": self.seed, "min_support": self.min_support, "item_ids": self.item_ids.tolist(),
            "scale": None if self.scale is None else list(self.scale),
        }  # fmt: skip

    def save(self, path: str | Path, description: Mapping[str, Any] | None = None) -> Path:
        """Write the model to one file; errors as in :func:`lepton_ref.save`."""
        return save(self, path, description)

    @classmethod
    def load_model(cls, name: str, path: str | Path | None = None) -> MatrixFactorization:
        """A saved model by name; errors as in :func:`lepton_ref.load_model`."""
        return load_model(name, path=path, expected=cls)
