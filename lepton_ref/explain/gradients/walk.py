"""A network as a chain of layers, walked forwards and backwards one layer at a time.

Some explainers replace the backward rule of a nonlinearity. An engine has no hooks to do that
with, and needs none: the chain of layers is known, each layer's own vector-Jacobian product
comes from ``value_and_grad``, and where the rule differs the walk applies another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    GELU,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)

#: y = A x + b with constant A: every backward rule is the transpose of A.
LINEAR = (Dense, Conv2d, ConvTranspose2d, AvgPool2d, GlobalAvgPool2d, Flatten, BatchNorm, Dropout)
#: yᵢ = φ(xᵢ).
ELEMENTWISE = (ReLU, Tanh, Sigmoid, GELU)

Rule = Callable[["Step", Any], Any]


@dataclass
class Step:
    """One layer of the chain, what went in and what came out."""

    path: str
    layer: Layer
    x: Any = None
    y: Any = None
    ref: Any = None  # the same of the baseline
    y_ref: Any = None
    inner: list[list[Step]] | None = None  # of a Residual: its body and its shortcut


def chain(where: str, model: Any) -> list[Step]:
    """The layers of a model in the order in which they run.

    Parameters
    ----------
    where : str
        The explainer, for messages.
    model : Layer
        A Sequential, a CNN, or one of the layers that the walk knows; or an object whose
        ``model`` is one.

    Raises
    ------
    ArgumentError
        For what is no Layer, or holds a layer that the walk does not know.
    """
    root = getattr(model, "model", model)
    if not isinstance(root, Layer):
        raise ArgumentError(where, "model", f"type {type(root).__name__}", "a Layer")
    return list(_steps(where, root, ""))


def _steps(where: str, layer: Layer, path: str) -> Iterator[Step]:
    from lepton_ref.vision.classification import CNN

    def inside(name: str) -> str:
        return f"{path}.{name}" if path else name

    if isinstance(layer, Sequential) and type(layer).forward is Sequential.forward:
        for name, child in layer.children():
            yield from _steps(where, child, inside(name))
    elif isinstance(layer, CNN):
        yield from _steps(where, layer.features, inside("features"))
        yield from _steps(where, layer.head, inside("head"))
    elif isinstance(layer, Residual):
        body = list(_steps(where, layer.body, inside("body")))
        short = [] if layer.shortcut is None else _steps(where, layer.shortcut, inside("shortcut"))
        yield Step(path, layer, inner=[body, list(short)])
    elif type(layer) in (*LINEAR, *ELEMENTWISE, MaxPool2d):
        yield Step(path, layer)
    else:
        known = ", ".join(cls.__name__ for cls in (*LINEAR, *ELEMENTWISE, MaxPool2d))
        raise ArgumentError(
            where, "model", f"the layer {path or 'itself'} of type {type(layer).__name__}",
            f"a chain (Sequential, CNN, Residual) of {known}; integrated_gradients takes any model",
        )  # fmt: skip


def forward(E: Any, steps: list[Step], x: Any, baseline: bool = False) -> Any:
    """Run the chain without a gradient; every step remembers its input and its output.

    They are kept as ``x`` and ``y``, those of a baseline as ``ref`` and ``y_ref``: in arrays of
    their own, since a slice of MXNet's array may not be read back.
    """
    with E.no_grad():
        return _forward(E, steps, x, baseline)


def _forward(E: Any, steps: list[Step], x: Any, baseline: bool) -> Any:
    for step in steps:
        if step.inner is None:
            y = step.layer(x)
        else:
            body, shortcut = (_forward(E, part, x, baseline) for part in step.inner)
            y = E.add(body, shortcut)
        if baseline:
            step.ref, step.y_ref = x, y
        else:
            step.x, step.y = x, y
        x = y
    return x


def backward(E: Any, steps: list[Step], dy: Any, rule: Rule) -> Any:
    """Bring ``dy`` from the chain's output to its input, each layer by ``rule(step, dy)``."""
    for step in reversed(steps):
        if step.inner is None:
            dy = rule(step, dy)
        else:  # y = body(x) + shortcut(x): both get dy, and the inputs' shares add up
            body, shortcut = (backward(E, part, dy, rule) for part in step.inner)
            dy = E.add(body, shortcut)
    return dy


def vjp(E: Any, function: Callable[[Any], Any], x: Any, dy: Any) -> Any:
    """(∂function/∂x)ᵀ dy, from the gradient of the scalar Σ function(x) ⊙ dy."""
    # A copy, since MXNet's max-pooling goes wrong on a view of another array.
    leaf = E.parameter(x, dtype_name(x))
    _, dx = E.value_and_grad(lambda a: E.sum(E.multiply(function(a), dy)))(leaf)
    return dx


def settled(E: Any, layer: Layer, x: Any) -> Any:
    """The input of a max-pooling with its ties settled in reading order, as good as unchanged.

    Over an empty background all entries of a window are equal but for rounding, and rounding
    differs from one engine to the next. Each entry is lowered by a few units in the last place
    for each entry that is read before it in its window.
    """
    if not isinstance(layer, MaxPool2d):
        return x
    (kh, kw), (ph, pw), kind = layer.kernel_size, layer.padding, dtype_name(x)
    height, width = (int(s) for s in x.shape[2:])
    place = ((np.arange(height) + ph) % kh)[:, None] * kw + (np.arange(width) + pw) % kw
    largest = float(E.asnumpy(E.max(E.abs(x))))
    return E.subtract(x, E.array(32 * np.finfo(kind).eps * largest * place, kind))


def one_hot(target: np.ndarray, outputs: Any, dtype: str) -> np.ndarray:
    """dfₖ/dy of each row's output y: (N, K) with a one at the target, or (N,) of ones."""
    dy = np.zeros(tuple(int(s) for s in outputs.shape), dtype)
    if dy.ndim == 1:
        return dy + 1
    dy[np.arange(len(dy)), target] = 1
    return dy
