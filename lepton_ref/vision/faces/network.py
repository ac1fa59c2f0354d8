"""The embedding network: a face in, a direction out; and what a picture goes through before.

Source: Chopra, Hadsell and LeCun (2005), *Learning a similarity metric discriminatively, with
application to face verification*, for the idea and the pictures' size; Deng et al. (2019),
*ArcFace*, for the head of :class:`CosineHead`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.arguments import rectangular
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
    glorot_uniform,
)
from lepton_ref.framework.models import register
from lepton_ref.vision.classification import CNN
from lepton_ref.vision.faces.losses import unit

HEIGHT, WIDTH = 56, 46
CONTRAST = 1e-3  # least standard deviation of grey levels in [0, 1] that shows anything


def face_features(
    width: int = 16,
    dropout: float = 0.4,
    rng: np.random.Generator | None = None,
    engine: str | Engine | None = None,
) -> Sequential:
    """Three normalised convolutions, each halving the picture: (N, 1, 56, 46) -> (N, 140 width).

    The first takes every second window and needs no pooling: a quarter of the work, at the
    resolution where most of it would be.
    """
    made: dict[str, Any] = {"bias": False, "rng": rng, "engine": engine}
    layers: list[Layer] = [
        Conv2d(1, width, 5, stride=2, padding=2, **made),
        BatchNorm(width, engine=engine),
        ReLU(engine=engine),
    ]
    for channels in (width, 2 * width):
        layers += [
            Conv2d(channels, 2 * channels, 3, padding=1, **made),
            BatchNorm(2 * channels, engine=engine),
            ReLU(engine=engine),
            MaxPool2d(2, engine=engine),
        ]
    return Sequential(*layers, Flatten(engine=engine), Dropout(dropout, engine=engine))


@register
class FaceCNN(CNN):
    """Grey faces in, unit vectors out: alike are two faces whose vectors point alike.

    It names nobody. Whose face it is says a gallery of people who agreed to stand in it.

    Parameters
    ----------
    width : int
        Channels of the first convolution.
    dimension : int
        D, the length of an embedding.
    dropout : float
        Rate before the embedding.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Raises
    ------
    ArgumentError
        For a dimension below 2.
    """

    def __init__(
        self,
        width: int = 16,
        dimension: int = 64,
        dropout: float = 0.4,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        Layer.__init__(self, engine)
        if type(dimension) is not int or dimension < 2:
            raise ArgumentError("FaceCNN", "dimension", f"the value {dimension!r}", "at least 2")
        self.shape = (1, HEIGHT, WIDTH)
        self.dimension = dimension
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.features = face_features(width, dropout, **made)
        self.head = Dense(4 * width * (HEIGHT // 8) * (WIDTH // 8), dimension, **made)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Unit vectors of prepared pictures: (N, 1, 56, 46) -> (N, D) (eq. faces-unit)."""
        return unit(self.head(self.features(x, rng), rng), self.E)

    def prepare(self, images: Any) -> np.ndarray:
        """Grey pictures as the network takes them; see :func:`prepare_faces`."""
        return prepare_faces(images)

    def extract_features(self, images: Any) -> np.ndarray:
        """What the last layer says of each face, as it comes: (N, D), float32, of any length.

        Two of these compare by their cosine, not by their dot product; :meth:`embed` has
        divided by the lengths already.

        Parameters and errors as in :func:`prepare_faces`.
        """
        return self._in_batches(Sequential(self.features, self.head), images)

    def embed(self, images: Any, mirror: bool = True) -> np.ndarray:
        """The direction of each face: (N, D), float32, rows of length 1.

        Parameters
        ----------
        images : array
            As in :func:`prepare_faces`.
        mirror : bool
            Embed the mirrored picture too, and take the direction half-way between.
        """
        x = rectangular("FaceCNN.embed", "images", images)
        vectors = self._in_batches(self, x)
        if mirror:
            vectors = vectors + self._in_batches(self, x[..., ::-1])
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)

    def predict_proba(self, images: Any) -> np.ndarray:
        """Refused: the people of the training are not those who are asked about."""
        raise ArgumentError(
            "FaceCNN.predict", "images", "no classes to be of",
            "embed(images), and a Gallery of people who are enrolled",
        )  # fmt: skip


