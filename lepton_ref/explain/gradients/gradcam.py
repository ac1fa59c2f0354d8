"""Grad-CAM: where in a feature map the evidence for a class lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.explain.gradients.attribution import Attribution, at_target, check_input
from lepton_ref.explain.gradients.boxes import engine_of, model_dtype
from lepton_ref.explain.gradients.methods import input_gradients
from lepton_ref.explain.gradients.walk import ELEMENTWISE, Conv2d, Step, chain
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError


def grad_cam(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    layer: str | None = None,
    positive: bool = True,
    batch_size: int = 128,
) -> Attribution:
    """A feature map's channels, weighted by their mean gradient, enlarged to the picture.

    M = relu(Σ_c w_c A_c) with w_c the mean over all places of ∂f/∂A_c (eq. gradients-grad-cam).
    The model is split behind ``layer``; the rest of it is differentiated with the features as
    its input, so that no engine has to keep the gradient of an intermediate.

    Parameters
    ----------
    model : Layer
        A chain of layers that :func:`.walk.chain` knows.
    x : float array, shape (N, C, H, W)
    target : int or int array (N,), optional
        Which output; default each row's largest.
    layer : str, optional
        Path of the layer behind which to look (``"features.4"``); default the last convolution,
        with the nonlinearity that follows it.
    positive : bool
        Keep only what speaks for the class, as the paper does.
    batch_size : int

    Returns
    -------
    Attribution
        ``settings["map"]`` is the map as the layer has it, (N, h, w). ``values`` is it enlarged
        bilinearly to (H, W), an equal part of it on each of the C channels.

    Raises
    ------
    ArgumentError
        For a model without a convolution, an unknown layer, or one whose output is no map.

    Source: Selvaraju et al. (2017), *Grad-CAM: visual explanations from deep networks via
    gradient-based localization*.
    """
    where = "grad_cam"
    x = check_input(where, x)
    whole(where, batch_size=batch_size)
    if x.ndim != 4:
        raise ArgumentError(where, "x", f"shape {x.shape}", "(N, C, H, W)")
    steps = chain(where, model)
    E, kind = engine_of(model), model_dtype(getattr(model, "model", model), x)
    cut = _cut(where, steps, layer)
    body, head = steps[: cut + 1], steps[cut + 1 :]
    parts = []
    for start in range(0, len(x), batch_size):
        with E.no_grad():
            parts.append(E.asnumpy(_run(body, E.array(x[start : start + batch_size], kind))))
    features = np.concatenate(parts)
    if features.ndim != 4:
        raise ArgumentError(
            where, "layer", f"{steps[cut].path!r} with outputs of shape {features.shape}",
            "a layer with maps (N, C, h, w)",
        )  # fmt: skip
    y, chosen, gradients = input_gradients(
        where, _Head(E, head), features, target, E, batch_size=batch_size
    )
    weights = gradients.mean(axis=(2, 3), keepdims=True)  # (N, C, 1, 1)
    small = (weights * features).sum(axis=1)  # (N, h, w)
    if positive:
        small = np.maximum(small, 0)
    large = enlarge(small, x.shape[2:])[:, None] / x.shape[1]
    return Attribution(
        np.broadcast_to(large, x.shape).copy(), x, chosen, at_target(y, chosen), where,
        settings={"layer": steps[cut].path, "positive": positive, "map": small},
    )  # fmt: skip


class _Head:
    """The chain behind the cut, as a white box of its own."""

    def __init__(self, E: Any, steps: list[Step]) -> None:
        self.E, self.steps = E, steps

    def __call__(self, x: Any) -> Any:
        return _run(self.steps, x)


def _run(steps: list[Step], x: Any) -> Any:
    for step in steps:
        x = step.layer(x)
    return x


def _cut(where: str, steps: list[Step], layer: str | None) -> int:
    paths = [step.path for step in steps]
    if layer is not None:
        if layer not in paths:
            raise ArgumentError(
                where, "layer", f"the value {layer!r}", f"one of {', '.join(paths)}"
            )
        return paths.index(layer)
    convolutions = [
        i for i, step in enumerate(steps) if step.inner or isinstance(step.layer, Conv2d)
    ]
    if not convolutions:
        raise ArgumentError(where, "model", "no convolution", "a network with feature maps")
    last = convolutions[-1]
    follows = last + 1 < len(steps) and isinstance(steps[last + 1].layer, ELEMENTWISE)
    return last + 1 if follows else last


def enlarge(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Bilinear interpolation between the centres of the cells: (N, h, w) -> (N, H, W)."""
    rows, columns = (_weights(small, large) for small, large in zip(maps.shape[1:], size))
    return rows @ maps @ columns.T


def _weights(small: int, large: int) -> np.ndarray:
    """Share of each of ``small`` cells in each of ``large`` places, (large, small)."""
    at = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(small)))
