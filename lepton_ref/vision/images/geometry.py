"""Geometric correction: the map that four points fix, and the picture seen through a map.

Source: Hartley and Zisserman (2004), *Multiple View Geometry in Computer Vision*, chapter 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_strength
from lepton_ref.vision.images.pictures import check_numbers, check_picture, check_real
from lepton_ref.vision.images.windows import bands


def homography(source: Any, target: Any) -> np.ndarray:
    """The 3×3 matrix that takes four or more points to others (eq. images-homography-rows).

    Parameters
    ----------
    source, target : array_like, (N, 2)
        Points (x, y), that is (column, row), in pixels. With more than four the sum of the
        squared residuals of the linear equations is least, after each set was moved to mean 0
        and scaled to mean square distance 2.

    Returns
    -------
    ndarray, float64, (3, 3)
        Lower right entry 1.

    Raises
    ------
    ArgumentError
        Fewer than four points, different numbers, or points that fix no map: three of four on a
        line.
    """
    where = "homography"
    a, b = _check_points(where, "source", source), _check_points(where, "target", target)
    if len(a) != len(b):
        raise ArgumentError(where, "target", f"{len(b)} points", f"as many as source, {len(a)}")
    A, B = _normalising(a), _normalising(b)
    (x, y), (u, v) = apply_map(A, a).T, apply_map(B, b).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate(
        [
            np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], axis=1),
            np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], axis=1),
        ]
    )  # (2N, 9), times the nine entries of the matrix: 0
    _, values, vectors = np.linalg.svd(rows)
    if len(values) < 8 or values[7] < 1e-10 * values[0]:
        raise ArgumentError(
            where, "source", "points that fix no map", "four points, no three on a line, both times"
        )
    matrix = np.linalg.inv(B) @ vectors[-1].reshape(3, 3) @ A
    if abs(matrix[2, 2]) < 1e-12 * np.abs(matrix).max() or abs(np.linalg.det(matrix)) < 1e-12:
        raise ArgumentError(
            where, "target", "points that fix no map", "four points, no three on a line, both times"
        )
    return matrix / matrix[2, 2]


def _check_points(where: str, name: str, points: Any) -> np.ndarray:
    p = check_numbers(where, name, points)
    if p.ndim != 2 or p.shape[1] != 2 or len(p) < 4:
        raise ArgumentError(where, name, f"shape {p.shape}", "(N, 2) with N of 4 or more")
    if not np.isfinite(p).all():
        raise ArgumentError(where, name, "NaN or infinity in it", "finite numbers")
    return p


def _normalising(points: np.ndarray) -> np.ndarray:
    """The map that moves points to mean 0 and mean square distance 2."""
    mean = points.mean(axis=0)
    spread = np.sqrt(((points - mean) ** 2).sum(axis=1).mean())
    if spread == 0:
        return np.eye(3)
    scale = np.sqrt(2) / spread
    return np.array([[scale, 0, -scale * mean[0]], [0, scale, -scale * mean[1]], [0, 0, 1.0]])


def apply_map(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (x, y), float (N, 2), through a 3×3 map (eq. images-homography): float64 (N, 2).

    Raises
    ------
    ArgumentError
        For another shape of either.
    """
    M, p = (check_numbers("apply_map", *a) for a in (("matrix", matrix), ("points", points)))
    if M.shape != (3, 3):
        raise ArgumentError("apply_map", "matrix", f"shape {M.shape}", "(3, 3)")
    if p.ndim != 2 or p.shape[1] != 2:
        raise ArgumentError("apply_map", "points", f"shape {p.shape}", "(N, 2)")
    u, v, w = M[:, :2] @ p.T + M[:, 2:]
    return np.stack([u / w, v / w], axis=1)


