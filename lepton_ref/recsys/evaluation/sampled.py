"""Ranks among all items, and what becomes of a metric when only some are ranked.

Source: Krichene and Rendle (2020), *On sampled metrics for item recommendation*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation.interactions import Ratings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Ranks:
    """Where each relevant item stands among the items that are not relevant.

    Attributes
    ----------
    users : np.ndarray
        int64 (n,), whose item it is.
    above, equal : np.ndarray
        int64 (n,), how many of the others have a higher, or the same, score.
    others : np.ndarray
        int64 (n,), how many others there are.
    """

    users: np.ndarray
    above: np.ndarray
    equal: np.ndarray
    others: np.ndarray

    def auc(self) -> np.ndarray:
        """Of each row, the share of the others that it is placed before; equals count half."""
        return 1 - (self.above + 0.5 * self.equal) / self.others


def item_ranks(scores: Any, test: Ratings, exclude: csr_matrix | None = None) -> Ranks:
    """Compare each item of the test set with all that its user has not, there or in ``exclude``.

    Parameters
    ----------
    scores : array, shape (n_users, n_items)
        Not NaN.
    test : Ratings
    exclude : scipy.sparse.csr_matrix, optional
        (n_users, n_items): what the user has seen before.

    Returns
    -------
    Ranks
        A row for each row of ``test``, by user.

    Raises
    ------
    ArgumentError
        Scores of another shape or NaN; a user with nothing left to compare with.
    """
    where = "item_ranks"
    s = np.asarray(scores, np.float64)
    shape = (test.n_users, test.n_items)
    if s.shape != shape or np.isnan(s).any():
        got = f"shape {s.shape}" if s.shape != shape else "NaN"
        raise ArgumentError(where, "scores", got, f"numbers of shape {shape}")
    if exclude is not None and exclude.shape != shape:
        raise ArgumentError(where, "exclude", f"shape {exclude.shape}", f"{shape}")
    relevant = test.matrix()
    whose, above, equal, others = [], [], [], []
    for u in np.unique(test.users):
        mine = relevant.indices[relevant.indptr[u] : relevant.indptr[u + 1]]
        rest = np.ones(test.n_items, bool)
        rest[mine] = False
        if exclude is not None:
            rest[exclude.indices[exclude.indptr[u] : exclude.indptr[u + 1]]] = False
        pool = np.sort(s[u, rest])
        if not len(pool):
            got = f"nothing that user {u} has neither in test nor in exclude"
            raise ArgumentError(where, "test", got, "an item to compare with")
        low = np.searchsorted(pool, s[u, mine], side="left")
        high = np.searchsorted(pool, s[u, mine], side="right")
        whose.append(np.full(len(mine), u))
        above.append(len(pool) - high)
        equal.append(high - low)
        others.append(np.full(len(mine), len(pool)))
    if not whose:
        raise ArgumentError(where, "test", "no rows", "at least one")
    return Ranks(*(np.concatenate(part) for part in (whose, above, equal, others)))


def user_auc(scores: Any, test: Ratings, exclude: csr_matrix | None = None) -> np.ndarray:
    """AUC of each user who has an item in the test set, users ascending: float64 (n,).

    The chance that an item of the test set is placed before one that is neither there nor in
    ``exclude`` (eq. receval-auc); arguments as in :func:`item_ranks`.
    """
    ranks = item_ranks(scores, test, exclude)
    return _by_user(ranks.users, ranks.auc())


def sampled_ranks(ranks: Ranks, m: int, seed: int = 0) -> np.ndarray:
    """Rank, from 1, of each relevant item among itself and m of the others drawn at random.

    Parameters
    ----------
    ranks : Ranks
        Equal scores count as lower ones here.
    m : int
        How many others; drawn without replacement, so at most as many as there are.
    seed : int

    Returns
    -------
    np.ndarray
        int64 (n,): 1 + hypergeometric (eq. receval-sampled-rank).
    """
    _sample_size("sampled_ranks", m, ranks)
    rng = np.random.default_rng(seed)
    return 1 + rng.hypergeometric(ranks.above, ranks.others - ranks.above, m)


def rank_chances(others: int, m: int) -> np.ndarray:
    """Chance of each sampled rank, given the rank among all: float64 (others + 1, m + 1).

    Row a is for an item with a of the others above it; column j is the chance that j of the m
    drawn are above it (eq. receval-sampled-rank).
    """
    from scipy.special import gammaln

    if type(others) is not int or type(m) is not int or not 1 <= m <= others:
        got = f"m = {m!r} of {others!r} others"
        raise ArgumentError("rank_chances", "m", got, "whole numbers, 1 <= m <= others")
    log_factorial = gammaln(np.arange(others + 2) + 1.0)

    def log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
        possible = (k >= 0) & (k <= n)
        k = np.where(possible, k, 0)
        value = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
        return np.where(possible, value, -np.inf)

    a, x = np.arange(others + 1)[:, None], np.arange(m + 1)
    whole = log_choose(np.array(others), np.array(m))
    return np.exp(log_choose(a, x) + log_choose(others - a, m - x) - whole)


def corrected_metric(
    metric: Callable[[np.ndarray], np.ndarray], others: int, m: int, variance: float = 0.1
) -> np.ndarray:
    """What to count for each sampled rank so that the mean comes near the metric on all items.

    Minimises, over a uniform rank, squared bias plus ``variance`` times the variance
    (eq. receval-corrected). Source: Krichene and Rendle (2020), section 6.

    Parameters
    ----------
    metric : callable
        ``metric(ranks) -> values``, of ranks from 1.
    others, m : int
        Items to compare with, and those that are drawn.
    variance : float
        γ from 0 (as little bias as can be, wild) to 1.

    Returns
    -------
    np.ndarray
        float64 (m + 1,): value for sampled rank 1, 2, …, m + 1.
    """
    if not isinstance(variance, float) or not 0 < variance <= 1:
        got = f"the value {variance!r}"
        raise ArgumentError("corrected_metric", "variance", got, "above 0, at most 1")
    A = rank_chances(others, m)  # (others + 1, m + 1)
    f = np.asarray(metric(np.arange(1, others + 2)), np.float64)
    normal = (1 - variance) * A.T @ A + variance * np.diag(A.sum(0))
    return np.linalg.solve(normal, A.T @ f)


def hit_at(k: int) -> Callable[[np.ndarray], np.ndarray]:
    """Hit rate at k of one relevant item, as a function of its rank."""
    return lambda rank: (rank <= k).astype(np.float64)


def ndcg_at(k: int) -> Callable[[np.ndarray], np.ndarray]:
    """nDCG at k of one relevant item, as a function of its rank."""
    return lambda rank: np.where(rank <= k, 1 / np.log2(1.0 + rank), 0.0)


def _by_user(users: np.ndarray, values: np.ndarray) -> np.ndarray:
    _, group, count = np.unique(users, return_inverse=True, return_counts=True)
    return np.bincount(group.reshape(-1), values) / count


def _sample_size(where: str, m: int, ranks: Ranks) -> None:
    most = int(ranks.others.min())
    if isinstance(m, bool) or not isinstance(m, (int, np.integer)) or not 1 <= m <= most:
        raise ArgumentError(where, "m", f"the value {m!r}", f"a whole number from 1 to {most}")
