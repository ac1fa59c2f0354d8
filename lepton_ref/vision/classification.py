"""Image classifiers: a LeNet-style network, a small residual one, and the public class ``CNN``.

Source: LeCun, Bottou, Bengio and Haffner (1998), *Gradient-based learning applied to document
recognition*; He, Zhang, Ren and Sun (2016), *Deep residual learning for image recognition*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import probabilities
from lepton_ref.framework.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
)
from lepton_ref.framework.models import load_model, register


class LeNet(Sequential):
    """Two convolutions, each with pooling, and one dense layer: (N, C, S, S) -> (N, 4·width).

    It has 9Cw + w + 18w² + 2w + 2w(S/4)²·4w + 4w parameters for width w and S divisible by
    4 (eq. lenet-parameters).

    Parameters
    ----------
    in_channels, image_size : int
        C and S of the square images.
    width : int
        Channels of the first convolution; the second has twice as many.
    dropout : float
        Rate after the pooled maps and after the dense layer.
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        width: int = 32,
        dropout: float = 0.25,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        made: dict[str, Any] = {"rng": rng, "engine": engine}
        side = image_size // 4
        self.out_features = 4 * width
        super().__init__(
            Conv2d(in_channels, width, 3, padding=1, **made),
            ReLU(engine=engine),
            MaxPool2d(2, engine=engine),
            Conv2d(width, 2 * width, 3, padding=1, **made),
            ReLU(engine=engine),
            MaxPool2d(2, engine=engine),
            Flatten(engine=engine),
            Dropout(dropout, engine=engine),
            Dense(2 * width * side * side, 4 * width, initializer="kaiming_normal", **made),
            ReLU(engine=engine),
            Dropout(dropout, engine=engine),
        )


def residual_block(
    in_channels: int,
    out_channels: int,
    stride: int = 1,
    rng: np.random.Generator | None = None,
    engine: str | Engine | None = None,
) -> Sequential:
    """relu(body(x) + shortcut(x)): two normalised 3×3 convolutions around a shortcut.

    Behind the ReLU the gradient of the input is that of the shortcut plus that of the body
    (eq. residual-dx, when the shortcut is the identity). Where the shape changes, the shortcut
    is a 1×1 convolution.
    """
    made: dict[str, Any] = {"bias": False, "rng": rng, "engine": engine}
    body = Sequential(
        Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, **made),
        BatchNorm(out_channels, engine=engine),
        ReLU(engine=engine),
        Conv2d(out_channels, out_channels, 3, padding=1, **made),
        BatchNorm(out_channels, engine=engine),
    )
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = Sequential(
            Conv2d(in_channels, out_channels, 1, stride=stride, **made),
            BatchNorm(out_channels, engine=engine),
        )
    return Sequential(Residual(body, shortcut), ReLU(engine=engine))