def warp(
    picture: Any, matrix: Any, shape: tuple[int, int] | None = None, fill: float = 0.0
) -> np.ndarray:
    """The picture seen through a map: each output pixel asks where it comes from.

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    matrix : array_like, (3, 3)
        From output points (x, y) to points of the picture: the inverse of the movement.
    shape : (int, int), optional
        Rows and columns of the output; those of the picture when left out.
    fill : float
        What is seen beyond the border, 0 to 1.

    Returns
    -------
    ndarray, float64, (H', W') or (H', W', 3)
        Between four pixels, the mean by the distances (eq. images-bilinear).
    """
    where = "warp"
    x = check_picture(where, picture)
    M = check_numbers(where, "matrix", matrix)
    if M.shape != (3, 3) or not np.isfinite(M).all():
        raise ArgumentError(where, "matrix", f"shape {M.shape}", "(3, 3), finite numbers")
    rows, columns = x.shape[:2] if shape is None else _check_sides(where, shape)
    fill = check_strength(where, "fill", fill)
    if fill > 1:
        raise ArgumentError(where, "fill", f"the value {fill:g}", "0 to 1")
    height, width = x.shape[:2]
    # A frame of two pixels holds whatever lies beyond: all of it looks the same.
    padded = np.pad(x, [(2, 2), (2, 2)] + [(0, 0)] * (x.ndim - 2), constant_values=fill)
    flat = padded.reshape((height + 4) * (width + 4), -1)  # (pixels, C)
    y = np.empty((rows, columns, flat.shape[1]))
    c = np.arange(columns, dtype=np.float64)
    for band in bands(y.shape):
        r = np.arange(band.start, band.stop, dtype=np.float64)[:, None]
        down, along = (M[i, 0] * c + (M[i, 1] * r + M[i, 2]) for i in (1, 0))
        if M[2, 0] or M[2, 1] or M[2, 2] != 1:
            scale = M[2, 0] * c + (M[2, 1] * r + M[2, 2])
            with np.errstate(divide="ignore", invalid="ignore"):
                down, along = down / scale, along / scale
        top, dr = _floor(down, height)
        left, dc = _floor(along, width)
        index = (top + 2) * (width + 4) + left + 2
        dr, dc = dr[..., None], dc[..., None]
        upper = (1 - dc) * flat.take(index, axis=0) + dc * flat.take(index + 1, axis=0)
        index += width + 4
        lower = (1 - dc) * flat.take(index, axis=0) + dc * flat.take(index + 1, axis=0)
        y[band] = (1 - dr) * upper + dr * lower
    return y[..., 0] if x.ndim == 2 else y


def _check_sides(where: str, shape: Any) -> tuple[int, int]:
    whole = isinstance(shape, (tuple, list)) and all(
        isinstance(side, (int, np.integer)) and side >= 1 for side in shape
    )
    if not whole or len(shape) != 2:
        expected = "two whole numbers, at least one row and column"
        raise ArgumentError(where, "shape", f"the value {shape!r}", expected)
    return int(shape[0]), int(shape[1])


def _floor(place: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixel before a place and how far beyond it the place lies; outside, the frame."""
    place = np.where(np.isfinite(place), place, -2.0)
    place = np.clip(place, -2.0, size + 0.5)
    whole = np.floor(place)
    return whole.astype(np.int64), place - whole


def rotate(picture: Any, degrees: float, fill: float = 0.0) -> np.ndarray:
    """The picture turned counter-clockwise about its middle, at its size.

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    degrees : float
    fill : float
        What comes in from beyond the border.

    Returns
    -------
    ndarray, float64, shape of the picture
    """
    x = check_picture("rotate", picture)
    degrees = check_real("rotate", "degrees", degrees)
    return warp(x, rotation(x.shape[:2], degrees), fill=fill)


def rotation(shape: tuple[int, ...], degrees: float) -> np.ndarray:
    """The map of :func:`warp` that turns a picture of this shape about its middle."""
    angle = np.deg2rad(check_real("rotation", "degrees", degrees))
    if len(shape) not in (2, 3):
        raise ArgumentError("rotation", "shape", f"the value {shape}", "(H, W) or (H, W, 3)")
    cos, sin = np.cos(angle), np.sin(angle)
    y, x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    return np.array(
        [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y], [0, 0, 1.0]]
    )
