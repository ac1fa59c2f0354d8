"""Turn what you know into numbers that a network can use."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.data.checks import as_rows, check_labels
from lepton_ref.framework.errors import DataError


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Row n has a 1 in column ``labels[n]`` and 0 elsewhere.

    Parameters
    ----------
    labels : np.ndarray int (N,)
    num_classes : int

    Returns
    -------
    np.ndarray float32 (N, num_classes)
    """
    labels = check_labels(labels, num_classes, "one_hot: labels")
    return np.eye(num_classes, dtype=np.float32)[labels]


def cyclical(values: np.ndarray, period: float) -> np.ndarray:
    """Place values that come round (hours, weekdays, angles) on a circle.

    The distance of two codes is ``2 |sin(pi (a - b) / period)|`` (eq. data-cyclical), so
    23:00 lies as near to 0:00 as 0:00 to 1:00.

    Returns
    -------
    np.ndarray float32 or float64 (..., 2)
        Sine and cosine.
    """
    values = np.asarray(values)
    angle = 2 * np.pi * values.astype(np.float64) / period
    dtype = np.float64 if values.dtype == np.float64 else np.float32
    return np.stack([np.sin(angle), np.cos(angle)], -1).astype(dtype)


def impute(x: np.ndarray, fill: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Fill the NaNs of each feature with its mean, and say where they were.

    Parameters
    ----------
    x : np.ndarray float (N, D)
    fill : np.ndarray (D,), optional
        Values to fill in, such as the means of the training part; default: the means of `x`.

    Returns
    -------
    filled : np.ndarray (N, D)
    missing : np.ndarray bool (N, D)
        True where a value was missing: a feature of its own.

    Raises
    ------
    DataError
        A feature has no value at all, so it has no mean.
    """
    x = as_rows(x, "impute")
    missing = np.isnan(x)
    if fill is None:
        present = (~missing).sum(0)
        if (present == 0).any():
            column = int(np.argmin(present))
            raise DataError(f"impute: feature {column} has no value at all; drop it")
        fill = np.where(missing, 0, x).sum(0) / present
    return np.where(missing, np.asarray(fill, x.dtype), x), missing


def smooth_idf(document_frequency: np.ndarray, documents: int) -> np.ndarray:
    """How telling a term is: ln((1 + N) / (1 + df)) + 1, float64 in the shape of df.

    A term in none of the N documents counts as in one, and so does every term once more
    (eq. tokens-idf-smooth).

    Parameters
    ----------
    document_frequency : array
        df, in how many documents each term occurs.
    documents : int
        N.
    """
    return np.log((1 + documents) / (1 + np.asarray(document_frequency))) + 1
