"""Random changes that leave the label as it is. Pictures (N, H, W) or (N, C, H, W).

Every function takes a generator, returns a new array of the same shape and dtype, and never
touches its input. The same generator state gives the same pictures on every engine.
"""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def _pictures(x: np.ndarray, where: str) -> tuple[np.ndarray, int, int]:
    x = np.asarray(x)
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ArgumentError(where, "x", f"shape {x.shape}", "pictures (N, H, W) or (N, C, H, W)")
    return x, x.shape[-2], x.shape[-1]


def random_shift(
    x: np.ndarray, rng: np.random.Generator, max_shift: int = 2, fill: float = 0
) -> np.ndarray:
    """Move each picture by up to `max_shift` pixels along both axes.

    Parameters
    ----------
    x : np.ndarray (N, H, W) or (N, C, H, W)
    rng : numpy.random.Generator
    max_shift : int
        Each of the ``(2 max_shift + 1) ** 2`` shifts is equally likely.
    fill : float
        Value of the pixels that come in at the border.
    """
    x, height, width = _pictures(x, "random_shift")
    if not 0 <= max_shift < min(height, width):
        raise ArgumentError(
            "random_shift", "max_shift", f"the value {max_shift}", f"0 to {min(height, width) - 1}"
        )
    s = max_shift
    padding = [(0, 0)] * (x.ndim - 2) + [(s, s), (s, s)]
    padded = np.pad(x, padding, constant_values=fill)
    shifts = rng.integers(0, 2 * s + 1, size=(len(x), 2))
    out = np.empty_like(x)
    for top, left in np.unique(shifts, axis=0):  # one slice per distinct shift
        rows = np.flatnonzero((shifts == (top, left)).all(1))
        out[rows] = padded[rows, ..., top : top + height, left : left + width]
    return out


def random_flip(x: np.ndarray, rng: np.random.Generator, rate: float = 0.5) -> np.ndarray:
    """Mirror each picture left to right with probability `rate`.

    A shoe stays a shoe; a digit or a letter does not survive it.
    """
    x, _, _ = _pictures(x, "random_flip")
    _rate("random_flip", rate)
    chosen = rng.random(len(x)) < rate
    out = x.copy()
    out[chosen] = x[chosen, ..., ::-1]
    return out


def random_erasing(
    x: np.ndarray,
    rng: np.random.Generator,
    rate: float = 0.5,
    area: tuple[float, float] = (0.02, 0.2),
    fill: float = 0,
) -> np.ndarray:
    """Overwrite one random rectangle of each chosen picture (Zhong et al. 2020).

    Parameters
    ----------
    x : np.ndarray (N, H, W) or (N, C, H, W)
    rng : numpy.random.Generator
    rate : float
        Share of the pictures that lose a rectangle.
    area : (float, float)
        Bounds of the rectangle's share of the picture; its sides are in a ratio from 1:3
        to 3:1.
    fill : float
        Value written.
    """
    x, height, width = _pictures(x, "random_erasing")
    _rate("random_erasing", rate)
    if not 0 < area[0] <= area[1] <= 1:
        raise ArgumentError("random_erasing", "area", f"the value {area}", "0 < low <= high <= 1")
    out = x.copy()
    draws = rng.random((len(x), 5))
    for i in np.flatnonzero(draws[:, 0] < rate):
        share = area[0] + draws[i, 1] * (area[1] - area[0])
        ratio = 3.0 ** (2 * draws[i, 2] - 1)
        h = min(height, max(1, round((share * height * width * ratio) ** 0.5)))
        w = min(width, max(1, round((share * height * width / ratio) ** 0.5)))
        top = int(draws[i, 3] * (height - h + 1))
        left = int(draws[i, 4] * (width - w + 1))
        out[i, ..., top : top + h, left : left + w] = fill
    return out


def _rate(where: str, rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ArgumentError(where, "rate", f"the value {rate}", "a probability, 0 to 1")
