"""Weighted ridge regression, and how far its answer is from that of endless samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError


class Line(NamedTuple):
    """A fitted plane."""

    intercept: float
    slopes: np.ndarray  # (P,)
    errors: np.ndarray  # (P,), standard errors of the slopes over new samples
    fit: float  # weighted R²


def ridge(Z: np.ndarray, y: np.ndarray, weights: np.ndarray, regularization: float = 1.0) -> Line:
    """argmin Σ w (y − a − z·β)² + λ‖β‖², the intercept free (eqs. perturbation-ridge, -centre).

    Parameters
    ----------
    Z : array, shape (M, P)
    y, weights : arrays, shape (M,)
        Weights not negative, their sum positive.
    regularization : float
        λ; 0 needs columns that are independent.

    Returns
    -------
    Line
        ``errors`` are those of the draws of (z, y), each draw's pull measured as if it were left
        out (eq. perturbation-lime-error). Without noise in the model they are not zero: where the
        model is no plane, other samples give another one.

    Raises
    ------
    ArgumentError
        When the columns are dependent and nothing is regularised.
    """
    total = weights.sum()
    centre, level = weights @ Z / total, weights @ y / total
    Zc, yc = Z - centre, y - level
    A = Zc.T @ (weights[:, None] * Zc) + regularization * np.eye(Z.shape[1])
    try:
        factor = np.linalg.cholesky(A)
        if factor.diagonal().min() < 1e-7 * factor.diagonal().max():
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        raise ArgumentError(
            "ridge", "samples", f"{len(Z)} rows that do not tell {Z.shape[1]} columns apart",
            "more samples, or a regularization > 0",
        ) from None  # fmt: skip
    inverse = np.linalg.solve(factor.T, np.linalg.solve(factor, np.eye(Z.shape[1])))
    slopes = inverse @ (Zc.T @ (weights * yc))
    residual = yc - Zc @ slopes
    reach = Zc @ inverse
    leverage = weights * ((reach * Zc).sum(axis=1) + 1 / total)
    pull = (weights * residual / np.maximum(1 - leverage, 1e-6))[:, None] * reach
    spread = weights @ yc**2
    fit = 1 - float(weights @ residual**2 / spread) if spread > 0 else 1.0
    errors = np.sqrt((pull**2).sum(axis=0))
    return Line(float(level - slopes @ centre), slopes, errors, fit)
