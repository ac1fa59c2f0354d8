"""Judging scores, not decisions: the ROC curve and its area, calibration, the Brier score."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import (
    class_indices,
    host,
    same_length,
    scores_and_outcomes,
)


class RocCurve(NamedTuple):
    """One point per distinct score, from (0, 0) to (1, 1)."""

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    thresholds: np.ndarray


class Calibration(NamedTuple):
    """Reliability per bin and its summary; empty bins hold NaN and count nothing."""

    edges: np.ndarray  # (bins + 1,)
    confidence: np.ndarray  # (bins,) mean confidence
    accuracy: np.ndarray  # (bins,) share of outcomes that happened
    counts: np.ndarray  # (bins,) rows
    ece: float


class Brier(NamedTuple):
    """The Brier score and its three parts: score = reliability - resolution + uncertainty."""

    score: float
    reliability: float
    resolution: float
    uncertainty: float


def roc_curve(scores: Any, labels: Any) -> RocCurve:
    """True and false positive rate as the threshold falls (eq. evaluation-roc).

    Parameters
    ----------
    scores : float array (N,)
        Larger means more likely positive; any scale.
    labels : int or bool array (N,)
        1 for a positive row, 0 for a negative one; both must occur.

    Returns
    -------
    RocCurve
        Equal scores move together, as one threshold cannot part them.
    """
    s, y = scores_and_outcomes("roc_curve", scores, labels)
    positives = int(y.sum())
    if positives in (0, len(y)):
        raise ArgumentError(
            "roc_curve", "labels", f"only the class {int(y[0])}", "both positive and negative rows"
        )
    order = np.argsort(-s, kind="stable")
    s, y = s[order], y[order]
    last = np.append(np.flatnonzero(s[1:] != s[:-1]), len(s) - 1)  # of each group of equals
    hits = np.cumsum(y)[last]
    alarms = last + 1 - hits
    return RocCurve(
        np.append(0.0, alarms / (len(y) - positives)),
        np.append(0.0, hits / positives),
        np.append(np.inf, s[last]),
    )


def auc(scores: Any, labels: Any) -> float:
    """Area under the ROC curve, by trapezoids (eq. evaluation-auc).

    It equals the chance that a positive row outscores a negative one
    (eq. evaluation-mann-whitney), which :func:`mann_whitney` computes.
    """
    x, y, _ = roc_curve(scores, labels)
    return float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2))


def mann_whitney(scores: Any, labels: Any) -> float:
    """Chance that a random positive outscores a random negative; a tie counts one half.

    From ranks (eq. evaluation-rank-sum): with mean ranks for ties,
    (rank sum of the positives - P (P + 1) / 2) / (P Q).
    """
    s, y = scores_and_outcomes("mann_whitney", scores, labels)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        raise ArgumentError("mann_whitney", "labels", "one class only", "both classes")
    _, group, size = np.unique(s, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(size) - (size - 1) / 2  # of each group of equals, from 1
    rank_sum = mean_rank[group][y].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def calibration(probabilities: Any, labels: Any, bins: int = 15) -> Calibration:
    """Whether predictions made with confidence c are right in a share c of the cases.

    Parameters
    ----------
    probabilities : float array (N,) or (N, C)
        Of the positive class; or of all classes, and then the confidence is that of the
        predicted class, and the outcome whether it is the true one.
    labels : int array (N,)
        0 or 1, or a class.
    bins : int
        Equal intervals of [0, 1]; each holds its right end, the first its left end too.

    Returns
    -------
    Calibration
        With the expected calibration error (eq. evaluation-ece).
    """
    if type(bins) is not int or bins < 1:
        raise ArgumentError("calibration", "bins", f"the value {bins!r}", "at least 1")
    p = host(probabilities)
    if p.ndim == 2 and p.shape[1] > 0:
        truth = class_indices("calibration", "labels", labels, p.shape[1])
        same_length("calibration", "labels", truth, len(p))
        probabilities, labels = p.max(axis=1), p.argmax(axis=1) == truth
    confidence, happened = scores_and_outcomes("calibration", probabilities, labels, True)
    edges = np.linspace(0.0, 1.0, bins + 1)
    slot = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(slot, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(slot, confidence, bins) / count
        share = np.bincount(slot, happened, bins) / count
    gaps = np.abs(mean - share)[count > 0]
    ece = float(np.sum(count[count > 0] * gaps) / len(confidence))
    return Calibration(edges, mean, share, count, ece)


def brier(probabilities: Any, labels: Any) -> Brier:
    """Mean squared error of probabilities, and where it comes from (eq. evaluation-brier).

    Rows are grouped by equal probability, so the decomposition (eq. evaluation-murphy) is
    exact; round the probabilities first for groups that hold many rows.

    Parameters
    ----------
    probabilities : float array (N,)
        Of the positive class.
    labels : int or bool array (N,)

    Returns
    -------
    Brier
        Source: Murphy (1973).
    """
    p, y = scores_and_outcomes("brier", probabilities, labels, True)
    values, group, count = np.unique(p, return_inverse=True, return_counts=True)
    share = np.bincount(group, y) / count  # of positives in each group
    base = y.mean()
    return Brier(
        float(np.mean((p - y) ** 2)),
        float(np.sum(count * (values - share) ** 2) / len(p)),
        float(np.sum(count * (share - base) ** 2) / len(p)),
        float(base * (1 - base)),
    )
