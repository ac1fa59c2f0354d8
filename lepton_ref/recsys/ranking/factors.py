"""BPR and WARP: factors that are trained on the order of items, not on ratings.

Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009), *BPR: Bayesian personalized
ranking from implicit feedback*; Weston, Bengio and Usunier (2011), *WSABIE: scaling up to large
vocabulary image annotation*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.arguments import number, whole
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.ranking.loops import bpr_pass, unseen_items, warp_pass

ROWS = 1 << 17  # pairs whose random items are held at a time


def bpr_loss(
    P: np.ndarray, Q: np.ndarray, b: np.ndarray, triples: np.ndarray, reg: float = 0.0
) -> float:
    """Σ ln(1 + e^−x) over triples (u, i, j), and what each charges its parameters (eq. bpr-loss).

    Parameters
    ----------
    P, Q, b : arrays, shapes (n_users, F), (n_items, F), (n_items,)
    triples : int array, shape (n, 3)
    reg : float
        λ: each triple adds λ/2 times the squares of the parameters that it touches.
    """
    u, i, j = np.asarray(triples).T
    x = b[i] - b[j] + (P[u] * (Q[i] - Q[j])).sum(1)
    touched = (P[u] ** 2 + Q[i] ** 2 + Q[j] ** 2).sum() + (b[i] ** 2 + b[j] ** 2).sum()
    return float(np.logaddexp(0, -x).sum() + reg / 2 * touched)


def warp_weights(n: int) -> np.ndarray:
    """Φ(r) = 1 + 1/2 + … + 1/r for r = 0 … n, over Φ(n) (eq. warp-weight): float64 (n + 1,)."""
    whole("warp_weights", n=n)
    phi = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])
    return phi / phi[-1]


def expected_estimate(rank: Any, n: int, trials: int | None = None) -> np.ndarray:
    """What n / N is on average, N the draws until the first of ``rank`` violators among n.

    Without a limit it is n · p ln(1/p) / (1 − p) with p = rank / n (eq. warp-sampled-rank), more
    than ``rank``. With ``trials``, no violator found counts as 0.

    Parameters
    ----------
    rank : int or array of int
        From 1 to n.
    n : int
        Items that could be drawn.
    trials : int, optional

    Returns
    -------
    np.ndarray
        float64, in the shape of ``rank``.
    """
    whole("expected_estimate", n=n)
    p = np.asarray(rank, np.float64) / n
    if trials is None:
        below = np.where(p < 1, p, 0.5)
        return n * np.where(p < 1, below * np.log(1 / below) / (1 - below), 1.0)
    whole("expected_estimate", trials=trials)
    N = np.arange(1, trials + 1)
    return n * (p[..., None] * (1 - p[..., None]) ** (N - 1) / N).sum(-1)


class _Factors(Ranker):
    """Scores b_i + p_u · q_i."""

    P: np.ndarray
    Q: np.ndarray
    b: np.ndarray

    def __init__(self, num_factors: int, epochs: int, lr: float, reg: float, seed: int) -> None:
        where = type(self).__name__
        whole(where, num_factors=num_factors, epochs=epochs)
        whole(where, 0, seed=seed)
        number(where, 0.0, lr=lr)
        number(where, reg=reg)
        self.num_factors, self.epochs, self.seed = num_factors, epochs, seed
        self.lr, self.reg = float(lr), float(reg)

    def _start(self, train: Ratings) -> np.random.Generator:
        rng = np.random.default_rng(self.seed)
        self._remember(train)
        self.P = rng.normal(0, 0.1, (train.n_users, self.num_factors))
        self.Q = rng.normal(0, 0.1, (train.n_items, self.num_factors))
        self.b = np.zeros(train.n_items)
        self.history: list[tuple[float, float]] = []
        return rng

    def _rate(self, epoch: int) -> float:
        """The learning rate falls in a straight line to a tenth."""
        return self.lr * (1 - 0.9 * epoch / self.epochs)

    def _scores(self, users: np.ndarray) -> np.ndarray:
        return self.P[users] @ self.Q.T + self.b


class BPR(_Factors):
    """Bayesian personalised ranking: each liked item against one that was not (eq. bpr-loss).

    An epoch goes through all training rows in random order and draws for each an unseen item, all
    equally likely.

    Parameters
    ----------
    num_factors, epochs : int
    lr : float
        Falls to a tenth of it.
    reg, bias_reg : float
        λ of the factors and of the biases.
    seed : int

    Attributes
    ----------
    P, Q, b : np.ndarray
        float64, users (n_users, F), items (n_items, F), biases (n_items,).
    history : list of (float, float)
        Per epoch the mean loss, and the mean of σ(−x): what the steps are multiplied by.

    Raises
    ------
    ArgumentError
        For a hyper-parameter out of its domain.
    """

    def __init__(
        self,
        num_factors: int = 128,
        epochs: int = 80,
        lr: float = 0.1,
        reg: float = 0.02,
        bias_reg: float = 0.005,
        seed: int = 0,
    ) -> None:
        super().__init__(num_factors, epochs, lr, reg, seed)
        number("BPR", bias_reg=bias_reg)
        self.bias_reg = float(bias_reg)

    def fit(self, train: Ratings) -> BPR:
        """Learn from who has a row with what; the values of the ratings play no part."""
        rng = self._start(train)
        assert self.seen is not None
        for epoch in range(self.epochs):
            order = rng.permutation(len(train))
            users, items = train.users[order], train.items[order]
            others = unseen_items(self.seen, users, rng)
            self.history.append(
                bpr_pass(
                    *(users, items, others, self.P, self.Q, self.b),
                    *(self._rate(epoch), self.reg, self.bias_reg),
                )
            )
        return self


class WARP(_Factors):
    """Weighted approximate-rank pairwise loss: search for an item that ranks too high.

    For each training row, unseen items are drawn until one scores within 1 of the liked one. How
    many it took says how low the liked one ranks, and so how much the step weighs
    (eq. warp-estimate).

    Parameters
    ----------
    num_factors, epochs : int
    lr : float
        Falls to a tenth of it.
    reg : float
        λ of the factors.
    trials : int
        T, items drawn for a row at most, seen ones among them.
    seed : int

    Attributes
    ----------
    P, Q, b : np.ndarray
        As for :class:`BPR`.
    history : list of (float, float)
        Per epoch the share of the rows that took a step, and the unseen items looked at per row.

    Raises
    ------
    ArgumentError
        For a hyper-parameter out of its domain.
    """

    def __init__(
        self,
        num_factors: int = 64,
        epochs: int = 30,
        lr: float = 0.03,
        reg: float = 0.1,
        trials: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__(num_factors, epochs, lr, reg, seed)
        whole("WARP", trials=trials)
        self.trials = trials

    def fit(self, train: Ratings) -> WARP:
        """Learn from who has a row with what; the values of the ratings play no part."""
        rng = self._start(train)
        assert self.seen is not None
        indptr, indices = self.seen.indptr.astype(np.int64), self.seen.indices.astype(np.int64)
        phi = warp_weights(train.n_items)
        for epoch in range(self.epochs):
            order = rng.permutation(len(train))
            found = trials = 0.0
            for start in range(0, len(order), ROWS):
                rows = order[start : start + ROWS]
                drawn = rng.integers(0, train.n_items, (len(rows), self.trials), np.int32)
                share, looked = warp_pass(
                    *(train.users[rows], train.items[rows], drawn, indptr, indices),
                    *(self.P, self.Q, self.b, phi, self._rate(epoch), self.reg),
                )
                found += share * len(rows) / len(order)
                trials += looked * len(rows) / len(order)
            self.history.append((found, trials))
        return self
