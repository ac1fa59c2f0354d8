"""From grey to objects: thresholds, connected components, their measures.

Source: Otsu (1979), *A threshold selection method from gray-level histograms*; Rosenfeld and
Pfaltz (1966), *Sequential operations in digital picture processing*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.framework.arguments import rectangular
from lepton_ref.framework.compiled import compiled
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.images.denoising import mean_filter
from lepton_ref.vision.images.enhancement import histogram
from lepton_ref.vision.images.pictures import check_picture, check_real


def between_variance(counts: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """w₀ w₁ (μ₀ - μ₁)² of all cuts of a histogram after its bins but the last (eq. images-otsu)."""
    below = np.cumsum(counts)[:-1] / counts.sum()
    above = 1 - below
    part = np.cumsum(counts * centres)[:-1] / counts.sum()
    mean = (counts * centres).sum() / counts.sum()
    return below * above * (part / below - (mean - part) / above) ** 2


def otsu(picture: Any, bins: int = 256) -> float:
    """The grey level that parts a picture into the two most different halves (eq. images-otsu).

    Parameters
    ----------
    picture : array_like, (H, W)
    bins : int
        As in :func:`~lepton_ref.vision.images.histogram`.

    Returns
    -------
    float
        0 to 1; what is not above it belongs to the dark half. Of a constant picture its value.
    """
    x = check_picture("otsu", picture, colour=False)
    if x.min() == x.max():
        return float(x.flat[0])
    counts, centres = histogram(picture, bins)
    return float(centres[np.argmax(between_variance(counts, centres))])


def local_threshold(
    picture: Any, size: int = 35, offset: float = 0.0, border: str = "symmetric"
) -> np.ndarray:
    """A threshold for each pixel: the mean of its surroundings, less ``offset``.

    Parameters
    ----------
    picture : array_like, (H, W)
    size : int
        Odd side of the window: wider than what is to be found, narrower than the light changes.
    offset : float
    border : str

    Returns
    -------
    ndarray, float64, (H, W)
    """
    x = check_picture("local_threshold", picture, colour=False)
    return mean_filter(x, size, border) - check_real("local_threshold", "offset", offset)


@compiled
def _label(mask: Any, eight: Any) -> Any:
    """Number the components of a mask in the order of their first pixels, row by row.

    First pass: a pixel takes the number of a neighbour before it, and neighbours with different
    numbers are noted as one, by making the larger point at the smaller. Second pass: each number
    is followed to its root, and the roots are counted (eq. images-components).
    """
    H, W = mask.shape
    labels = np.zeros((H, W), np.int64)
    parent = np.zeros(H * ((W + 1) // 2) + 1, np.int64)
    new = 0
    for i in range(H):
        for j in range(W):
            if not mask[i, j]:
                continue
            mine = 0
            for n in range(4):  # left, above, and above to the left and right
                if n > 1 and not eight:
                    continue
                r = i if n == 0 else i - 1
                c = j - 1 if n == 0 or n == 2 else (j + 1 if n == 3 else j)
                if r < 0 or c < 0 or c >= W or labels[r, c] == 0:
                    continue
                root = labels[r, c]
                while parent[root] != root:
                    parent[root] = parent[parent[root]]
                    root = parent[root]
                if mine == 0:
                    mine = root
                elif root < mine:
                    parent[mine] = root
                    mine = root
                elif mine < root:
                    parent[root] = mine
            if mine == 0:
                new += 1
                parent[new] = new
                mine = new
            labels[i, j] = mine
    final = np.zeros(new + 1, np.int64)
    count = 0
    for k in range(1, new + 1):
        if parent[k] == k:
            count += 1
            final[k] = count
        else:
            final[k] = final[parent[k]]
    for i in range(H):
        for j in range(W):
            labels[i, j] = final[labels[i, j]]
    return labels, count


def label(mask: Any, neighbours: int = 8) -> tuple[np.ndarray, int]:
    """Connected components: the pixels that can be reached from each other inside the mask.

    Parameters
    ----------
    mask : array_like, bool (H, W)
    neighbours : int
        8, or 4 when pixels that only touch at a corner are apart.

    Returns
    -------
    labels : ndarray, int64, (H, W)
        0 outside the mask, else 1, 2, ... in the order in which the components begin, row by row.
    count : int

    Raises
    ------
    ArgumentError
        Not a mask: another dtype or shape, no pixel, another number of neighbours.
    """
    m = rectangular("label", "mask", mask)
    if m.dtype != np.bool_:
        raise ArgumentError(
            "label", "mask", f"dtype {m.dtype}", "bool; compare a picture with a threshold"
        )
    if m.ndim != 2 or m.size == 0:
        raise ArgumentError("label", "mask", f"shape {m.shape}", "(H, W) with at least one pixel")
    if neighbours not in (4, 8):
        raise ArgumentError("label", "neighbours", f"the value {neighbours!r}", "4 or 8")
    labels, count = _label(np.ascontiguousarray(m), neighbours == 8)
    return labels, int(count)


@dataclass(frozen=True)
class Regions:
    """Measures of the components 1 ... N.

    Attributes
    ----------
    area : ndarray, int64, (N,)
        Pixels.
    centroid : ndarray, float64, (N, 2)
        Mean row and column.
    box : ndarray, int64, (N, 4)
        First row, first column, and the row and column after the last.
    """

    area: np.ndarray
    centroid: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return len(self.area)


def regions(labels: Any) -> Regions:
    """Area, centroid and bounding box of each component of :func:`label`.

    Parameters
    ----------
    labels : array_like, integers (H, W)
        0 outside, else 1 to N, each of which occurs.

    Returns
    -------
    Regions
    """
    x = rectangular("regions", "labels", labels)
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.integer) or (x.size and x.min() < 0):
        raise ArgumentError(
            "regions", "labels", f"dtype {x.dtype}, shape {x.shape}", "integers from 0, (H, W)"
        )
    rows, columns = np.nonzero(x)
    which = x[rows, columns].astype(np.int64) - 1
    area = np.bincount(which)
    if not area.all():
        raise ArgumentError(
            "regions", "labels", f"no pixel with {int(area.argmin()) + 1}", "1 to N, as of label"
        )
    centroid = np.stack([np.bincount(which, place) for place in (rows, columns)], axis=1)
    order = np.argsort(which, kind="stable")
    first = np.concatenate([[0], np.cumsum(area)[:-1]]) if len(area) else np.zeros(0, np.int64)
    box = np.empty((len(area), 4), np.int64)
    if len(area):
        for k, place in enumerate((rows[order], columns[order])):
            box[:, k] = np.minimum.reduceat(place, first)
            box[:, 2 + k] = np.maximum.reduceat(place, first) + 1
    return Regions(area, centroid / np.maximum(area, 1)[:, None], box)
