"""Bring features to one scale, with numbers that come from the training part alone."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.data.checks import as_rows, check_finite
from lepton_ref.framework.errors import ArgumentError

CHUNK = 4096  # rows
Moments = tuple[int, np.ndarray, np.ndarray]  # count, mean, sum of squared deviations


def moments(x: np.ndarray, axis: int | tuple[int, ...] = 0) -> Moments:
    """Count, mean and sum of squared deviations, in float64 (eq. data-mean-var).

    Parameters
    ----------
    x : np.ndarray (N, ...)
    axis : int or tuple of int
        Axes that are summed away; 0 keeps one mean per feature, ``(0, 1, 2)`` of a stack of
        pictures (N, H, W) gives one mean for all pixels.
    """
    x = np.asarray(x)
    mean = x.mean(axis, dtype=np.float64)
    kept = x.mean(axis, dtype=np.float64, keepdims=True)
    squares = np.square(x - kept).sum(axis)
    return x.size // max(1, mean.size), mean, squares


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of two sets together, from the moments of each.

    ``n = n_a + n_b``, ``mean = mean_a + d n_b / n``, ``M = M_a + M_b + d^2 n_a n_b / n`` with
    ``d = mean_b - mean_a`` (eq. data-merge; Chan, Golub and LeVeque 1983).
    """
    (count_a, mean_a, squares_a), (count_b, mean_b, squares_b) = a, b
    count = count_a + count_b
    delta = mean_b - mean_a
    mean = mean_a + delta * (count_b / count)
    return count, mean, squares_a + squares_b + delta**2 * (count_a * count_b / count)


class Standardizer:
    """Take the mean away and divide by the standard deviation (eq. data-standardize).

    Parameters
    ----------
    axis : int or tuple of int
        Axes whose entries share one mean; must contain 0. Default 0: each feature its own.

    Examples
    --------
    >>> import numpy as np
    >>> scaler = Standardizer().fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaler.transform(np.array([[2.0, 5.0], [5.0, 7.0]]))
    array([[0., 0.],
           [3., 2.]])
    """

    def __init__(self, axis: int | tuple[int, ...] = 0) -> None:
        self.axis = (axis,) if isinstance(axis, int) else tuple(axis)
        if 0 not in self.axis:
            raise ArgumentError("Standardizer", "axis", f"the value {axis}", "axis 0 among them")
        self._moments: Moments | None = None

    def fit(self, x: np.ndarray) -> Standardizer:
        """Learn mean and deviation of `x` (N, ...), forgetting what was learned before."""
        self._moments = None
        return self.partial_fit(x)

    def partial_fit(self, x: np.ndarray) -> Standardizer:
        """Learn from one more chunk `x` (N, ...).

        Chunks in any sizes and order give, up to rounding, what all rows at once give. Rows
        are taken a few thousand at a time, so no float64 copy of `x` is ever made.
        """
        x = check_finite(as_rows(x, "Standardizer.fit"), "Standardizer.fit: x")
        seen = moments(x[:CHUNK], self.axis)
        for start in range(CHUNK, len(x), CHUNK):
            seen = merge(seen, moments(x[start : start + CHUNK], self.axis))
        if self._moments is not None and self._moments[1].shape != seen[1].shape:
            was, got = self._moments[1].shape, seen[1].shape
            raise ArgumentError("Standardizer.partial_fit", "x", f"features {got}", f"{was}")
        self._moments = seen if self._moments is None else merge(self._moments, seen)
        return self

    @property
    def count(self) -> int:
        """Number of values behind each mean."""
        return self._known()[0]

    @property
    def mean(self) -> np.ndarray:
        """Mean, float64, shape of `x` without `axis`."""
        return self._known()[1]

    @property
    def std(self) -> np.ndarray:
        """Standard deviation (divided by N), float64; 1 for a feature that never varies."""
        count, mean, squares = self._known()
        deviation = np.sqrt(squares / count)
        # what rounding leaves of a constant feature is no deviation
        return np.where(deviation > 1e-10 * np.abs(mean), deviation, 1.0)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """``(x - mean) / std``: float32, or float64 when `x` is. Shape of `x`."""
        mean, std = self._broadcast(x)
        x = np.asarray(x)
        dtype = np.float64 if x.dtype == np.float64 else np.float32
        return ((x - mean.astype(dtype)) / std.astype(dtype)).astype(dtype, copy=False)

    def fit_transform(self, x: np.ndarray) -> np.ndarray:
        """Learn from `x` and transform it: for training rows only."""
        return self.fit(x).transform(x)

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """``z * std + mean``, dtype of `z`."""
        mean, std = self._broadcast(z)
        return (z * std + mean).astype(np.asarray(z).dtype)

    def _known(self) -> Moments:
        if self._moments is None:
            raise ValueError("Standardizer: nothing learned yet, call fit on the training part")
        return self._moments

    def _broadcast(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = self.mean, self.std
        shape = np.shape(x)
        axes = tuple(a % max(1, len(shape)) for a in self.axis)
        expected = tuple(n for i, n in enumerate(shape) if i not in axes)
        if expected != mean.shape:
            raise ArgumentError(
                "Standardizer.transform", "x", f"shape {shape}", f"features {mean.shape}, as fitted"
            )
        return np.expand_dims(mean, axes), np.expand_dims(std, axes)


class MinMax:
    """Map each feature's range in the training part to [0, 1] (eq. data-minmax).

    One outlier sets the range for all; unseen values may fall outside [0, 1].
    """

    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def fit(self, x: np.ndarray) -> MinMax:
        """Learn smallest and largest value of each feature of `x` (N, ...)."""
        x = check_finite(as_rows(x, "MinMax.fit"), "MinMax.fit: x")
        self.low, self.high = x.min(0).astype(np.float64), x.max(0).astype(np.float64)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """``(x - low) / (high - low)``: float32, or float64 when `x` is; constant -> 0."""
        if self.low is None or self.high is None:
            raise ValueError("MinMax: nothing learned yet, call fit on the training part")
        x = np.asarray(x)
        if x.shape[1:] != self.low.shape:
            raise ArgumentError(
                "MinMax.transform", "x", f"shape {x.shape}", f"features {self.low.shape}, as fitted"
            )
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        dtype = np.float64 if x.dtype == np.float64 else np.float32
        return ((x - self.low) / span).astype(dtype)
