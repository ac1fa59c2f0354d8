"""Models that are learned by alternating least squares: for ratings, and for implicit feedback."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.arguments import flag, number, one_of, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.ranker import with_strangers
from lepton_ref.recsys.factorization.als import (
    Entries,
    implicit_loss,
    implicit_step,
    ridge_step,
)
from lepton_ref.recsys.factorization.base import FactorModel

SOLVERS = ("exact", "cg")
DTYPES = ("float32", "float64")


class ExplicitALS(FactorModel):
    """r̂ = μ + b_u + b_i + p·q, by alternating ridge regressions.

    With the items fixed, (b_u, p) of each user is the ridge regression of r − μ − b_i on (1, q);
    then the same for the items (eqs. als-step, als-bias). The last step is the users', so each
    user's vector is what :func:`fold_in` makes of the user's own ratings (eq. als-fold-in).

    Parameters
    ----------
    factors : int
        k, biases not counted.
    iterations : int
        Each solves for all items, then for all users.
    reg : float
        λ, positive; times the number of ratings when ``weighted``.
    weighted : bool
        Regularise each user and item in proportion to its ratings (eq. als-weighted).
    init_std : float
        Standard deviation of the users' first factors.
    seed : int

    Raises
    ------
    ArgumentError
        For sizes below 1 and rates that are not positive.
    """

    def __init__(
        self, factors: int = 50, iterations: int = 15, reg: float = 0.12, weighted: bool = True,
        init_std: float = 0.1, seed: int = 0,
    ) -> None:  # fmt: skip
        whole("ExplicitALS", factors=factors, iterations=iterations)
        number("ExplicitALS", 0.0, reg=reg, init_std=init_std)
        whole("ExplicitALS", 0, seed=seed)
        flag("ExplicitALS", weighted=weighted)
        self.factors, self.iterations, self.reg = factors, iterations, reg
        self.weighted, self.init_std, self.seed = weighted, init_std, seed
        #: Root of the mean squared training error after each iteration.
        self.history: list[float] = []

    def fit(self, train: Ratings) -> ExplicitALS:
        """Learn from ratings.

        Raises
        ------
        ArgumentError
            No ratings.
        """
        self._prepare(train)
        self.mean, self.history = float(train.values.mean()), []
        rng = np.random.default_rng(self.seed)
        by_user = Entries.of(self.seen)
        by_item = Entries.of(self.seen.T.tocsr())
        self.user_factors = rng.normal(0, self.init_std, (train.n_users, self.factors))
        self.user_factors[by_user.counts == 0] = 0
        self.item_factors = np.zeros((train.n_items, self.factors))
        for _ in range(self.iterations):
            self.item_bias, self.item_factors = fold_in(
                by_item, self.user_bias, self.user_factors, self.mean, self.reg, self.weighted
            )
            self.user_bias, self.user_factors = fold_in(
                by_user, self.item_bias, self.item_factors, self.mean, self.reg, self.weighted
            )
            error = self.predict(train.users, train.items, clip=False) - train.values
            self.history.append(float(np.sqrt(np.mean(error * error))))
        return self


def fold_in(
    entries: Entries,
    bias: np.ndarray,
    factors: np.ndarray,
    mean: float,
    reg: float,
    weighted: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Bias and factors of users from their ratings alone, the items fixed (eq. als-fold-in).

    It is the half-step of :class:`ExplicitALS`, so a user who was there when the model was
    trained gets the same vector. Items from users: exchange the two.

    Parameters
    ----------
    entries : Entries
        Ratings of m users.
    bias, factors : np.ndarray
        float64 (items,), (items, k): b_i and q of the items.
    mean, reg : float
        μ and λ.
    weighted : bool

    Returns
    -------
    bias, factors : np.ndarray
        float64 (m,), (m, k); zeros for a user without ratings.
    """
    design = np.concatenate([np.ones((len(factors), 1)), factors], axis=1)  # (items, 1 + k)
    left = entries._replace(values=entries.values - mean - bias[entries.indices])
    out = np.empty((len(entries.counts), design.shape[1]))
    ridge_step(left, design, out, reg, weighted)
    return out[:, 0].copy(), out[:, 1:].copy()


