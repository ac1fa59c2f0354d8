"""Features of places: gradients, and the corners of Harris.

Source: Harris and Stephens (1988), *A combined corner and edge detector*; Sobel's operator as in
Duda and Hart (1973), *Pattern Classification and Scene Analysis*.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count, check_strength
from lepton_ref.vision.images.denoising import check_deviation, gaussian_weights
from lepton_ref.vision.images.pictures import check_numbers, check_picture
from lepton_ref.vision.images.windows import check_border, separable

SMOOTH = np.array([1, 2, 1]) / 4
SLOPE = np.array([-1, 0, 1]) / 2


class Gradient(NamedTuple):
    """Slopes per pixel: ``down`` the rows and ``along`` the columns, each (H, W)."""

    down: np.ndarray
    along: np.ndarray

    @property
    def magnitude(self) -> np.ndarray:
        """The steepest slope, (H, W)."""
        return np.hypot(self.down, self.along)


def gradient(picture: Any, border: str = "symmetric") -> Gradient:
    """Slopes by Sobel's operator: half the difference of the neighbours, smoothed across it.

    Parameters
    ----------
    picture : array_like, (H, W)
    border : str
        As in :func:`~lepton_ref.vision.images.filter_picture`.

    Returns
    -------
    Gradient
        In units of the picture per pixel: exact on a plane (eq. images-sobel).
    """
    x = check_picture("gradient", picture, colour=False)
    border = check_border("gradient", border)
    return Gradient(separable(x, SLOPE, SMOOTH, border), separable(x, SMOOTH, SLOPE, border))


def structure_tensor(
    picture: Any, sigma: float = 1.0, border: str = "symmetric"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Products of the slopes, averaged by a Gaussian (eq. images-structure-tensor).

    Parameters
    ----------
    picture : array_like, (H, W)
    sigma : float
        Of the Gaussian, in pixels.
    border : str

    Returns
    -------
    dd, da, aa : ndarray, (H, W)
        The entries of the symmetric 2×2 matrix at each pixel: down·down, down·along, along·along.
    """
    where = "structure_tensor"
    w = gaussian_weights(check_deviation(where, "sigma", sigma))
    down, along = gradient(picture, border)
    dd, da, aa = (separable(p, w, w, border) for p in (down * down, down * along, along * along))
    return dd, da, aa


def harris(
    picture: Any, sigma: float = 1.0, k: float = 0.05, border: str = "symmetric"
) -> np.ndarray:
    """det A - k (trace A)², positive at corners, negative on edges (eq. images-harris).

    Parameters
    ----------
    picture : array_like, (H, W)
    sigma : float
        How far around a pixel the slopes count.
    k : float
        How much alike the two slopes of a corner must be; 0 to 0.25.
    border : str

    Returns
    -------
    ndarray, float64, (H, W)
        scikit-image leaves the divisor 8 of the slopes out, and has 4096 times this number.
    """
    k = check_strength("harris", "k", k)
    if k > 0.25:
        raise ArgumentError("harris", "k", f"the value {k}", "0 to 0.25: no corner passes more")
    dd, da, aa = structure_tensor(picture, sigma, border)
    response = dd * aa
    response -= da * da
    dd += aa
    dd *= dd
    response -= k * dd
    return response


def corners(
    response: Any, distance: int = 5, threshold: float = 0.01, most: int | None = None
) -> np.ndarray:
    """The places where a response is highest, none too close to another.

    Parameters
    ----------
    response : array_like, (H, W)
        As of :func:`harris`; any finite numbers.
    distance : int
        Rows and columns that two corners are apart at least, and from the border.
    threshold : float
        Smallest response, as a share of the largest.
    most : int, optional
        How many at most.

    Returns
    -------
    ndarray, int64, (N, 2)
        Row and column, the highest response first. None on a constant response.
    """
    where = "corners"
    y = check_numbers(where, "response", response)
    if y.ndim != 2 or y.size == 0 or not np.isfinite(y).all():
        raise ArgumentError(where, "response", f"shape {y.shape}", "(H, W), finite numbers")
    far = check_count(where, "distance", distance)
    least = max(float(y.min()), check_strength(where, "threshold", threshold) * float(y.max()))
    peaks = (y > least) & (y == _window_maximum(y, far))
    peaks[:far] = peaks[-far:] = peaks[:, :far] = peaks[:, -far:] = False
    found = np.argwhere(peaks)
    found = found[np.argsort(-y[peaks], kind="stable")]
    taken = np.zeros_like(peaks)
    chosen = []
    for row, column in found:
        near = (
            slice(max(row - far, 0), row + far + 1),
            slice(max(column - far, 0), column + far + 1),
        )
        if not taken[near].any():
            taken[row, column] = True
            chosen.append((row, column))
    if most is not None:
        chosen = chosen[: check_count(where, "most", most)]
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)


def _window_maximum(x: np.ndarray, far: int) -> np.ndarray:
    """The largest value within ``far`` rows and columns."""
    for _ in range(2):
        n = len(x)
        padded = np.pad(x, [(far, far), (0, 0)], mode="edge")
        x = padded[:n]
        for u in range(1, 2 * far + 1):
            x = np.maximum(x, padded[u : u + n])
        x = np.ascontiguousarray(x.T)
    return x
