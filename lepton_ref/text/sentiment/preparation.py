"""From reviews as people wrote them to rows of numbers and labels that can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.tokens import PAD, UNK, clean, tokenize

CLASSES = ("negative", "neutral", "positive")


def preprocess(text: str | Sequence[str], language: str = "auto") -> list[Any]:
    """Clean a text and cut it into words: what the models of this page read.

    Parameters
    ----------
    text : str or sequence of str
        One text or several.
    language : {"auto", "en", "zh"}
        See :func:`lepton_ref.text.tokens.tokenize`.

    Returns
    -------
    list of str, or a list of such lists
        An empty text has no words: the empty list.

    Raises
    ------
    ArgumentError
        For bytes, text of a wrong encoding, or what is no text.
    """
    if isinstance(text, (list, tuple, np.ndarray)):
        return [tokenize(clean(one), language) for one in text]
    return tokenize(clean(text), language)  # type: ignore[arg-type]  # clean refuses others


def grade_classes(grades: Any, threshold: float = 0.05, scale: float = 4.0) -> np.ndarray:
    """Three classes from graded opinions (eq. sentiment-classes).

    Parameters
    ----------
    grades : float array, shape (N,)
        From −scale (worst) to scale (best).
    threshold : float
        Grades within ±threshold · scale are neutral; on the edge they are not.
    scale : float

    Returns
    -------
    int64 array, shape (N,)
        0 negative, 1 neutral, 2 positive.

    Raises
    ------
    ArgumentError
        For a grade that is not finite or beyond the scale, or a threshold outside (0, 1).
    """
    where = "grade_classes"
    values = np.asarray(grades, np.float64)
    if not 0 < threshold < 1:
        raise ArgumentError(where, "threshold", f"the value {threshold!r}", "in (0, 1)")
    if values.size and not np.all(np.abs(values) <= scale):  # also refuses NaN
        bad = values[~(np.abs(values) <= scale)].flat[0]
        raise ArgumentError(
            where, "grades", f"the value {bad}", f"grades from {-scale:g} to {scale:g}"
        )
    edge = threshold * scale
    return 1 + (values >= edge).astype(np.int64) - (values <= -edge)


def class_weights(labels: np.ndarray, power: float = 1.0) -> np.ndarray:
    """A weight for each row: (its class's share)^(−power), with mean one.

    With ``power=1`` every class weighs the same, and the best logits lose the logarithm of the
    class's share (eq. sentiment-weighted-logits); with 0.5 half of it.

    Parameters
    ----------
    labels : int array, shape (N,)
    power : float
        In [0, 1].

    Returns
    -------
    float32 array, shape (N,)
    """
    if not 0 <= power <= 1:
        raise ArgumentError("class_weights", "power", f"the value {power!r}", "in [0, 1]")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.min(initial=0) < 0:
        raise ArgumentError(
            "class_weights", "labels", f"{labels.dtype} entries from {labels.min(initial=0)}",
            "whole numbers from 0, one for each row",
        )  # fmt: skip
    counts = np.bincount(labels)
    weights = counts[labels].astype(np.float64) ** -power
    return (weights / weights.mean()).astype(np.float32)


def word_dropout(rate: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """An ``augment`` for training that turns words into ``<unk>``, each with chance ``rate``.

    The network learns not to hang on one word, and what to make of a word it has never seen.

    Parameters
    ----------
    rate : float
        In [0, 1).

    Returns
    -------
    callable
        ``augment(ids, rng) -> ids``; padding stays.
    """
    if not 0 <= rate < 1:
        raise ArgumentError("word_dropout", "rate", f"the value {rate!r}", "in [0, 1)")

    def augment(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        hidden = (rng.random(ids.shape, dtype=np.float32) < rate) & (ids != PAD)
        return np.where(hidden, UNK, ids)

    return augment
