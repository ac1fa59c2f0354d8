"""How alike two attributions are: the correlation of their ranks, and what emptiness does to it.

Source: Spearman (1904), *The proof and measurement of association between two things*.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lepton_ref.framework.arguments import real_array
from lepton_ref.framework.errors import ArgumentError


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 along the last axis; equal values share the mean of theirs. Float64.

    NaN (a player that the example does not have) gets NaN.
    """
    from scipy.stats import rankdata

    return rankdata(values, axis=-1, nan_policy="omit")


def rank_correlation(first: np.ndarray, second: np.ndarray, absolute: bool = False) -> np.ndarray:
    """Spearman's rank correlation of two attributions of the same examples (eq. sanity-rank).

    Parameters
    ----------
    first, second : array, shape (N, *shape)
        NaN in both marks what an example does not have.
    absolute : bool
        Of the absolute values; what is zero in both then counts as agreement (eq. sanity-empty).

    Returns
    -------
    ndarray, shape (N,), float64
        0 where one of the two is constant: it ranks nothing.

    Raises
    ------
    ArgumentError
        For two shapes, or examples of fewer than two entries.
    """
    where = "rank_correlation"
    a, b = real_array(where, "first", first), real_array(where, "second", second)
    if a.shape != b.shape:
        raise ArgumentError(where, "second", f"shape {b.shape}", f"{a.shape}, like the first")
    if a.ndim < 2 or a[0].size < 2:
        raise ArgumentError(where, "first", f"shape {a.shape}", "at least two entries per example")
    a, b = (v.reshape(len(v), -1) for v in (a, b))
    ranks = [mean_ranks(np.abs(v) if absolute else v) for v in (a, b)]
    p, q = (r - np.nanmean(r, axis=1, keepdims=True) for r in ranks)
    below = np.sqrt(np.nansum(p * p, axis=1) * np.nansum(q * q, axis=1))
    above = np.nansum(p * q, axis=1)
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def empty_correlation(share: float) -> float:
    """Rank correlation of two absolute maps that only share their zeros: 3q / (1 + q + q²).

    Parameters
    ----------
    share : float
        q, the share of the entries that are zero in both (eq. sanity-empty).
    """
    if not 0 <= share < 1:
        raise ArgumentError("empty_correlation", "share", f"the value {share}", "in [0, 1)")
    return 3 * share / (1 + share + share * share)


def agreement(
    attributions: Mapping[str, np.ndarray], absolute: bool = False
) -> tuple[list[str], np.ndarray]:
    """Mean rank correlation of every pair of methods: their names, and float64 (M, M).

    Parameters
    ----------
    attributions : mapping of str to array (N, P)
        What each method gave to the players of the same examples.
    absolute : bool

    Raises
    ------
    ArgumentError
        As in :func:`rank_correlation`.
    """
    names = list(attributions)
    matrix = np.eye(len(names))
    for i, first in enumerate(names):
        for j in range(i):
            found = rank_correlation(attributions[first], attributions[names[j]], absolute).mean()
            matrix[i, j] = matrix[j, i] = found
    return names, matrix
