"""Whether two ways to rank the words of a review agree: Kendall's tau, review by review."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import Interval, bootstrap_interval


class Agreement(NamedTuple):
    """How well two rankings agree over many reviews."""

    mean: float  #: of tau
    interval: Interval  #: 95 % of the mean, reviews drawn again
    taus: np.ndarray  #: (N,), NaN where a review has one word or one of the rankings is all ties
    significant: float  #: share of reviews whose tau a random order would rarely give (p < 0.05)


def kendall_agreement(
    first: Any, second: Any, mask: Any, rng: np.random.Generator, resamples: int = 1000
) -> Agreement:
    """Kendall's tau-b between two numbers for each word, one tau a review (eq. heed-kendall).

    Parameters
    ----------
    first, second : arrays, shape (N, T)
        Only the order within a review counts. Give absolute values to compare with attention,
        which has no sign.
    mask : bool array, shape (N, T)
        True at words.
    rng : numpy.random.Generator
        Of the interval.
    resamples : int

    Raises
    ------
    ArgumentError
        For shapes that differ, entries at words that are not finite, or no review with a tau.
    """
    from scipy.stats import kendalltau

    where = "kendall_agreement"
    a, b, real = np.asarray(first, float), np.asarray(second, float), np.asarray(mask)
    for name, array in (("second", b), ("mask", real)):
        if array.shape != a.shape or a.ndim != 2:
            raise ArgumentError(where, name, f"shape {array.shape}", f"{a.shape}, (N, T)")
    for name, array in (("first", a), ("second", b)):
        if not np.isfinite(array[real]).all():
            raise ArgumentError(where, name, "entries that are not finite", "finite numbers")
    taus, chances = np.full(len(a), np.nan), np.ones(len(a))
    for n, row in enumerate(real):
        if row.sum() > 1:
            found = kendalltau(a[n, row], b[n, row])
            taus[n], chances[n] = found.statistic, found.pvalue
    known = np.isfinite(taus)
    if not known.any():
        raise ArgumentError(where, "mask", "no review of two ranked words", "at least one")
    interval = bootstrap_interval(np.mean, (taus[known],), rng, resamples)
    unlikely = float((chances[known] < 0.05).mean())
    return Agreement(float(taus[known].mean()), interval, taus, unlikely)


def null_variance(num_words: int) -> float:
    """Var τ of a random order of n numbers, 2(2n + 5) / 9n(n − 1) (eq. heed-kendall-null).

    Source: Kendall (1938), *A New Measure of Rank Correlation*.
    """
    n = num_words
    whole("null_variance", 2, num_words=n)
    return 2 * (2 * n + 5) / (9 * n * (n - 1))
