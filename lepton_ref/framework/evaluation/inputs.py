"""Predictions, labels and scores as NumPy arrays, checked once for all metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.arguments import rectangular
from lepton_ref.framework.errors import ArgumentError

_ROUNDING = 1e-5  # a float32 softmax may pass 1 by its rounding


def host(x: Any, where: str = "host", argument: str = "x") -> np.ndarray:
    """An array of any engine (or a list) as a NumPy array."""
    if hasattr(x, "asnumpy"):
        return x.asnumpy()
    if hasattr(x, "detach"):
        return x.detach().cpu().numpy()
    return rectangular(where, argument, getattr(x, "value", x))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of each row in float64, so that rows sum to 1 to its last digits.

    Parameters
    ----------
    logits : array, shape (N, K)

    Returns
    -------
    ndarray, shape (N, K), float64
    """
    z = np.asarray(logits, np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def class_indices(where: str, argument: str, x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class indices ``(N,)``, int64, none negative, all below `num_classes` if that is known."""
    indices = host(x, where, argument)
    if indices.ndim != 1:
        raise ArgumentError(where, argument, f"shape {indices.shape}", "one class per row, (N,)")
    if indices.size == 0:
        raise ArgumentError(where, argument, "no rows", "at least one")
    if indices.dtype.kind not in "iub":
        raise ArgumentError(where, argument, f"dtype {indices.dtype}", "integers")
    low, high = int(indices.min()), int(indices.max())
    if low < 0:
        raise ArgumentError(where, argument, f"the class {low}", "classes from 0")
    if num_classes is not None and high >= num_classes:
        raise ArgumentError(where, argument, f"the class {high}", f"classes below {num_classes}")
    return indices.astype(np.int64)


def predicted_classes(where: str, x: Any) -> np.ndarray:
    """Predicted classes ``(N,)``, or the largest of the scores ``(N, C)`` of each row."""
    predictions = host(x, where, "predictions")
    if predictions.ndim == 2 and predictions.dtype.kind == "f":
        if predictions.shape[1] == 0:
            raise ArgumentError(where, "predictions", f"shape {predictions.shape}", "some classes")
        if np.isnan(predictions).any():
            raise ArgumentError(where, "predictions", "NaN among its scores", "numbers")
        predictions = predictions.argmax(axis=1)
    return class_indices(where, "predictions", predictions)


def same_length(where: str, argument: str, x: np.ndarray, n: int) -> None:
    """Refuse two columns of different length."""
    if len(x) != n:
        raise ArgumentError(where, argument, f"{len(x)} rows", f"{n}, one per prediction")


def scores_and_outcomes(
    where: str, scores: Any, outcomes: Any, probability: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(N,)`` as float64 and outcomes ``(N,)`` as booleans."""
    s, y = host(scores, where, "scores"), host(outcomes, where, "outcomes")
    name = "probabilities" if probability else "scores"
    if s.ndim != 1 or s.size == 0 or s.dtype.kind not in "fiu":
        raise ArgumentError(
            where, name, f"shape {s.shape} and dtype {s.dtype}", "one number per row, (N,)"
        )
    s = s.astype(np.float64)
    if np.isnan(s).any():
        raise ArgumentError(where, name, f"{int(np.isnan(s).sum())} NaN", "numbers")
    if probability:
        beyond = s[(s < -_ROUNDING) | (s > 1 + _ROUNDING)]
        if beyond.size:
            raise ArgumentError(where, name, f"the value {beyond[0]:g}", "probabilities in [0, 1]")
        s = np.clip(s, 0.0, 1.0)
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise ArgumentError(
            where, "labels", f"shape {y.shape} and dtype {y.dtype}", "0 or 1 per row, (N,)"
        )
    same_length(where, "labels", y, len(s))
    if not np.isin(y, (0, 1)).all():
        strange = int(y[~np.isin(y, (0, 1))][0])
        raise ArgumentError(where, "labels", f"the value {strange}", "0 or 1")
    return s, y.astype(bool)
