"""Contrast from the histogram: equalisation, and equalisation tile by tile with a limit (CLAHE).

Source: Pizer et al. (1987), *Adaptive histogram equalization and its variations*; Zuiderveld
(1994), *Contrast limited adaptive histogram equalization*, in Graphics Gems IV.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count, check_strength
from lepton_ref.vision.images.photometry import stretch
from lepton_ref.vision.images.pictures import check_picture

LEVELS = 2**14  # grey levels that CLAHE computes with


def histogram(picture: Any, bins: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Counts, and the value that each stands for.

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    bins : int
        Of equal width between the smallest and the largest value. A picture of uint8 has one for
        each of its levels instead.

    Returns
    -------
    counts : ndarray, int64, (bins,)
    centres : ndarray, float64, (bins,)
        0 to 1.
    """
    x = check_picture("histogram", picture)
    bins = check_count("histogram", "bins", bins, 2)
    if np.asarray(picture).dtype == np.uint8:
        levels = np.asarray(picture)
        low = int(levels.min())
        counts = np.bincount(levels.ravel())[low:]
        return counts, np.arange(low, low + len(counts)) / 255
    counts, edges = np.histogram(x, bins)
    return counts.astype(np.int64), (edges[:-1] + edges[1:]) / 2


def equalise(picture: Any, bins: int = 256) -> np.ndarray:
    """Each value becomes the share of pixels that are not above it (eq. images-equalise).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
        Colours are taken together, as one histogram.
    bins : int
        As in :func:`histogram`; between the middles of two bins the share is interpolated.

    Returns
    -------
    ndarray, float64, shape of the picture
        A constant picture comes back as it is.
    """
    x = check_picture("equalise", picture)
    if x.min() == x.max():
        return np.array(x)
    counts, centres = histogram(picture, bins)
    shares = np.cumsum(counts) / x.size
    if np.asarray(picture).dtype == np.uint8:
        table = np.zeros(256)
        table[np.rint(centres * 255).astype(np.intp)] = shares
        return table[np.asarray(picture)]
    return np.interp(x.ravel(), centres, shares).reshape(x.shape)


def clahe(
    picture: Any,
    tile: int | tuple[int, int] | None = None,
    clip_limit: float = 0.01,
    bins: int = 256,
) -> np.ndarray:
    """Equalisation by the histogram of the surroundings, with a limit (eq. images-clahe-slope).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
        Of a colour picture the largest of red, green and blue is equalised and the three are
        scaled with it, so that hue and saturation stay.
    tile : int or (int, int), optional
        Rows and columns of a tile; an eighth of the picture's when left out.
    clip_limit : float
        The largest share of a tile's pixels that one bin may count, above 0, at most 1. Times
        ``bins``, the largest gain of contrast, beside what stretching adds.
    bins : int
        Up to 16384.

    Returns
    -------
    ndarray, float64, shape of the picture
        Stretched to 0 to 1. A constant picture comes back as it is.
    """
    where = "clahe"
    x = check_picture(where, picture)
    if not 0 < check_strength(where, "clip_limit", clip_limit) <= 1:
        raise ArgumentError(where, "clip_limit", f"the value {clip_limit}", "above 0, at most 1")
    bins = check_count(where, "bins", bins, 2)
    if bins > LEVELS:
        raise ArgumentError(where, "bins", f"the value {bins}", f"at most {LEVELS}")
    value = x if x.ndim == 2 else x.max(axis=2)
    sides = _sides(where, tile, value.shape)
    if value.min() == value.max():
        return np.array(x)
    better = stretch(_clahe(value, sides, clip_limit, bins) / (LEVELS - 1))
    if x.ndim == 2:
        return better
    black = value == 0
    gain = np.divide(better, value, out=np.zeros_like(value), where=~black)
    return np.clip(x * gain[..., None] + (better * black)[..., None], 0, 1)


