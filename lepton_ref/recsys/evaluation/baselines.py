"""Models that any other must beat: chance, popularity, the mean of an item, a biased mean.

Source: Koren (2010), *Factor in the neighbors*, section 2.1; Surprise's ``BaselineOnly`` (Hug,
2020), whose defaults these are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.interactions import Ratings
from lepton_ref.recsys.evaluation.selection import best_in_blocks


class Baseline:
    """What the models of this page have in common: ``fit``, ``scores``, ``recommend``.

    Parameters
    ----------
    seed : int
        Only :class:`Random` draws anything.
    """

    train: Ratings | None = None

    def __init__(self, seed: int = 0) -> None:
        whole(type(self).__name__, 0, seed=seed)
        self.seed = int(seed)

    def fit(self, train: Ratings) -> Any:
        """Learn from ratings.

        Raises
        ------
        ArgumentError
            When there are none.
        """
        if not isinstance(train, Ratings) or not len(train):
            got = f"type {type(train).__name__}" if not isinstance(train, Ratings) else "no rows"
            raise ArgumentError(f"{type(self).__name__}.fit", "train", got, "Ratings with rows")
        self.train = train
        self.seen = train.matrix()
        self._learn(train)
        return self

    def scores(self, users: Any = None) -> np.ndarray:
        """Score of every item for these users (all by default): float64 (U, n_items).

        Raises
        ------
        ArgumentError
            For numbers of users that the training set's numbering lacks.
        """
        return self._scores(self._users("scores", users))

    def recommend(self, users: Any = None, k: int = 10, exclude_seen: bool = True) -> np.ndarray:
        """The best k items for each of these users: int64 (U, k), −1 where fewer remain.

        Parameters
        ----------
        users : int array, shape (U,), optional
        k : int
        exclude_seen : bool
            Leave out what the user has in the training set.
        """
        whose = self._users("recommend", users)
        return best_in_blocks(self._scores, whose, k, self.seen, exclude_seen)

    def _learn(self, train: Ratings) -> None:
        raise NotImplementedError

    def _scores(self, users: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _users(self, method: str, users: Any) -> np.ndarray:
        train = self._fitted(method)
        if users is None:
            return np.arange(train.n_users)
        return codes(f"{type(self).__name__}.{method}", "users", users, train.n_users)

    def _fitted(self, method: str) -> Ratings:
        if self.train is None:
            where = f"{type(self).__name__}.{method}"
            raise ArgumentError(where, "self", "learnt nothing yet", "a model after fit(train)")
        return self.train


class Random(Baseline):
    """A score drawn for each user and item: what luck alone would reach.

    A user's scores do not depend on who else is asked for.
    """

    def _learn(self, train: Ratings) -> None:
        pass

    def _scores(self, users: np.ndarray) -> np.ndarray:
        n = self.seen.shape[1]
        rows = [np.random.default_rng([self.seed, int(u)]).random(n) for u in users]
        return np.array(rows).reshape(len(users), n)


class Popularity(Baseline):
    """The number of ratings of an item, for everybody the same.

    Parameters
    ----------
    chart : int, optional
        Know only that many items, the best, and put the others in random order below.
    seed : int
        Of that order.
    """

    def __init__(self, chart: int | None = None, seed: int = 0) -> None:
        super().__init__(seed)
        if chart is not None:
            whole("Popularity", chart=chart)
        self.chart = chart

    def _learn(self, train: Ratings) -> None:
        count = np.bincount(train.items, minlength=train.n_items).astype(np.float64)
        if self.chart is not None:
            best = np.argsort(-count, kind="stable")[: self.chart]
            luck = np.random.default_rng(self.seed).random(train.n_items) - 1
            luck[best] = count[best]
            count = luck
        self.count = count

    def _scores(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.count, (len(users), 1))


class RatingBaseline(Baseline):
    """A baseline that predicts ratings.

    Parameters
    ----------
    clip : bool
        Bring predictions back into the scale of the ratings.
    seed : int
    """

    def __init__(self, clip: bool = True, seed: int = 0) -> None:
        super().__init__(seed)
        self.clip = bool(clip)
        self.mean = 0.0
        self.user_bias = self.item_bias = np.zeros(0)

    def predict(self, users: Any, items: Any) -> np.ndarray:
        """Predicted ratings of these pairs: float64 (n,).

        Raises
        ------
        ArgumentError
            Numbers outside the training set's numbering, or not as many users as items.
        """
        train, where = self._fitted("predict"), f"{type(self).__name__}.predict"
        u = codes(where, "users", users, train.n_users)
        i = codes(where, "items", items, train.n_items)
        if u.shape != i.shape:
            raise ArgumentError(where, "items", f"shape {i.shape}", f"{u.shape}, like users")
        return self._clipped(self.mean + self.user_bias[u] + self.item_bias[i])

    def _scores(self, users: np.ndarray) -> np.ndarray:
        # Not clipped: on the ceiling of the scale all good items would be equal.
        return self.mean + self.user_bias[users][:, None] + self.item_bias

    def _clipped(self, values: np.ndarray) -> np.ndarray:
        scale = self._fitted("predict").scale
        return np.clip(values, *scale) if self.clip and scale else values


class ItemMean(RatingBaseline):
    """The mean rating of an item, drawn to the mean of all.

    b_i = Σ (r − μ) / (λ + n_i): the mean of the item's n_i ratings and λ more of value μ.

    Parameters
    ----------
    shrinkage : float
        λ ≥ 0.
    clip, seed
        As in :class:`RatingBaseline`.
    """

    def __init__(self, shrinkage: float = 0.0, clip: bool = True, seed: int = 0) -> None:
        super().__init__(clip, seed)
        number("ItemMean", shrinkage=shrinkage)
        self.shrinkage = shrinkage

    def _learn(self, train: Ratings) -> None:
        self.mean = float(train.values.mean())
        self.user_bias = np.zeros(train.n_users)
        residual = train.values - self.mean
        self.item_bias = _bias(train.items, residual, self.shrinkage, train.n_items)


class BiasBaseline(RatingBaseline):
    """Mean of all, plus a bias of the user, plus one of the item: r̂ = μ + b_u + b_i.

    Minimises Σ (r − μ − b_u − b_i)² + λ_u Σ b_u² + λ_i Σ b_i² (eq. receval-bias-loss) by turns:
    with one side held, the other is Σ residuals / (λ + their number) (eq. receval-bias-step).

    Parameters
    ----------
    reg_users, reg_items : float
        λ_u and λ_i, at least 0.
    epochs : int
        Turns, each items first, as Surprise's ``BaselineOnly`` takes them.
    clip, seed
        As in :class:`RatingBaseline`.

    Attributes
    ----------
    mean : float
    user_bias, item_bias : np.ndarray
        (n_users,) and (n_items,); 0 without a training row.
    """

    def __init__(
        self,
        reg_users: float = 15.0,
        reg_items: float = 10.0,
        epochs: int = 10,
        clip: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(clip, seed)
        number("BiasBaseline", reg_users=reg_users, reg_items=reg_items)
        whole("BiasBaseline", epochs=epochs)
        self.reg_users, self.reg_items, self.epochs = reg_users, reg_items, epochs

    def _learn(self, train: Ratings) -> None:
        u, i = train.users, train.items
        self.mean = float(train.values.mean())
        residual = train.values - self.mean
        of_user, of_item = np.zeros(train.n_users), np.zeros(train.n_items)
        for _ in range(self.epochs):
            of_item = _bias(i, residual - of_user[u], self.reg_items, train.n_items)
            of_user = _bias(u, residual - of_item[i], self.reg_users, train.n_users)
        self.user_bias, self.item_bias = of_user, of_item


def _bias(group: np.ndarray, residual: np.ndarray, reg: float, n: int) -> np.ndarray:
    """Σ residuals / (reg + their number), of each group (eq. receval-bias-step)."""
    total = np.bincount(group, residual, minlength=n)
    weight = np.bincount(group, minlength=n) + reg
    return np.divide(total, weight, out=np.zeros(n), where=weight > 0)
