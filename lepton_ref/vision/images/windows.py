"""Weighted sums over windows, the same at every pixel: what most filters are made of.

Everything runs over bands of rows that stay in the processor's cache. A picture of a megapixel is
8 MB, and carrying it through memory once per weight costs more than the arithmetic does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError

BAND = 32_768  # numbers of a band
BORDERS = ("symmetric", "reflect", "edge", "constant")


def check_border(where: str, border: Any) -> str:
    """What stands beyond the border, by NumPy's names for it (``numpy.pad``)."""
    if border not in BORDERS:
        raise ArgumentError(
            where, "border", f"the value {border!r}", "one of " + ", ".join(BORDERS)
        )
    return str(border)


def frame(
    x: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], border: str
) -> np.ndarray:
    """The picture with more rows above and below it, more columns left and right."""
    width = [rows, columns] + [(0, 0)] * (x.ndim - 2)
    return np.pad(x, width, mode=border)  # type: ignore[call-overload]


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows that hold about ``BAND`` numbers each."""
    step = max(1, BAND // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def correlate_along(
    x: np.ndarray, weights: np.ndarray, axis: int, border: str = "symmetric"
) -> np.ndarray:
    """Weighted sum over a window along one axis: y_i = sum_u w_u x_{i+u-r}, for 2r + 1 weights.

    Parameters
    ----------
    x : ndarray, (H, W) or (H, W, C)
    weights : ndarray, (2r + 1,)
    axis : int
        0 runs down the rows, 1 along the columns.
    border : str
        What stands beyond the border: ``"symmetric"``, ``"reflect"``, ``"edge"`` or ``"constant"``.
    """
    r = len(weights) // 2
    padded = frame(x, *(((r, r), (0, 0)) if axis == 0 else ((0, 0), (r, r))), border=border)
    y = np.empty_like(x)
    n = x.shape[1]
    for band in bands(x.shape):
        if axis == 0:
            moved = [padded[band.start + u : band.stop + u] for u in range(2 * r + 1)]
        else:
            moved = [padded[band, u : u + n] for u in range(2 * r + 1)]
        y[band] = _weighted_sum(moved, weights)
    return y


def _weighted_sum(parts: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Sum of w_u x_u; equal weights at both ends share one product."""
    r = len(parts) // 2
    total = parts[r] * weights[r]
    term = np.empty_like(total)
    even = np.array_equal(weights, weights[::-1])
    for u in range(r):
        if even:
            np.add(parts[u], parts[-1 - u], out=term)
            np.multiply(term, weights[u], out=term)
            total += term
        else:
            for k in (u, len(parts) - 1 - u):
                np.multiply(parts[k], weights[k], out=term)
                total += term
    return total


def separable(
    x: np.ndarray, down: np.ndarray, along: np.ndarray, border: str = "symmetric"
) -> np.ndarray:
    """The kernel w_uv = down_u along_v as two sums along the axes (eq. images-separable)."""
    return correlate_along(correlate_along(x, down, 0, border), along, 1, border)


def correlate(x: np.ndarray, kernel: np.ndarray, border: str = "symmetric") -> np.ndarray:
    """Weighted sum over a window: y_ij = sum_uv w_uv x_{i+u-r, j+v-s} (eq. images-correlate).

    Parameters
    ----------
    x : ndarray, (H, W) or (H, W, C)
    kernel : ndarray, (2r + 1, 2s + 1)
    border : str
    """
    r, s = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = frame(x, (r, r), (s, s), border)
    y = np.zeros_like(x)
    n = x.shape[1]
    for band in bands(x.shape):
        for u, v in np.argwhere(kernel):
            y[band] += kernel[u, v] * padded[band.start + u : band.stop + u, v : v + n]
    return y


def window_sums(x: np.ndarray, size: int) -> np.ndarray:
    """Sums over all windows of ``size`` rows and columns that fit: (H - size + 1, W - size + 1).

    A running total along an axis makes each sum a difference of two numbers, so the cost does
    not depend on the size (eq. images-window-sums).
    """
    for axis in (0, 1):
        total = np.cumsum(x, axis=axis)
        n = x.shape[axis]
        last, first = (
            np.moveaxis(total, axis, 0)[size - 1 :],
            np.moveaxis(total, axis, 0)[: n - size],
        )
        sums = np.array(last)
        sums[1:] -= first
        x = np.moveaxis(sums, 0, axis)
    return x
