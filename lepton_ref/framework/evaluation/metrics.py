"""Counting right and wrong: accuracy, the confusion matrix, precision, recall and F1."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import (
    class_indices,
    host,
    predicted_classes,
    same_length,
)


class Scores(NamedTuple):
    """Precision, recall and F1: one number each, or one per class.

    ``support`` counts the rows that truly belong to each class (or all rows).
    """

    precision: Any
    recall: Any
    f1: Any
    support: Any


def accuracy(predictions: Any, labels: Any) -> float:
    """Share of the rows whose predicted class is the true one (eq. evaluation-accuracy).

    Parameters
    ----------
    predictions : int array (N,) or float array (N, C)
        Classes, or scores of which the largest decides.
    labels : int array (N,)

    Raises
    ------
    ArgumentError
        For no rows, columns of different length, negative classes, or NaN among the scores.
    """
    predicted = predicted_classes("accuracy", predictions)
    truth = class_indices("accuracy", "labels", labels)
    same_length("accuracy", "labels", truth, len(predicted))
    return float(np.mean(predicted == truth))


def confusion_matrix(predictions: Any, labels: Any, num_classes: int | None = None) -> np.ndarray:
    """Rows by true class and predicted class (eq. evaluation-confusion).

    Parameters
    ----------
    predictions : int array (N,) or float array (N, C)
    labels : int array (N,)
    num_classes : int, optional
        Without it, one more than the largest class that occurs (or C).

    Returns
    -------
    int64 array (C, C)
        Entry ``[i, j]`` counts the rows of class i that were taken for class j.
    """
    where = "confusion_matrix"
    if num_classes is not None and (type(num_classes) is not int or num_classes < 1):
        raise ArgumentError(where, "num_classes", f"the value {num_classes!r}", "at least 1")
    predicted = predicted_classes(where, predictions)
    truth = class_indices(where, "labels", labels, num_classes)
    same_length(where, "labels", truth, len(predicted))
    if num_classes is None:
        scored = host(predictions).shape[1:]  # (C,) when scores were given
        num_classes = max(int(predicted.max()) + 1, int(truth.max()) + 1, *scored)
    class_indices(where, "predictions", predicted, num_classes)
    cells = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)  # (C, C)


def precision_recall_f1(
    predictions: Any, labels: Any, average: str | None = None, num_classes: int | None = None
) -> Scores:
    """Precision, recall and their harmonic mean (eqs. evaluation-precision-recall, evaluation-f1).

    Parameters
    ----------
    predictions : int array (N,) or float array (N, C)
    labels : int array (N,)
    average : {None, "macro", "micro"}
        None: one value per class. ``"macro"``: the mean over classes, each counting the
        same (eq. evaluation-macro). ``"micro"``: counts are added over the classes first,
        which gives the accuracy three times over (eq. evaluation-micro).
    num_classes : int, optional

    Returns
    -------
    Scores
        A ratio 0/0 (a class never predicted, or never there) counts as 0.
    """
    if average not in (None, "macro", "micro"):
        raise ArgumentError(
            "precision_recall_f1", "average", f"the value {average!r}", "None, 'macro' or 'micro'"
        )
    counts = confusion_matrix(predictions, labels, num_classes)
    hits = np.diag(counts).astype(float)  # (C,)
    named, there = counts.sum(axis=0), counts.sum(axis=1)  # (C,), (C,)
    if average == "micro":
        hits, named, there = hits.sum(), named.sum(), there.sum()
    precision, recall = _ratio(hits, named), _ratio(hits, there)
    f1 = _ratio(2 * hits, named + there)
    if average is None:
        return Scores(precision, recall, f1, there)
    return Scores(
        float(np.mean(precision)), float(np.mean(recall)), float(np.mean(f1)), int(np.sum(there))
    )


def _ratio(part: Any, whole: Any) -> np.ndarray:
    """part / whole, and 0 where the whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