class ImplicitALS(FactorModel):
    """Preference from implicit feedback: p = 1 where something happened, 0 elsewhere.

    Minimises Σ c (p − x·y)² + λ (Σ‖x‖² + Σ‖y‖²) over *all* pairs, c = 1 + α value
    (eqs. implicit-confidence, implicit-loss), in time that grows with the entries alone
    (eq. implicit-trick).

    Parameters
    ----------
    factors : int
        k.
    iterations : int
        Each solves for all items, then for all users, so that each user's vector is the best for
        the items as they are; with the exact solver, fold-in gives the same.
    reg, alpha : float
        λ and α, positive.
    solver : {"exact", "cg"}
        Solve each system, or improve it by conjugate gradients.
    cg_steps : int
        For ``"cg"``.
    dtype : {"float64", "float32"}
        Of the factors.
    seed : int
        Draws the initial factors.

    Raises
    ------
    ArgumentError
        For sizes below 1, rates that are not positive, an unknown solver or dtype.
    """

    def __init__(
        self, factors: int = 64, iterations: int = 15, reg: float = 25.0, alpha: float = 0.3,
        solver: str = "exact", cg_steps: int = 3, dtype: str = "float64", seed: int = 0,
    ) -> None:  # fmt: skip
        where = "ImplicitALS"
        whole(where, factors=factors, iterations=iterations, cg_steps=cg_steps)
        number(where, 0.0, reg=reg, alpha=alpha)
        whole(where, 0, seed=seed)
        one_of(where, "solver", solver, SOLVERS)
        one_of(where, "dtype", dtype, DTYPES)
        self.factors, self.iterations, self.reg, self.alpha = factors, iterations, reg, alpha
        self.solver, self.cg_steps, self.dtype, self.seed = solver, cg_steps, dtype, seed

    def fit(self, train: Ratings, history: bool = False) -> ImplicitALS:
        """Learn from interactions; their values are how much was done, and must be above 0.

        Parameters
        ----------
        train : Ratings
        history : bool
            Keep the loss after each iteration in ``history``.

        Raises
        ------
        ArgumentError
            No rows, or values that are not positive.
        """
        self._prepare(train)
        if (train.values <= 0).any():
            row = int(np.argmax(train.values <= 0))
            got = f"{train.values[row]:g} in row {row}"
            raise ArgumentError("ImplicitALS.fit", "train", got, "values above 0")
        self.history: list[float] = []
        extra = self.seen * self.alpha
        by_user, by_item = Entries.of(extra, self.dtype), Entries.of(extra.T.tocsr(), self.dtype)
        rng = np.random.default_rng(self.seed)
        first = 0.01 * rng.standard_normal((train.n_users, self.factors))
        self.user_factors = first.astype(self.dtype)
        self.item_factors = np.zeros((train.n_items, self.factors), self.dtype)
        self.popularity = by_item.counts / by_item.counts.sum()
        steps = self.cg_steps if self.solver == "cg" else None
        for _ in range(self.iterations):
            implicit_step(by_item, self.user_factors, self.item_factors, self.reg, steps)
            implicit_step(by_user, self.item_factors, self.user_factors, self.reg, steps)
            if history:
                factors = self.user_factors, self.item_factors
                self.history.append(implicit_loss(by_user, *factors, self.reg))
        return self

    def predict(self, users: Any, items: Any, clip: bool = True) -> np.ndarray:
        """Preference of pairs, float64 (n,), about 0 to 1; it is no rating and never clipped.

        Raises
        ------
        ArgumentError
            As in :meth:`FactorModel.predict`.
        """
        out = super().predict(users, items, clip=False)
        u, i = np.asarray(users, np.int64), np.asarray(items, np.int64)
        return np.where(np.diff(self.seen.indptr)[u] == 0, self.popularity[i], out)

    def explain(self, user: int, item: int) -> tuple[np.ndarray, np.ndarray]:
        """What each thing that a user did adds to the score of an item (eq. implicit-explain).

        Returns
        -------
        items : np.ndarray
            int64 (n,), what the user has in the training set, the largest part first.
        parts : np.ndarray
            float64 (n,); their sum is the score, after fitting with the exact solver.

        Raises
        ------
        ArgumentError
            As in :meth:`FactorModel.predict`.
        """
        where = "ImplicitALS.explain"
        self._require_fit(where)
        u = int(codes(where, "user", [user], self.seen.shape[0])[0])
        i = int(codes(where, "item", [item], self.seen.shape[1])[0])
        Y = self.item_factors.astype(np.float64)
        mine = self.seen.indices[self.seen.indptr[u] : self.seen.indptr[u + 1]]
        c = 1 + self.alpha * self.seen.data[self.seen.indptr[u] : self.seen.indptr[u + 1]]
        A = Y.T @ Y + self.reg * np.eye(self.factors) + (Y[mine].T * (c - 1)) @ Y[mine]
        parts = Y[mine] @ np.linalg.solve(A, Y[i]) * c
        order = np.argsort(-parts, kind="stable")
        return mine[order].astype(np.int64), parts[order]

    def _scores(self, u: np.ndarray) -> np.ndarray:
        return with_strangers(super()._scores, u, self.seen, self.popularity)
