"""Two judgements made one: the weight that errs least, and lists merged from parts."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def best_weight(first: np.ndarray, second: np.ndarray, truth: np.ndarray) -> float:
    """The weight w of the first for which w·first + (1 − w)·second errs least (eq. system-weight).

    Least squares over the given rows, and not held to [0, 1]: outside of it, one of the two is
    best used against the other.

    Parameters
    ----------
    first, second, truth : np.ndarray
        float (n,): two predictions of the same ratings, and these.

    Raises
    ------
    ArgumentError
        Unequal lengths, nothing to learn from, or two predictions that are the same.
    """
    where = "best_weight"
    a, b, y = (np.asarray(x, np.float64) for x in (first, second, truth))
    for name, x in (("first", a), ("second", b), ("truth", y)):
        if x.ndim != 1 or x.shape != y.shape or not len(x) or not np.isfinite(x).all():
            raise ArgumentError(
                where, name, f"shape {x.shape}", f"finite numbers {y.shape}, n >= 1"
            )
    apart = a - b
    below = float(apart @ apart)
    if below == 0:
        raise ArgumentError(where, "second", "the same predictions as `first`", "others")
    return float(apart @ (y - b)) / below


def blended_error(first: np.ndarray, second: np.ndarray, weight: float) -> float:
    """Mean squared error of a blend, from the errors of its parts alone (eq. system-blend-error).

    w² σ₁² + (1 − w)² σ₂² + 2 w (1 − w) γ with σ² the mean squares of the two errors and γ the mean
    of their product.
    """
    e, f = np.asarray(first, np.float64), np.asarray(second, np.float64)
    w = float(weight)
    return float(
        w**2 * np.mean(e**2) + (1 - w) ** 2 * np.mean(f**2) + 2 * w * (1 - w) * np.mean(e * f)
    )


def merge_top_k(items: list[np.ndarray], scores: list[np.ndarray], k: int) -> np.ndarray:
    """The k best of a catalogue that several machines hold in parts (eq. system-merge).

    Parameters
    ----------
    items, scores : list of np.ndarray
        For each part int64 (U, k) item numbers (−1 where it had fewer) and float64 (U, k) scores.
    k : int

    Returns
    -------
    np.ndarray
        int64 (U, k), best first; of equal scores the lower number; −1 where there are no more.
    """
    if not items or len(items) != len(scores):
        got = f"{len(items)} parts with {len(scores)} parts of scores"
        raise ArgumentError("merge_top_k", "items", got, "as many parts of each, at least one")
    all_items = np.concatenate(items, axis=1)
    all_scores = np.where(all_items < 0, -np.inf, np.concatenate(scores, axis=1))
    order = np.lexsort((all_items, -all_scores), axis=1)[:, :k]
    found = np.take_along_axis(all_items, order, axis=1)
    out = np.full((len(found), k), -1, np.int64)
    out[:, : found.shape[1]] = found
    return out
