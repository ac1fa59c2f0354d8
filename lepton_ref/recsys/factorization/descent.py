"""Models of a rating that are learned by stochastic gradient descent, one rating at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.arguments import flag, number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.factorization.base import FactorModel
from lepton_ref.recsys.factorization.sgd import biased_epoch, svdpp_epoch

DAY = 86_400  # seconds


class _Descent(FactorModel):
    """Checked hyper-parameters of both models, and what they do alike."""

    def __init__(
        self, factors: int, epochs: int, lr: float, decay: float, reg: float, reg_bias: float,
        init_std: float, seed: int,
    ) -> None:  # fmt: skip
        where = type(self).__name__
        whole(where, factors=factors, epochs=epochs)
        number(where, 0.0, lr=lr, decay=decay)
        number(where, reg=reg, reg_bias=reg_bias, init_std=init_std)
        whole(where, 0, seed=seed)
        self.factors, self.epochs, self.lr, self.decay = factors, epochs, lr, decay
        self.reg, self.reg_bias, self.init_std, self.seed = reg, reg_bias, init_std, seed
        #: Root of the mean squared error over each epoch, each rating before its update.
        self.history: list[float] = []

    def _begin(self, train: Ratings) -> np.random.Generator:
        self._prepare(train)
        self.mean, self.history = float(train.values.mean()), []
        return np.random.default_rng(self.seed)

    def _note(self, total: float, n: int, epoch: int) -> None:
        if not np.isfinite(total):
            got = f"the value {self.lr}, and the loss is {total} after epoch {epoch + 1}"
            raise ArgumentError(type(self).__name__ + ".fit", "lr", got, "a smaller one")
        self.history.append(float(np.sqrt(total / n)))


class BiasedMF(_Descent):
    """r̂ = μ + b_u + b_i + p·q, by stochastic gradient descent.

    Minimises Σ (r − r̂)² + λ_b (b_u² + b_i²) + λ (‖p‖² + ‖q‖²) over the ratings
    (eq. factorization-loss), visited in a new random order in each epoch.

    Parameters
    ----------
    factors : int
        k, length of the vectors.
    epochs : int
    lr, decay : float
        Learning rate η of the first epoch, and by what each epoch multiplies it.
    reg, reg_bias : float
        λ and λ_b.
    init_std : float
        Standard deviation of the initial factors; biases start at 0.
    seed : int

    Raises
    ------
    ArgumentError
        For sizes below 1, rates that are not positive, negative regularisation.
    """

    def __init__(
        self, factors: int = 100, epochs: int = 40, lr: float = 0.02, decay: float = 0.94,
        reg: float = 0.08, reg_bias: float = 0.02, init_std: float = 0.05, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(factors, epochs, lr, decay, reg, reg_bias, init_std, seed)

    def fit(self, train: Ratings) -> BiasedMF:
        """Learn from ratings.

        Raises
        ------
        ArgumentError
            No ratings, or a learning rate at which the loss grows without bound.
        """
        rng = self._begin(train)
        size = self.factors
        self.user_factors = rng.normal(0, self.init_std, (train.n_users, size))
        self.item_factors = rng.normal(0, self.init_std, (train.n_items, size))
        lr, n = float(self.lr), len(train)
        for epoch in range(self.epochs):
            order = rng.permutation(n)
            total = biased_epoch(
                train.users[order], train.items[order], train.values[order], self.mean,
                self.user_bias, self.item_bias, self.user_factors, self.item_factors,
                lr, float(self.reg_bias), float(self.reg),
            )  # fmt: skip
            self._note(total, n, epoch)
            lr *= self.decay
        # What was drawn for those without a rating says nothing of them.
        self.user_factors[np.diff(self.seen.indptr) == 0] = 0
        self.item_factors[np.bincount(train.items, minlength=train.n_items) == 0] = 0
        return self


class SVDPlusPlus(_Descent):
    """SVD++: a user is p + |I|^-½ Σ y_j over the items j rated; with or without days.

    What somebody chose to rate says something of them, whatever the rating
    (eq. svdpp-prediction). With ``days`` each day of each user has a bias of its own
    (eq. svdpp-day), for moods and for the several people behind one account.

    Parameters
    ----------
    days : bool
        Learn a bias for each day of each user; the ratings must have times.
    reg_day : float
        Regularisation of the days' biases. Others as in :class:`BiasedMF`.

    Raises
    ------
    ArgumentError
        As in :class:`BiasedMF`.
    """

    def __init__(
        self, factors: int = 100, epochs: int = 40, lr: float = 0.02, decay: float = 0.94,
        reg: float = 0.08, reg_bias: float = 0.02, days: bool = False, reg_day: float = 0.1,
        init_std: float = 0.05, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(factors, epochs, lr, decay, reg, reg_bias, init_std, seed)
        number("SVDPlusPlus", reg_day=reg_day)
        flag("SVDPlusPlus", days=days)
        self.days, self.reg_day = days, reg_day
        self.known_days = np.zeros(0, np.int64)
        self.day_bias = np.zeros(1)

    def fit(self, train: Ratings) -> SVDPlusPlus:
        """Learn from ratings.

        Raises
        ------
        ArgumentError
            As in :meth:`BiasedMF.fit`; ratings without times when the model has days.
        """
        rng = self._begin(train)
        if self.days and train.times is None:
            raise ArgumentError("SVDPlusPlus.fit", "train", "no times", "times, or days=False")
        shape = train.n_items, self.factors
        P = rng.normal(0, self.init_std, (train.n_users, self.factors))
        Q, Y = rng.normal(0, self.init_std, shape), np.zeros(shape)
        day = np.zeros(len(train), np.int64)
        self.known_days, self.day_bias = np.zeros(0, np.int64), np.zeros(1)
        if self.days:
            self.known_days, day = np.unique(self._days(train.users, train.times),
                                             return_inverse=True)  # fmt: skip
            self.day_bias = np.zeros(len(self.known_days))
        indptr = self.seen.indptr.astype(np.int64)
        lr = float(self.lr)
        for epoch in range(self.epochs):
            order = np.lexsort((rng.random(len(train)), train.users))
            total = svdpp_epoch(
                rng.permutation(train.n_users), indptr, train.items[order],
                day.reshape(-1)[order], train.values[order], self.mean, self.user_bias,
                self.item_bias, self.day_bias, P, Q, Y, lr, lr if self.days else 0.0,
                float(self.reg_bias), float(self.reg_day), float(self.reg),
            )  # fmt: skip
            self._note(total, len(train), epoch)
            lr *= self.decay
        counts = np.diff(indptr)
        rated = self.seen.copy()
        rated.data = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts)
        self.user_factors, self.item_factors, self.implicit_factors = P + rated @ Y, Q, Y
        self.user_factors[counts == 0] = 0
        self.item_factors[np.bincount(train.items, minlength=train.n_items) == 0] = 0
        return self

    def predict(self, users: Any, items: Any, clip: bool = True, times: Any = None) -> np.ndarray:
        """Predicted ratings of pairs, float64 (n,).

        Parameters
        ----------
        users, items, clip
            As in :meth:`FactorModel.predict`.
        times : int array, shape (n,), optional
            Seconds; a day of the user that the training set knows adds its bias.

        Raises
        ------
        ArgumentError
            As in :meth:`FactorModel.predict`; times for a model without days.
        """
        where = "SVDPlusPlus.predict"
        if times is None:
            return super().predict(users, items, clip)
        if not self.days:
            raise ArgumentError(where, "times", "times", "none: the model has no days")
        out = super().predict(users, items, clip=False)
        when = np.asarray(times)
        if when.shape != out.shape or when.dtype.kind not in "iu":
            got = f"shape {when.shape} and dtype {when.dtype}"
            raise ArgumentError(where, "times", got, f"whole seconds, shape {out.shape}")
        wanted = self._days(codes(where, "users", users, len(self.user_factors)), when)
        at = np.minimum(np.searchsorted(self.known_days, wanted), len(self.known_days) - 1)
        out += np.where(self.known_days[at] == wanted, self.day_bias[at], 0.0)
        return out if not clip or self.scale is None else np.clip(out, *self.scale)

    def _days(self, users: np.ndarray, times: Any) -> np.ndarray:
        """One number for each day of each user."""
        return users * (1 << 32) + np.asarray(times, np.int64) // DAY
