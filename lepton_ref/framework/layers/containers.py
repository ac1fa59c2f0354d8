"""Layers made of layers: one after another, or around a shortcut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers.base import Layer


class Sequential(Layer):
    """Each layer takes the output of the one before. The layers are named "0", "1", ...

    Parameters
    ----------
    *layers : Layer
    engine : str or Engine, optional
        Without it, that of the first layer.
    """

    def __init__(self, *layers: Layer, engine: str | Engine | None = None) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise ArgumentError(
                    "Sequential", f"layers[{i}]", f"type {type(layer).__name__}", "a Layer"
                )
            if layer.E.name != layers[0].E.name:
                raise ArgumentError(
                    "Sequential", f"layers[{i}]", f"engine {layer.E.name!r}",
                    f"{layers[0].E.name!r}, the engine of layers[0]",
                )  # fmt: skip
        super().__init__(layers[0].E if layers and engine is None else engine)
        self.layers = list(layers)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """The layers by number."""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        for layer in self.layers:
            x = layer(x, rng)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Layer:
        return self.layers[i]


class Residual(Layer):
    """y = body(x) + shortcut(x), the shortcut being the identity when there is none.

    The gradient of the sum reaches ``x`` undamped through the identity, whatever the body
    does to it (eq. layers-residual-dx).

    Parameters
    ----------
    body : Layer
    shortcut : Layer, optional
        For a body that changes the shape: usually a 1×1 convolution with the same stride.
    engine : str or Engine, optional

    Raises
    ------
    ArgumentError
        When the two outputs differ in shape.

    Source: He, Zhang, Ren and Sun (2016).
    """

    def __init__(
        self, body: Layer, shortcut: Layer | None = None, engine: str | Engine | None = None
    ) -> None:
        super().__init__(body.E if engine is None else engine)
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        y = self.body(x, rng)
        around = x if self.shortcut is None else self.shortcut(x, rng)
        if tuple(y.shape) != tuple(around.shape):
            raise ArgumentError(
                "Residual", "body", f"an output of shape {tuple(y.shape)}",
                f"{tuple(around.shape)}, the shape that goes around it; give a `shortcut`",
            )  # fmt: skip
        return self.E.add(y, around)
