"""A filter by hand becomes a filter that is learned: least squares, and descent on an engine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers import SGD
from lepton_ref.framework.training.checks import check_count
from lepton_ref.vision.images.denoising import check_deviation
from lepton_ref.vision.images.pictures import check_numbers, check_picture, check_size


class Moments(NamedTuple):
    """What a linear filter sees of its examples, as means over all windows.

    ``inner`` is XᵀX/n, (k², k²); ``cross`` is Xᵀy/n, (k²,); ``power`` is yᵀy/n; ``windows`` is n.
    """

    inner: np.ndarray
    cross: np.ndarray
    power: float
    windows: int

    def loss(self, kernel: np.ndarray) -> float:
        """Mean squared error of a kernel (k, k) over the windows."""
        w = kernel.ravel()
        return float(w @ self.inner @ w - 2 * w @ self.cross + self.power)


def filter_moments(inputs: Any, outputs: Any, size: int = 3) -> Moments:
    """Means of products over all windows of size×size that lie inside the pictures.

    Parameters
    ----------
    inputs : array_like, (H, W) or (N, H, W)
        Grey pictures.
    outputs : array_like, the same shape
        What the filter should make of them; any finite numbers.
    size : int
        Odd side of the filter.

    Returns
    -------
    Moments

    Raises
    ------
    ArgumentError
        Shapes that differ, pictures without room for one window, or no numbers.
    """
    x, y, k = _check_examples("filter_moments", inputs, outputs, size)
    n, r = x.shape[-1] - k + 1, k // 2
    height = x.shape[-2] - k + 1
    inner, cross = np.zeros((k * k, k * k)), np.zeros(k * k)
    wanted = y[:, r : r + height, r : r + n]
    for picture, target in zip(x, wanted):
        columns = np.stack(
            [picture[u : u + height, v : v + n].ravel() for u in range(k) for v in range(k)]
        )  # (k², windows): im2col of the page on convolution
        inner += columns @ columns.T
        cross += columns @ target.ravel()
    return Moments(inner / wanted.size, cross / wanted.size, float((wanted**2).mean()), wanted.size)


def _check_examples(where: str, inputs: Any, outputs: Any, size: Any) -> Any:
    x, y = check_numbers(where, "inputs", inputs), check_numbers(where, "outputs", outputs)
    k = check_size(where, size)
    # No stack of pictures is three or four pixels wide and higher than that.
    coloured = x.ndim == 3 and x.shape[2] in (3, 4) and x.shape[1] > 4
    if x.ndim not in (2, 3) or x.size == 0 or coloured:
        raise ArgumentError(where, "inputs", f"shape {x.shape}", "grey: (H, W) or (N, H, W)")
    flat = check_picture(where, np.asarray(inputs).reshape(-1, x.shape[-1]), "inputs")
    x = flat.reshape(-1, *x.shape[-2:])
    if y.shape != np.shape(inputs):
        raise ArgumentError(
            where, "outputs", f"shape {y.shape}", f"that of inputs, {np.shape(inputs)}"
        )
    if not np.isfinite(y).all():
        raise ArgumentError(where, "outputs", "NaN or infinity in it", "finite numbers")
    if min(x.shape[1:]) < k:
        raise ArgumentError(where, "size", f"the value {k}", f"at most {min(x.shape[1:])}")
    return x, y.reshape(x.shape), k


def fit_filter(inputs: Any, outputs: Any, size: int = 3) -> np.ndarray:
    """The kernel of least squared error: XᵀX w = Xᵀy (eq. images-normal-equations).

    Parameters
    ----------
    inputs, outputs : array_like, (H, W) or (N, H, W)
    size : int
        As in :func:`filter_moments`.

    Returns
    -------
    ndarray, float64, (size, size)
        Among equals, as of a constant picture, the one with the smallest weights.
    """
    moments = filter_moments(inputs, outputs, size)
    w = np.linalg.lstsq(moments.inner, moments.cross, rcond=1e-13)[0]
    return w.reshape(size, size)


class Descent(NamedTuple):
    """A kernel found by descent, ``kernel`` (k, k), and the loss before each step, ``losses``."""

    kernel: np.ndarray
    losses: np.ndarray


def descend_filter(
    inputs: Any,
    outputs: Any,
    size: int = 3,
    steps: int = 200,
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    start: Any = None,
    engine: str | Engine | None = None,
) -> Descent:
    """The same kernel by gradient descent through ``conv2d`` (eq. images-descent).

    Parameters
    ----------
    inputs, outputs : array_like, (H, W) or (N, H, W)
    size : int
        As in :func:`filter_moments`.
    steps : int
    learning_rate, momentum : float
        Of :class:`~lepton_ref.framework.optimizers.SGD`.
    start : array_like, (size, size), optional
        Zeros when left out.
    engine : str or Engine, optional

    Returns
    -------
    Descent
    """
    where = "descend_filter"
    x, y, k = _check_examples(where, inputs, outputs, size)
    steps = check_count(where, "steps", steps)
    rate = check_deviation(where, "learning_rate", learning_rate)
    first = np.zeros((k, k)) if start is None else check_numbers(where, "start", start)
    if first.shape != (k, k):
        raise ArgumentError(where, "start", f"shape {first.shape}", f"({k}, {k})")
    E: Any = lepton_ref.engine(engine) if isinstance(engine, str) else engine or lepton_ref.engine()
    r = k // 2
    examples = E.array(x[:, None])  # (N, 1, H, W)
    wanted = E.array(y[:, None, r : y.shape[1] - r, r : y.shape[2] - r])
    params = {"kernel": E.parameter(first[None, None])}
    step = E.value_and_grad(lambda p: E.mean((E.conv2d(examples, p["kernel"]) - wanted) ** 2))
    optimizer, losses = SGD(rate, momentum), []
    for _ in range(steps):
        value, grads = step(params)
        optimizer.step(params, grads)
        losses.append(float(value))
    return Descent(E.asnumpy(params["kernel"])[0, 0].astype(np.float64), np.array(losses))
