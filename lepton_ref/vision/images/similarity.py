"""Means over pixels that look alike: the bilateral filter and non-local means.

Source: Tomasi and Manduchi (1998), *Bilateral filtering for gray and color images*; Buades, Coll
and Morel (2005), *A non-local algorithm for image denoising*; Darbon, Cunha, Chan, Osher and
Jensen (2008), *Fast nonlocal filtering applied to electron cryomicroscopy*; Schraudolph (1999),
*A fast, compact approximation of the exponential function*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count, check_strength
from lepton_ref.vision.images.denoising import check_deviation, check_kernel
from lepton_ref.vision.images.pictures import check_picture, check_size
from lepton_ref.vision.images.windows import bands, check_border, frame

CUTOFF = 5.0  # patches beyond this distance count nothing: alone they weigh little, but are many


def gaussian_window(sigma: float, size: int) -> np.ndarray:
    """exp(-(u² + v²)/2σ²) over a square window, (size, size)."""
    r = size // 2
    w = np.exp(-0.5 * (np.arange(-r, r + 1) / sigma) ** 2)
    return np.outer(w, w)


def bilateral_filter(
    picture: Any,
    sigma_color: float = 0.1,
    sigma_space: float = 1.0,
    size: int | None = None,
    border: str = "symmetric",
    kernel: Any = None,
) -> np.ndarray:
    """A mean over pixels that are near and alike (eq. images-bilateral).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
        Two colours are as far apart as two points in space.
    sigma_color : float
        Difference of two values at which the weight has fallen to 0.61.
    sigma_space : float
        Distance in pixels at which it has.
    size : int, optional
        Odd side of the window; three deviations to either side when left out.
    border : str
        As in :func:`~lepton_ref.vision.images.filter_picture`.
    kernel : array_like, (k, k), optional
        Weights of the places, not negative, in place of the Gaussian of ``sigma_space``.

    Returns
    -------
    ndarray, float64, shape of the picture

    Raises
    ------
    ArgumentError
        No picture, deviations that are not above zero, a kernel with an even side, with a
        negative weight, or with none at its middle.
    """
    where = "bilateral_filter"
    x, border = check_picture(where, picture), check_border(where, border)
    sigma = check_deviation(where, "sigma_color", sigma_color)
    if kernel is None:
        spread = check_deviation(where, "sigma_space", sigma_space)
        side = 2 * math.ceil(3 * spread) + 1 if size is None else check_size(where, size)
        places = gaussian_window(spread, side)
    else:
        places = check_kernel(where, kernel)
        middle = places[places.shape[0] // 2, places.shape[1] // 2]
        if places.min() < 0 or middle <= 0:
            raise ArgumentError(where, "kernel", "weights below 0 or 0 in the middle", "others")
    r, s = places.shape[0] // 2, places.shape[1] // 2
    channels = x[..., None] if x.ndim == 2 else x
    padded = frame(channels, (r, r), (s, s), border)
    y = np.empty_like(channels)
    for band in bands(channels.shape):
        centre = channels[band]
        total, weights = np.zeros_like(centre), np.zeros(centre.shape[:2])
        for u, v in np.argwhere(places):
            other = padded[band.start + u : band.stop + u, v : v + x.shape[1]]
            w = _squared_distance(centre, other)
            w *= -0.5 / sigma**2
            np.exp(w, out=w)
            w *= places[u, v]
            weights += w
            total += w[..., None] * other
        y[band] = total / weights[..., None]
    return y.reshape(x.shape)


def _squared_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum over the channels of (a - b)²: (H, W, C) twice -> (H, W)."""
    d = a[..., 0] - b[..., 0]
    d *= d
    for c in range(1, a.shape[2]):
        d += (a[..., c] - b[..., c]) ** 2
    return d


def schraudolph_exp(x: np.ndarray) -> np.ndarray:
    """exp(x) to within 4 %, by writing x into the exponent of a floating-point number.

    A number is stored as 2^e (1 + f), with e in the bits above f. Scaled and shifted rightly, x
    lands there: its whole part becomes e, and the rest becomes f, where 1 + f stands in for 2^f.
    """
    bits = (x * (2**20 / math.log(2))).astype(np.int64) + (1023 * 2**20 - 60_801)
    return (bits << 32).view(np.float64)


EXPONENTIALS: dict[str, Callable[..., Any]] = {"exact": np.exp, "schraudolph": schraudolph_exp}


def non_local_means(
    picture: Any,
    patch_size: int = 5,
    patch_distance: int = 6,
    h: float = 0.1,
    sigma: float = 0.0,
    border: str = "reflect",
    exponential: str = "exact",
) -> np.ndarray:
    """A mean over pixels whose surroundings look alike (eq. images-non-local-means).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    patch_size : int
        Side of the patches that are compared. The window of an even side reaches one pixel
        further down and to the right than up and to the left.
    patch_distance : int
        How many pixels away, along each axis, other patches are looked for.
    h : float
        Root mean square difference of two patches at which the weight has fallen to 0.37.
    sigma : float
        Deviation of the noise. Twice its square is taken off the distance of two patches, which
        noise alone would give them (eq. images-patch-noise).
    border : str
        As in :func:`~lepton_ref.vision.images.filter_picture`.
    exponential : str
        ``"exact"``, or ``"schraudolph"`` for the approximation that scikit-image uses.

    Returns
    -------
    ndarray, float64, shape of the picture
    """
    where = "non_local_means"
    x, border = check_picture(where, picture), check_border(where, border)
    k, far = (
        check_count(where, "patch_size", patch_size),
        check_count(where, "patch_distance", patch_distance, 0),
    )
    h, noise = check_deviation(where, "h", h), 2 * check_strength(where, "sigma", sigma) ** 2
    if exponential not in EXPONENTIALS:
        raise ArgumentError(
            where, "exponential", f"the value {exponential!r}", "one of " + ", ".join(EXPONENTIALS)
        )
    exp = EXPONENTIALS[exponential]
    channels = x[..., None] if x.ndim == 2 else x
    C, n = channels.shape[2], x.shape[1]
    before, after = (k - 1) // 2, k // 2  # of the window's side, around its pixel
    lead, trail = far + before, far + after
    padded = frame(channels, (lead, trail), (lead, trail), border)
    y = np.empty_like(channels)
    for band in bands(channels.shape):
        top, height = band.start + far, band.stop - band.start
        patches = padded[top : top + height + k - 1, far : far + n + k - 1]
        total, weights = np.zeros_like(channels[band]), np.zeros((height, n))
        for a in range(-far, far + 1):
            for b in range(-far, far + 1):
                rows = slice(top + a, top + a + height + k - 1)
                others = padded[rows, far + b : far + b + n + k - 1]
                d = _patch_sums(_squared_distance(patches, others), k)  # (rows, W)
                d -= C * k * k * noise
                d *= 1 / (C * k * k * h**2)
                np.maximum(d, 0, out=d)
                w = exp(-d)
                w[d > CUTOFF] = 0
                weights += w
                total += w[..., None] * others[before : before + height, before : before + n]
        y[band] = total / weights[..., None]
    return y.reshape(x.shape)


def _patch_sums(x: np.ndarray, k: int) -> np.ndarray:
    """Sums over all windows of k rows and columns that fit, by adding: exact for small k."""
    rows, columns = x.shape[0] - k + 1, x.shape[1] - k + 1
    down = x[:rows].copy()
    for u in range(1, k):
        down += x[u : u + rows]
    y = down[:, :columns].copy()
    for v in range(1, k):
        y += down[:, v : v + columns]
    return y
