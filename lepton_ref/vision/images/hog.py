"""Histograms of oriented gradients: what a place looks like, whatever its light.

Source: Dalal and Triggs (2005), *Histograms of oriented gradients for human detection*.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count
from lepton_ref.vision.images.pictures import check_picture

EPSILON = 1e-5  # keeps a block without any slope from dividing by zero
CLIP = 0.2  # no direction counts for more than this in a block, says the paper


def orientation_histograms(picture: Any, orientations: int = 9, cell: int = 8) -> np.ndarray:
    """In each cell of pixels, the mean slope by direction (eq. images-hog-votes).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
        Of three colours, each pixel takes the one with the steepest slope.
    orientations : int
        Directions from 0 to 180 degrees; a slope and its opposite are the same.
    cell : int
        Side of a cell in pixels. Pixels beyond the last whole cell do not count.

    Returns
    -------
    ndarray, float64, (H // cell, W // cell, orientations)
    """
    where = "orientation_histograms"
    x = check_picture(where, picture)
    n, side = check_count(where, "orientations", orientations), check_count(where, "cell", cell)
    rows, columns = x.shape[0] // side, x.shape[1] // side
    if not rows or not columns:
        raise ArgumentError(where, "cell", f"the value {side}", f"at most {min(x.shape[:2])}")
    down, along = np.zeros_like(x), np.zeros_like(x)
    down[1:-1] = x[2:] - x[:-2]
    along[:, 1:-1] = x[:, 2:] - x[:, :-2]
    if x.ndim == 3:
        steepest = np.hypot(down, along).argmax(axis=2)[..., None]
        down, along = (np.take_along_axis(d, steepest, 2)[..., 0] for d in (down, along))
    down, along = (d[: rows * side, : columns * side] for d in (down, along))
    degrees = np.arctan2(down, along) * (180 / np.pi) % 180
    direction = np.minimum((degrees * (n / 180)).astype(np.intp), n - 1)
    of_cell = np.arange(rows).repeat(side)[:, None] * columns + np.arange(columns).repeat(side)
    votes = np.bincount(
        (of_cell * n + direction).ravel(), np.hypot(down, along).ravel(), rows * columns * n
    )
    return votes.reshape(rows, columns, n) / side**2


def hog(picture: Any, orientations: int = 9, cell: int = 8, block: int = 3) -> np.ndarray:
    """Histograms of oriented gradients, each block brought to length 1 (eq. images-hog-norm).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    orientations, cell : int
        As in :func:`orientation_histograms`.
    block : int
        Side of a block in cells. Blocks overlap: one begins at each cell.

    Returns
    -------
    ndarray, float64, (rows of blocks, columns of blocks, block, block, orientations)

    Raises
    ------
    ArgumentError
        The picture has not room for one block.
    """
    side = check_count("hog", "block", block)
    cells = orientation_histograms(picture, orientations, cell)
    if min(cells.shape[:2]) < side:
        raise ArgumentError(
            "hog", "picture", f"{cells.shape[0]} by {cells.shape[1]} cells",
            f"room for a block of {side} by {side}: {side * cell} pixels each way",
        )  # fmt: skip
    windows = sliding_window_view(cells, (side, side), axis=(0, 1))  # type: ignore[call-overload]
    blocks = windows.transpose(0, 1, 3, 4, 2)
    for limit in (CLIP, np.inf):
        length = np.sqrt((blocks**2).sum(axis=(2, 3, 4), keepdims=True) + EPSILON**2)
        blocks = np.minimum(blocks / length, limit)
    return blocks
