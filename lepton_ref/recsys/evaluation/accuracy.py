"""How far predicted ratings are from those given."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def rmse(predictions: Any, values: Any) -> float:
    """Root of the mean squared error of predicted ratings (eq. receval-rmse).

    Parameters
    ----------
    predictions, values : array, shape (n,)
        Finite, at least one.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        Shapes that differ, nothing to compare, values that are not finite.
    """
    error = _error("rmse", predictions, values)
    return float(np.sqrt(np.mean(error * error)))


def mae(predictions: Any, values: Any) -> float:
    """Mean absolute error of predicted ratings (eq. receval-mae).

    Parameters
    ----------
    predictions, values : array, shape (n,)

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        As in :func:`rmse`.
    """
    return float(np.mean(np.abs(_error("mae", predictions, values))))


def _error(where: str, predictions: Any, values: Any) -> np.ndarray:
    p, v = np.asarray(predictions, np.float64), np.asarray(values, np.float64)
    if p.ndim != 1 or p.shape != v.shape or not len(p):
        got = f"shape {p.shape} beside values of shape {v.shape}"
        raise ArgumentError(where, "predictions", got, "one row each, of equal length, not empty")
    for name, column in (("predictions", p), ("values", v)):
        if not np.isfinite(column).all():
            row = int(np.argmin(np.isfinite(column)))
            raise ArgumentError(where, name, f"{column[row]} in row {row}", "finite numbers")
    return p - v