class CosineHead(Layer):
    """cos θ between each unit vector and one direction for each class: (N, D) -> (N, K).

    Needed in training by :func:`.losses.arcface`, thrown away afterwards.

    Parameters
    ----------
    dimension, classes : int
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    weight : array, shape (classes, dimension)
    """

    weight: Any

    def __init__(
        self,
        dimension: int,
        classes: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if rng is None:
            raise ArgumentError("CosineHead", "rng", "no generator", "a numpy.random.Generator")
        start = glorot_uniform(rng, (classes, dimension), dimension, classes)
        self.add_parameter("weight", start)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (N, D)
        return self.E.matmul(x, self.E.transpose(unit(self.weight, self.E), (1, 0)))


def prepare_faces(images: Any) -> np.ndarray:
    """Grey pictures, made small, each with its own brightness and contrast taken out.

    Parameters
    ----------
    images : array, shape (H, W), (N, H, W) or (N, 1, H, W)
        Grey, uint8 in 0..255 or floats in [0, 1]; H × W is 56 × 46 times a whole number, as the
        ORL pictures of 112 × 92 are.

    Returns
    -------
    ndarray, shape (N, 1, 56, 46), float32
        Means over squares of pixels (eq. faces-shrink), then less their mean and over their
        standard deviation, picture by picture (eq. faces-standardise). A lamp that is twice as
        bright, or a camera that adds a constant, changes nothing.

    Raises
    ------
    ArgumentError
        For colour or an alpha channel, another size or dtype, values out of range or not
        finite, and a picture of one grey level, in which there is no face.
    """
    where = "prepare_faces"
    x = rectangular(where, "images", images)
    shape = x.shape
    if x.ndim > 2 and shape[-1] in (2, 3, 4):
        raise ArgumentError(
            where, "images", f"shape {shape}: {shape[-1]} channels last",
            "grey pictures (N, H, W); take the luminance of colour and leave alpha out",
        )  # fmt: skip
    if x.ndim == 4 and shape[1] == 1:
        x = x[:, 0]
    elif x.ndim == 2:
        x = x[None]
    factor = x.shape[-2] // HEIGHT if x.ndim == 3 else 0
    if factor < 1 or x.shape[1:] != (factor * HEIGHT, factor * WIDTH):
        raise ArgumentError(
            where, "images", f"shape {shape}",
            f"(H, W), (N, H, W) or (N, 1, H, W) with H x W = {HEIGHT}x{WIDTH}, "
            f"{2 * HEIGHT}x{2 * WIDTH} or another multiple",
        )  # fmt: skip
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / 255
    elif x.dtype.kind != "f":
        raise ArgumentError(where, "images", f"dtype {x.dtype}", "uint8, or floats in [0, 1]")
    elif x.size and not (x.min() >= 0 and x.max() <= 1):
        raise ArgumentError(
            where, "images", f"values from {x.min()} to {x.max()}",
            "floats in [0, 1], or uint8 in 0..255",
        )  # fmt: skip
    small = x.reshape(-1, HEIGHT, factor, WIDTH, factor).mean(axis=(2, 4), dtype=np.float64)
    deviation = small.std(axis=(1, 2), keepdims=True)
    if (deviation < CONTRAST).any():
        row = int((deviation[:, 0, 0] < CONTRAST).argmax())
        raise ArgumentError(where, "images", f"one grey level in picture {row}", "a face")
    small = (small - small.mean(axis=(1, 2), keepdims=True)) / deviation
    return small[:, None].astype(np.float32)


def vary_faces(
    x: np.ndarray,
    rng: np.random.Generator,
    turn: float = 25.0,
    nod: float = 12.0,
    angle: float = 8.0,
    zoom: float = 0.1,
    shift: float = 3.0,
    light: float = 0.2,
) -> np.ndarray:
    """Another picture that could have been taken of the same person in the same minute.

    Each is mirrored or not, turned and nodded as if painted on a cylinder (eq. faces-cylinder),
    tilted, enlarged, shifted, and lit otherwise.

    Parameters
    ----------
    x : float array (N, 1, H, W)
        Prepared pictures.
    rng : numpy.random.Generator
    turn, nod, angle : float
        Most degrees about the upright axis, about the axis through the ears, and in the plane.
    zoom : float
        Largest change of size, as a share.
    shift : float
        Most pixels along each axis.
    light : float
        Largest change of contrast, as a share, and of brightness, in standard deviations; a
        lamp from one side may change it by half as much again at the border.

    Returns
    -------
    ndarray like `x`
        Bilinear; beyond the border the border's pixels go on.
    """
    n, _, height, width = x.shape

    def draw(most: float) -> np.ndarray:
        return rng.uniform(-most, most, (n, 1, 1)).astype(np.float32)

    tilt, size = draw(np.deg2rad(angle)), 1 + draw(zoom)
    sign = np.where(rng.random((n, 1, 1)) < 0.5, -1, 1).astype(np.float32)
    v, u = np.indices((height, width), np.float32)
    v, u = (v - (height - 1) / 2)[None], (u - (width - 1) / 2)[None]
    column = (np.cos(tilt) * u - np.sin(tilt) * v) * size + draw(shift)
    row = (np.sin(tilt) * u + np.cos(tilt) * v) * size + draw(shift)
    column = _turned(column, draw(np.deg2rad(turn)), 0.625 * width) * sign
    row = _turned(row, draw(np.deg2rad(nod)), 0.8125 * height)
    out = _bilinear(x[:, 0], row + (height - 1) / 2, column + (width - 1) / 2)
    slope = draw(1.5 * light) * u / width * 2 + draw(1.5 * light) * v / height * 2
    return (out * (1 + draw(light)) + slope + draw(light))[:, None].astype(x.dtype)


def _turned(position: np.ndarray, angle: np.ndarray, radius: float) -> np.ndarray:
    """Where a point of a turned cylinder was before, less most of what the turn moves all by."""
    around = np.arcsin(np.clip(position / radius, -1, 1)) + angle
    return radius * (np.sin(np.clip(around, -1.5, 1.5)) - 0.6 * np.sin(angle))


def _bilinear(pictures: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Values of pictures (N, H, W) between their pixels, at (N, H, W) places."""
    n, height, width = pictures.shape
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    left = np.minimum(column.astype(np.intp), width - 2)
    top = np.minimum(row.astype(np.intp), height - 2)
    right, down = column - left, row - top  # shares of the next pixel
    flat = pictures.reshape(-1)
    start = (np.arange(n) * height * width)[:, None, None] + top * width + left
    upper = flat[start] * (1 - right) + flat[start + 1] * right
    lower = flat[start + width] * (1 - right) + flat[start + width + 1] * right
    return upper * (1 - down) + lower * down
