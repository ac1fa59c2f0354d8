"""How sure a figure is: intervals for a share, and for any statistic by resampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import host


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Confidence interval of a share, such as an accuracy (eq. evaluation-wilson).

    Parameters
    ----------
    successes, n : int
        Right rows, and all rows.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        All shares p at which the observed share would not surprise: at most z standard
        errors of *that* p away. Unlike p ± z s.e. it stays inside [0, 1] and is not empty
        at 0 or n successes. Source: Wilson (1927).
    """
    where = "wilson_interval"
    for name, value in (("successes", successes), ("n", n)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise ArgumentError(where, name, f"the value {value!r}", "a whole number")
    if n < 1 or not 0 <= successes <= n:
        raise ArgumentError(where, "successes", f"{successes} of {n}", "0 <= successes <= n, n > 0")
    z = _quantile(where, confidence)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def bootstrap_interval(
    statistic: Callable[..., float],
    arrays: tuple[Any, ...],
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Confidence interval of any statistic, from rows drawn again with replacement.

    Parameters
    ----------
    statistic : callable
        ``statistic(*arrays) -> float``; :func:`auc`, for example.
    arrays : tuple of arrays
        Of equal length; rows are drawn together.
    rng : numpy.random.Generator
    resamples : int
    confidence : float

    Returns
    -------
    Interval
        The percentiles of the statistic over the resamples. Source: Efron (1979).
    """
    where = "bootstrap_interval"
    columns = [host(a) for a in arrays]
    if not columns or any(c.ndim == 0 or len(c) != len(columns[0]) for c in columns):
        lengths = [c.shape for c in columns]
        raise ArgumentError(where, "arrays", f"shapes {lengths}", "arrays of equal length")
    if len(columns[0]) == 0:
        raise ArgumentError(where, "arrays", "no rows", "at least one")
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(where, "rng", f"type {type(rng).__name__}", "a numpy.random.Generator")
    if type(resamples) is not int or resamples < 1:
        raise ArgumentError(where, "resamples", f"the value {resamples!r}", "at least 1")
    _quantile(where, confidence)
    n = len(columns[0])
    drawn = np.empty(resamples)
    for i in range(resamples):
        rows = rng.integers(0, n, n)
        drawn[i] = statistic(*(c[rows] for c in columns))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _quantile(where: str, confidence: float) -> float:
    """z with a normal variable within ±z with this chance."""
    if not isinstance(confidence, float) or not 0 < confidence < 1:
        raise ArgumentError(where, "confidence", f"the value {confidence!r}", "between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)
