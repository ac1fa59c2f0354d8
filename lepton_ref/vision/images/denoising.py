"""Filters that look at the place alone: mean, Gaussian, median.

Source: Tukey (1977), *Exploratory Data Analysis*, for running medians.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lepton_ref.framework.arguments import number
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.images.pictures import check_numbers, check_picture, check_size
from lepton_ref.vision.images.windows import (
    bands,
    check_border,
    correlate,
    frame,
    separable,
    window_sums,
)

TRUNCATE = 4.0  # a Gaussian ends after so many deviations; beyond lie 6e-5 of it


def filter_picture(picture: Any, kernel: Any, border: str = "symmetric") -> np.ndarray:
    """The weighted sum of each pixel's surroundings (eq. images-correlate).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    kernel : array_like, (k, k')
        Odd sides. It is not flipped.
    border : str
        What stands beyond the border: ``"symmetric"`` (a mirror in the edge of the picture),
        ``"reflect"`` (a mirror in the middle of the outermost pixels), ``"edge"`` (they repeat)
        or ``"constant"`` (black).

    Returns
    -------
    ndarray, float64, shape of the picture
        Outside 0 to 1 where the kernel has negative weights or a sum above 1.

    Raises
    ------
    ArgumentError
        No picture, or a kernel with an even side or numbers that are not finite.
    """
    where = "filter_picture"
    x, border = check_picture(where, picture), check_border(where, border)
    return correlate(x, check_kernel(where, kernel), border)


def check_kernel(where: str, kernel: Any) -> np.ndarray:
    """A kernel as float64 (k, k') with odd sides."""
    w = check_numbers(where, "kernel", kernel)
    if w.ndim != 2 or not all(n % 2 for n in w.shape):
        raise ArgumentError(where, "kernel", f"shape {w.shape}", "two odd sides, as (3, 3)")
    if not np.isfinite(w).all():
        raise ArgumentError(where, "kernel", "NaN or infinity in it", "finite numbers")
    return w


def mean_filter(picture: Any, size: int = 3, border: str = "symmetric") -> np.ndarray:
    """The mean of each pixel's window.

    Of the variance of independent noise it leaves 1/size² (eq. images-noise-left).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    size : int
        Odd side of the square window.
    border : str
        As in :func:`filter_picture`.

    Returns
    -------
    ndarray, float64, shape of the picture
    """
    where = "mean_filter"
    x, k = check_picture(where, picture), check_size(where, size)
    r = k // 2
    return window_sums(frame(x, (r, r), (r, r), check_border(where, border)), k) / k**2


def gaussian_weights(sigma: float) -> np.ndarray:
    """exp(-u²/2σ²) for u = -r .. r, divided by its sum; r = 4σ, rounded (eq. images-gaussian)."""
    r = int(TRUNCATE * check_deviation("gaussian_weights", "sigma", sigma) + 0.5)
    w = np.exp(-0.5 * (np.arange(-r, r + 1) / sigma) ** 2)
    return w / w.sum()


def gaussian_filter(picture: Any, sigma: float = 1.0, border: str = "symmetric") -> np.ndarray:
    """A mean whose weights fall off like a bell, run as two sums along the axes.

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    sigma : float
        Its deviation in pixels, above 0.
    border : str
        As in :func:`filter_picture`.

    Returns
    -------
    ndarray, float64, shape of the picture
    """
    where = "gaussian_filter"
    x = check_picture(where, picture)
    w = gaussian_weights(check_deviation(where, "sigma", sigma))
    return separable(x, w, w, check_border(where, border))


def check_deviation(where: str, name: str, value: Any) -> float:
    """A width or a deviation: a number above zero."""
    number(where, above=0, **{name: value})
    return float(value)


def median_filter(picture: Any, size: int = 3, border: str = "symmetric") -> np.ndarray:
    """The median of each pixel's window: the value with as many below it as above.

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
        Each colour for itself.
    size : int
        Odd side of the square window.
    border : str
        As in :func:`filter_picture`.

    Returns
    -------
    ndarray, float64, shape of the picture
        Values that stand in the picture, no new ones.
    """
    where = "median_filter"
    x, k = check_picture(where, picture), check_size(where, size)
    r = k // 2
    padded = frame(x, (r, r), (r, r), check_border(where, border))
    y = np.empty_like(x)
    for band in bands((len(x), x[0].size * k * k)):
        windows = sliding_window_view(  # type: ignore[call-overload]
            padded[band.start : band.stop + 2 * r], (k, k), axis=(0, 1)
        )
        values = np.array(windows).reshape(*x[band].shape, k * k)  # (rows, W[, 3], size²)
        values.partition(k * k // 2, axis=-1)
        y[band] = values[..., k * k // 2]
    return y