def _sides(where: str, tile: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    if tile is None:
        return max(shape[0] // 8, 1), max(shape[1] // 8, 1)
    rows, columns = (tile, tile) if np.isscalar(tile) else tile
    return check_count(where, "tile", rows), check_count(where, "tile", columns)


def _clahe(value: np.ndarray, sides: tuple[int, int], clip_limit: float, bins: int) -> np.ndarray:
    """Levels 0 to LEVELS - 1, whole numbers as float64, (H, W)."""
    # Two roundings, to 16 bits and to the levels, are part of the published method's arithmetic.
    sixteen = np.rint(np.clip(value, 0, 1) * 65_535)
    level = np.rint(stretch(sixteen / 65_535) * (LEVELS - 1)).astype(np.int64)
    level //= 1 + LEVELS // bins
    maps = _tile_maps(level, sides, clip_limit, bins)  # (rows of tiles, columns of tiles, bins)
    (above, down), (before, along) = (
        _neighbours(n, side, count) for n, side, count in zip(value.shape, sides, maps.shape)
    )
    flat, result = maps.reshape(-1), np.zeros(value.shape, np.float32)
    for r, weight_r in ((above, 1 - down), (above + 1, down)):
        r = np.clip(r, 0, maps.shape[0] - 1)[:, None]
        for c, weight_c in ((before, 1 - along), (before + 1, along)):
            c = np.clip(c, 0, maps.shape[1] - 1)
            mapped = flat.take((r * maps.shape[1] + c) * bins + level)
            result += (mapped * (weight_c * weight_r[:, None])).astype(np.float32)
    return np.floor(result).astype(np.float64)


def _neighbours(n: int, side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of n pixels: the tile whose middle comes before it, and the weight of the next."""
    place = np.arange(n) + side // 2
    return place // side - 1, place % side / side


def _tile_maps(
    level: np.ndarray, sides: tuple[int, int], clip_limit: float, bins: int
) -> np.ndarray:
    """For each tile, what each bin becomes: the clipped histogram added up, to LEVELS - 1."""
    counts = [-(-n // side) for n, side in zip(level.shape, sides)]
    padded = np.pad(
        level,
        [(0, n * side - size) for n, side, size in zip(counts, sides, level.shape)],
        mode="reflect" if min(level.shape) > 1 else "edge",
    )
    tiles = padded.reshape(counts[0], sides[0], counts[1], sides[1]).swapaxes(1, 2)
    number = np.arange(counts[0] * counts[1]).reshape(*counts, 1, 1)
    size = sides[0] * sides[1]
    histograms = np.bincount((number * bins + tiles).ravel(), minlength=number.size * bins)
    limit = max(1, int(clip_limit * size))
    clipped = [clip_histogram(h, limit) for h in histograms.reshape(-1, bins)]
    total = np.cumsum(clipped, axis=-1) * ((LEVELS - 1) / size)
    return np.minimum(total, LEVELS - 1).astype(np.int64).reshape(*counts, bins)


def clip_histogram(counts: np.ndarray, limit: int) -> np.ndarray:
    """Cut a histogram at ``limit`` and deal what was cut out to the bins that have room.

    Each bin that has room for it gets an equal share, and a bin that is then within a share of the
    limit is filled up. What is left goes round one by one, spread over the whole histogram.

    Parameters
    ----------
    counts : ndarray, int, (bins,)
    limit : int
        1 or more.

    Returns
    -------
    ndarray, int, (bins,)
        None above ``limit``. The sum stays nearly what it was: filling up may hand out a little
        more than was cut, and where all bins are full the rest is lost.
    """
    clipped = np.minimum(counts, limit)
    left = int(counts.sum() - clipped.sum())
    share = left // len(clipped)
    shared = np.where(clipped < limit - share, clipped + share, clipped)
    filled = np.where(shared >= limit - share, limit, shared)
    left -= int(filled.sum() - clipped.sum())
    clipped = filled
    while left > 0 and (clipped < limit).any():
        for first in range(len(clipped)):
            step = max(1, int(np.count_nonzero(clipped < limit)) // left)
            chosen = clipped[first::step]
            room = chosen < limit
            chosen += room
            left -= int(room.sum())
            if left <= 0:
                break
    return clipped
