"""How good the first k of a ranking are, user by user.

Relevant to a user is every item of the test set, as in Recommenders. Definitions follow its
``precision_at_k``, ``recall_at_k``, ``ndcg_at_k`` and ``map_at_k`` (Graham, Min and Wu, 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.intervals import Interval, bootstrap_interval
from lepton_ref.recsys.evaluation.interactions import Ratings

METRICS = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")


@dataclass(frozen=True, repr=False)
class RankingReport:
    """Quality of the first k recommendations.

    The mean over the users tested is an attribute of the metric's name: ``report.ndcg``.

    Attributes
    ----------
    k : int
    users : np.ndarray
        int64 (n,), the users that were tested: those with an item in the test set.
    per_user : dict of str to np.ndarray
        float64 (n,) for each of precision, recall, ndcg, map, mrr and hit_rate.
    skipped : int
        Users left out since nothing of theirs is in the test set.
    """

    k: int
    users: np.ndarray
    per_user: dict[str, np.ndarray]
    skipped: int

    def __getattr__(self, name: str) -> float:
        if name not in METRICS:
            raise AttributeError(name)
        return float(self.per_user[name].mean())

    def interval(
        self, metric: str, rng: np.random.Generator, resamples: int = 1000, confidence: float = 0.95
    ) -> Interval:
        """Confidence interval of a mean, from users drawn again with replacement.

        Raises
        ------
        ArgumentError
            For an unknown metric.
        """
        if metric not in METRICS:
            known = "one of " + ", ".join(METRICS)
            raise ArgumentError("RankingReport.interval", "metric", f"the value {metric!r}", known)
        values = (self.per_user[metric],)
        return bootstrap_interval(lambda v: float(v.mean()), values, rng, resamples, confidence)

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {getattr(self, name):.4f}" for name in METRICS)
        return f"at {self.k}, {len(self.users):,} users ({self.skipped:,} skipped): {means}"


def ranking_report(
    recommended: Any, test: Ratings, k: int = 10, users: Any = None
) -> RankingReport:
    """Compare the first k items recommended to each user with the user's items in the test set.

    Parameters
    ----------
    recommended : int array, shape (U, at least k)
        Item numbers, best first, each at most once; −1 for none.
    test : Ratings
        Each row is a relevant item, whatever its rating.
    k : int
    users : int array, shape (U,), optional
        Whose the rows are; by default row u is user u.

    Returns
    -------
    RankingReport
        precision  hits / k   (eq. receval-precision);
        recall  hits / number relevant   (eq. receval-recall);
        ndcg  Σ 1/log₂(1 + rank of a hit), over that of the best order   (eq. receval-ndcg);
        map  Σ precision at the rank of each hit / min(k, number relevant)   (eq. receval-map);
        mrr  1 / rank of the first hit, 0 without   (eq. receval-mrr);
        hit_rate  1 with a hit, else 0.

    Raises
    ------
    ArgumentError
        Recommendations that are no whole numbers, name an unknown item or one item twice, or
        are fewer than k; rows that are not the users'; no user with an item in the test set.
    """
    where = "ranking_report"
    whole(where, k=k)
    r, whose = _recommended(where, recommended, test, int(k), users)
    relevant = test.matrix()[whose]  # (U, I)
    count = np.diff(relevant.indptr)  # (U,)
    tested = count > 0
    if not tested.any():
        raise ArgumentError(where, "test", "no item of any of these users", "at least one")
    hit = _hits(r, relevant)[tested]  # (n, k)
    count = count[tested]
    rank = np.arange(1, k + 1)
    discount = 1 / np.log2(1 + rank)
    best = np.minimum(count, k)
    hits = hit.sum(1)
    first = np.where(hits > 0, 1 + hit.argmax(1), 0)
    per_user = {
        "precision": hits / k,
        "recall": hits / count,
        "ndcg": hit @ discount / np.cumsum(discount)[best - 1],
        "map": (hit * np.cumsum(hit, axis=1) / rank).sum(1) / best,
        "mrr": np.divide(1.0, first, out=np.zeros(len(first)), where=first > 0),
        "hit_rate": (hits > 0).astype(np.float64),
    }
    return RankingReport(int(k), whose[tested], per_user, int((~tested).sum()))


def paired_difference(
    first: RankingReport,
    second: RankingReport,
    metric: str,
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """Mean difference of a metric, first minus second, and its interval over the same users.

    What both models find easy or hard cancels (eq. receval-paired).

    Raises
    ------
    ArgumentError
        For an unknown metric, or reports on different users.
    """
    where = "paired_difference"
    if metric not in METRICS:
        known = "one of " + ", ".join(METRICS)
        raise ArgumentError(where, "metric", f"the value {metric!r}", known)
    if not np.array_equal(first.users, second.users):
        got = f"{len(second.users)} users, not those of the first"
        raise ArgumentError(where, "second", got, "a report on the same users")
    gap = first.per_user[metric] - second.per_user[metric]
    between = bootstrap_interval(lambda v: float(v.mean()), (gap,), rng, resamples, confidence)
    return float(gap.mean()), between


def chance_ndcg(relevant: int, candidates: int, k: int = 10) -> float:
    """Expected nDCG at k of a random order (eq. receval-chance).

    Parameters
    ----------
    relevant, candidates : int
        Relevant items, and all that may be recommended, those included.
    k : int
        At most ``candidates``.
    """
    if not 1 <= relevant <= candidates or not 1 <= k <= candidates:
        got = f"{relevant} relevant of {candidates}, k = {k}"
        raise ArgumentError("chance_ndcg", "relevant", got, "1 <= relevant, k <= candidates")
    discount = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    return float(relevant / candidates * discount[k - 1] / discount[min(k, relevant) - 1])


def _hits(r: np.ndarray, relevant: Any) -> np.ndarray:
    """bool (U, k): whether each recommended item is relevant, by search among sorted pairs."""
    n_items = max(relevant.shape[1], 1)
    rows = np.repeat(np.arange(len(r), dtype=np.int64), np.diff(relevant.indptr))
    pairs = rows * n_items + relevant.indices  # ascending, since both are
    wanted = np.arange(len(r), dtype=np.int64)[:, None] * n_items + r
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    return (pairs[at] == wanted) & (r >= 0)


def _recommended(
    where: str, recommended: Any, test: Ratings, k: int, users: Any
) -> tuple[np.ndarray, np.ndarray]:
    r = np.asarray(recommended)
    if r.ndim != 2 or r.dtype.kind not in "iu" or r.shape[1] < k:
        got = f"shape {r.shape} and dtype {r.dtype}"
        raise ArgumentError(where, "recommended", got, f"item numbers (U, {k}) or more columns")
    r = r[:, :k].astype(np.int64)
    whose = np.arange(len(r)) if users is None else np.asarray(users)
    if whose.ndim != 1 or whose.dtype.kind not in "iu" or len(whose) != len(r):
        got = f"shape {whose.shape} and dtype {whose.dtype}"
        raise ArgumentError(where, "users", got, f"({len(r)},), a number for each row")
    if users is None and len(r) != test.n_users:
        got = f"{len(r)} rows"
        raise ArgumentError(where, "recommended", got, f"{test.n_users}, one for each user")
    if len(whose) and not 0 <= whose.min() <= whose.max() < test.n_users:
        raise ArgumentError(
            where, "users", f"numbers from {whose.min()} to {whose.max()}",
            f"user numbers from 0 to {test.n_users - 1}",
        )  # fmt: skip
    if r.size and not -1 <= r.min() <= r.max() < test.n_items:
        got = f"numbers from {r.min()} to {r.max()}"
        expected = f"item numbers from 0 to {test.n_items - 1}, or -1"
        raise ArgumentError(where, "recommended", got, expected)
    ordered = np.sort(r, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(1)
    if twice.any():
        got = f"an item twice in row {int(np.argmax(twice))}"
        raise ArgumentError(where, "recommended", got, "each item at most once")
    return r, whose.astype(np.int64)