class SmallResNet(Sequential):
    """A stem and three residual blocks: (N, C, S, S) -> (N, 4·width).

    Parameters as in :class:`LeNet`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        width: int = 16,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        made: dict[str, Any] = {"rng": rng, "engine": engine}
        self.out_features = 4 * width
        super().__init__(
            Conv2d(in_channels, width, 3, padding=1, bias=False, **made),
            BatchNorm(width, engine=engine),
            ReLU(engine=engine),
            MaxPool2d(2, engine=engine),
            residual_block(width, width, **made),
            residual_block(width, 2 * width, stride=2, **made),
            residual_block(2 * width, 4 * width, stride=2, **made),
            GlobalAvgPool2d(engine=engine),
            Dropout(dropout, engine=engine),
        )


ARCHITECTURES: dict[str, Callable[..., Any]] = {"lenet": LeNet, "resnet": SmallResNet}


@register
class CNN(Layer):
    """An image classifier that takes pictures as they come and names what it sees.

    Parameters
    ----------
    architecture : {"lenet", "resnet"}
        What computes the features.
    classes : sequence of str
        Their names, in the order of the labels.
    in_channels, image_size : int
        The pictures it accepts: ``image_size`` × ``image_size`` with ``in_channels`` channels.
    width : int
        Channels of the first convolution.
    dropout : float
    mean, std : float
        Of the training pictures' pixels, as numbers in [0, 1].
    rng : numpy.random.Generator
        Draws the initial weights.
    engine : str or Engine, optional

    Raises
    ------
    ArgumentError
        For an unknown architecture, fewer than two classes or an image size below 8.
    """

    def __init__(
        self,
        architecture: str = "lenet",
        classes: Sequence[str] = tuple("0123456789"),
        in_channels: int = 1,
        image_size: int = 28,
        width: int = 32,
        dropout: float = 0.25,
        mean: float = 0.5,
        std: float = 0.5,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if architecture not in ARCHITECTURES:
            raise ArgumentError(
                "CNN", "architecture", f"the value {architecture!r}",
                f"one of {', '.join(ARCHITECTURES)}",
            )  # fmt: skip
        if len(classes) < 2:
            raise ArgumentError("CNN", "classes", f"{len(classes)} names", "at least 2")
        if image_size < 8:
            raise ArgumentError("CNN", "image_size", f"the value {image_size}", "at least 8")
        if not std > 0:
            raise ArgumentError("CNN", "std", f"the value {std}", "a positive number")
        self.classes = tuple(classes)
        self.shape = (in_channels, image_size, image_size)
        self.mean, self.std = mean, std
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.features: Any = ARCHITECTURES[architecture](
            in_channels, image_size, width, dropout, **made
        )
        self.head = Dense(self.features.out_features, len(classes), **made)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits of standardised pictures: (N, C, S, S) -> (N, number of classes)."""
        return self.head(self.features(x, rng), rng)

    def prepare(self, images: Any) -> np.ndarray:
        """Pictures as the network takes them.

        Parameters
        ----------
        images : array, shape (S, S), (N, S, S) or (N, C, S, S)
            uint8 in 0..255, or floats in [0, 1].

        Returns
        -------
        ndarray, shape (N, C, S, S), float32
            x = (pixel − mean) / std.

        Raises
        ------
        ArgumentError
            For another shape or dtype, values out of range or not finite.
        """
        images = np.asarray(images)
        shape = images.shape
        C, S, _ = self.shape
        if C == 1 and shape[-2:] == (S, S) and images.ndim in (2, 3):
            images = images.reshape(-1, 1, S, S)
        if images.ndim != 4 or images.shape[1:] != self.shape:
            accepted = f"(N, {C}, {S}, {S})" + (f", (N, {S}, {S}) or ({S}, {S})" if C == 1 else "")
            raise ArgumentError("CNN.prepare", "images", f"shape {shape}", accepted)
        if images.dtype == np.uint8:
            pixels = images.astype(np.float32) / 255
        elif images.dtype.kind == "f":
            if images.size and not (images.min() >= 0 and images.max() <= 1):
                raise ArgumentError(
                    "CNN.prepare", "images", f"values from {images.min()} to {images.max()}",
                    "floats in [0, 1], or uint8 in 0..255",
                )  # fmt: skip
            pixels = images.astype(np.float32)
        else:
            raise ArgumentError(
                "CNN.prepare", "images", f"dtype {images.dtype}", "uint8, or floats in [0, 1]"
            )
        return (pixels - np.float32(self.mean)) / np.float32(self.std)

    def _in_batches(self, layer: Any, images: Any, size: int = 500) -> np.ndarray:
        x = self.prepare(images)
        with self.E.no_grad():
            parts = [
                self.E.asnumpy(layer(self.E.array(x[i : i + size])))
                for i in range(0, max(len(x), 1), size)
            ]
        return np.concatenate(parts)

    def extract_features(self, images: Any) -> np.ndarray:
        """What the last hidden layer says of each picture: (N, F), float32.

        Parameters and errors as in :meth:`prepare`.
        """
        return self._in_batches(self.features, images)

    def predict_proba(self, images: Any) -> np.ndarray:
        """Probability of each class for each picture: (N, number of classes), rows sum to 1."""
        return probabilities(self._in_batches(self, images))

    def predict(self, images: Any) -> np.ndarray:
        """The most probable label of each picture: (N,), int64."""
        return self.predict_proba(images).argmax(axis=1)

    @classmethod
    def load_model(
        cls, name: str, path: str | Path | None = None, engine: str | Engine | None = None
    ) -> CNN:
        """A saved classifier by name; see :func:`lepton_ref.framework.models.load_model`.

        Raises
        ------
        ModelFileError
            When there is none of this name, it is damaged, or it holds another class.
        """
        return load_model(name, path=path, expected=cls, engine=engine)


class Comparison(NamedTuple):
    """Two classifiers on the same pictures."""

    difference: float
    standard_error: float
    only_first: int
    only_second: int


def compare_classifiers(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> Comparison:
    """Difference of two accuracies on the same examples, and how uncertain it is.

    With b examples that only the first has right and c that only the second has,

    d = (b − c) / n,   var d = (b + c − (b − c)²/n) / n²   (eq. paired-variance)

    Parameters
    ----------
    first, second : integer array, shape (N,)
        Predicted labels.
    labels : integer array, shape (N,)

    Raises
    ------
    ArgumentError
        When the lengths differ or there is no example.
    """
    if not len(labels) or not len(first) == len(second) == len(labels):
        raise ArgumentError(
            "compare_classifiers", "first, second", f"{len(first)} and {len(second)} predictions",
            f"one for each of the {len(labels)} labels, at least one",
        )  # fmt: skip
    right_1, right_2 = first == labels, second == labels
    b, c = int((right_1 & ~right_2).sum()), int((~right_1 & right_2).sum())
    n = len(labels)
    return Comparison((b - c) / n, math.sqrt(b + c - (b - c) ** 2 / n) / n, b, c)
