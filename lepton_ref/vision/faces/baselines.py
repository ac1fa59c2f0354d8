"""What a network has to beat: the pixels themselves, and eigenfaces.

Both turn pictures into vectors and are judged exactly as the network is.

Source: Turk and Pentland (1991), *Eigenfaces for recognition*; Eckart and Young (1936), *The
approximation of one matrix by another of lower rank*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import host


def raw_pixels(images: Any, centre: bool = False) -> np.ndarray:
    """Pictures as vectors, nothing learned.

    Parameters
    ----------
    images : uint8 or float array (N, H, W)
    centre : bool
        Take each picture's own mean away. The cosine of two centred pictures is their
        correlation, which a change of brightness or contrast leaves as it is.

    Returns
    -------
    ndarray (N, H·W), float64

    Raises
    ------
    ArgumentError
        For another shape or dtype, or values that are not finite.
    """
    x = _vectors("raw_pixels", images)
    return x - x.mean(axis=1, keepdims=True) if centre else x


class Eigenfaces:
    """The directions in which training faces differ most, and pictures as steps along them.

    Fit it on pictures of *training* people alone: a mean or a direction that has seen the people
    of the test knows them.

    Parameters
    ----------
    components : int
        k, the number of directions.
    whiten : bool
        Divide each step by its standard deviation on the training pictures, so that all
        directions count the same.

    Attributes
    ----------
    mean : float64 (H·W,)
        The mean face.
    components : float64 (k, H·W)
        Orthonormal rows, the direction of most variance first; the largest entry of each in
        absolute value is positive.
    variance : float64 (k,)
        Of the training pictures along each.
    explained : float64 (k,)
        Share of their total variance.
    shape : (H, W)

    Raises
    ------
    ArgumentError
        When `components` is no positive whole number.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    explained: np.ndarray
    shape: tuple[int, int]

    def __init__(self, components: int = 50, whiten: bool = False) -> None:
        if type(components) is not int or components < 1:
            raise ArgumentError(
                "Eigenfaces", "components", f"the value {components!r}", "a whole number from 1"
            )
        self.count, self.whiten = components, whiten

    def fit(self, images: Any) -> Eigenfaces:
        """Mean and directions by a singular value decomposition of the centred pictures.

        Parameters
        ----------
        images : uint8 or float array (N, H, W)
            N must be greater than k: N centred pictures differ in at most N − 1 directions.

        Returns
        -------
        Eigenfaces
            Itself.

        Raises
        ------
        ArgumentError
            For too few pictures, or pictures that differ in fewer than k directions.
        """
        where = "Eigenfaces.fit"
        x = _vectors(where, images)
        n = len(x)
        if self.count > min(n - 1, x.shape[1]):
            raise ArgumentError(
                where, "images", f"{n} pictures of {x.shape[1]} pixels",
                f"more than {self.count} of each, the number of components",
            )  # fmt: skip
        mean = x.mean(axis=0)
        _, s, vt = np.linalg.svd(x - mean, full_matrices=False)  # (N,), (N, H·W)
        if s[self.count - 1] <= s[0] * np.finfo(np.float64).eps * max(x.shape):
            rank = int((s > s[0] * np.finfo(np.float64).eps * max(x.shape)).sum())
            raise ArgumentError(
                where, "images", f"{rank} directions in which the pictures differ",
                f"at least {self.count}, the number of components",
            )  # fmt: skip
        v = vt[: self.count]
        largest = np.abs(v).argmax(axis=1)
        # The sign of a direction is free; without a rule it would differ between machines.
        self.components = v * np.sign(v[np.arange(len(v)), largest])[:, None]
        self.mean = mean
        self.variance = s[: self.count] ** 2 / (n - 1)
        self.explained = s[: self.count] ** 2 / (s**2).sum()
        height, width = host(images).shape[1:]
        self.shape = (int(height), int(width))
        return self

    def transform(self, images: Any) -> np.ndarray:
        """Steps along the directions (eq. faces-eigenfaces): (N, H, W) -> (N, k), float64.

        Raises
        ------
        ArgumentError
            Before :meth:`fit`, or for pictures of another size.
        """
        self._fitted("Eigenfaces.transform")
        x = _vectors("Eigenfaces.transform", images, self.shape)
        codes = (x - self.mean) @ self.components.T  # (N, k)
        return codes / np.sqrt(self.variance) if self.whiten else codes

    def reconstruct(self, codes: Any) -> np.ndarray:
        """The pictures that have these codes: (N, k) -> (N, H, W), float64.

        Of all pictures that these directions can express, the nearest to the original
        (eq. faces-projection); no k other directions come nearer to the training pictures as a
        whole (eq. faces-eckart-young).
        """
        self._fitted("Eigenfaces.reconstruct")
        c = host(codes)
        if c.ndim != 2 or c.shape[1] != self.count:
            raise ArgumentError(
                "Eigenfaces.reconstruct", "codes", f"shape {c.shape}", f"(N, {self.count})"
            )
        steps = c * np.sqrt(self.variance) if self.whiten else c
        return (self.mean + steps @ self.components).reshape(-1, *self.shape)

    def _fitted(self, where: str) -> None:
        if not hasattr(self, "shape"):
            raise ArgumentError(where, "self", "no directions yet", "fit(images) before")


def _vectors(where: str, images: Any, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Pictures (N, H, W) as float64 rows (N, H·W)."""
    x = host(images)
    if x.ndim != 3 or x.size == 0 or (shape is not None and x.shape[1:] != shape):
        size = "H, W" if shape is None else f"{shape[0]}, {shape[1]}"
        raise ArgumentError(where, "images", f"shape {x.shape}", f"grey pictures (N, {size})")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise ArgumentError(where, "images", f"dtype {x.dtype}", "uint8 or floats")
    x = x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(x).all():
        raise ArgumentError(where, "images", "NaN or infinity", "finite pixels")
    return x
