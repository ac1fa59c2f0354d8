"""What accuracy does not see: how much of the catalogue is shown, how new it is, how alike.

Definitions follow Recommenders' ``catalog_coverage``, ``distributional_coverage``, ``novelty``
and ``user_diversity`` (Castells, Vargas and Wang, 2011; Ziegler et al., 2005).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation.interactions import Ratings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def coverage(recommended: Any, n_items: int) -> float:
    """Share of the catalogue that is recommended to anybody (eq. receval-coverage).

    Parameters
    ----------
    recommended : int array, shape (U, k)
        Item numbers; −1 for none.
    n_items : int

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        Recommendations that are no item numbers, or none at all.
    """
    return float((_counts("coverage", recommended, n_items) > 0).mean())


def effective_items(recommended: Any, n_items: int) -> float:
    """How many items, each shown equally often, would be as varied (eq. receval-effective).

    2^H, H the entropy in bits of what is shown; at most the number of items shown at all.
    """
    count = _counts("effective_items", recommended, n_items)
    p = count[count > 0] / count.sum()
    return float(2 ** -(p * np.log2(p)).sum())


def novelty(recommended: Any, train: Ratings) -> float:
    """Mean surprise of what is recommended, in bits: −log₂ n_i / n (eq. receval-novelty).

    n_i of the n rows of the training set are of item i; an item without a row counts as one.
    """
    count = _counts("novelty", recommended, train.n_items)
    seen = np.maximum(np.bincount(train.items, minlength=train.n_items), 1)
    return float(-(count * np.log2(seen / len(train))).sum() / count.sum())


def diversity(recommended: Any, vectors: Any) -> np.ndarray:
    """One minus the mean cosine of two items of a list, for each list: float64 (U,).

    Computed from the length of the sum of the unit vectors, without looking at pairs
    (eq. receval-diversity).

    Parameters
    ----------
    recommended : int array, shape (U, k)
    vectors : array or sparse matrix, shape (n_items, D)
        What describes an item. With ``train.matrix().T > 0`` the cosine is that of
        co-occurrence, Recommenders' default. A vector of zeros is like nothing.

    Returns
    -------
    np.ndarray
        NaN for a list of fewer than two.
    """
    from scipy.sparse import csr_matrix

    unit = unit_rows(vectors)
    r = _lists("diversity", recommended, unit.shape[0])
    u, place = np.nonzero(r >= 0)
    lists = csr_matrix((np.ones(len(u)), (u, r[u, place])), shape=(len(r), unit.shape[0]))
    total = lists @ unit  # (U, D): sum of the unit vectors
    square = np.asarray(total.multiply(total).sum(1)).ravel()
    alone = lists @ (np.diff(unit.indptr) > 0).astype(np.float64)
    k = np.asarray(lists.sum(1)).ravel()
    pairs = np.where(k > 1, k * (k - 1), np.nan)
    return 1 - (square - alone) / pairs


def unit_rows(matrix: Any) -> csr_matrix:
    """Rows brought to length 1; a row of zeros stays one."""
    from scipy.sparse import csr_matrix, diags

    x = csr_matrix(matrix, dtype=np.float64)
    length = np.sqrt(np.asarray(x.multiply(x).sum(1)).ravel())
    scaled = csr_matrix(
        diags(np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)) @ x
    )
    scaled.eliminate_zeros()
    scaled.sort_indices()
    return scaled


def time_leak(train: Ratings, test: Ratings) -> float:
    """Chance that a row of the training set is later than one of the test set (eq. receval-leak).

    0 for a split at a point in time, a half where time plays no part; equal times count half.

    Raises
    ------
    ArgumentError
        Ratings without times or rows.
    """
    for name, part in (("train", train), ("test", test)):
        if part.times is None or not len(part):
            got = "no times" if part.times is None else "no rows"
            raise ArgumentError("time_leak", name, got, "ratings with times")
    early, late = np.sort(np.asarray(test.times)), np.asarray(train.times)
    left = np.searchsorted(early, late, side="left").mean()
    right = np.searchsorted(early, late, side="right").mean()
    return float((left + right) / 2 / len(early))


def _counts(where: str, recommended: Any, n_items: int) -> np.ndarray:
    r = _lists(where, recommended, n_items)
    return np.bincount(r[r >= 0], minlength=n_items)


def _lists(where: str, recommended: Any, n_items: int) -> np.ndarray:
    r = np.asarray(recommended)
    if r.ndim != 2 or r.dtype.kind not in "iu":
        got = f"shape {r.shape} and dtype {r.dtype}"
        raise ArgumentError(where, "recommended", got, "item numbers (U, k)")
    if not (r >= 0).any() or r.max() >= n_items or r.min() < -1:
        got = f"numbers from {r.min()} to {r.max()}" if r.size else "nothing"
        raise ArgumentError(where, "recommended", got, f"item numbers from 0 to {n_items - 1}")
    return r.astype(np.int64)
