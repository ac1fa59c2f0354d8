"""Saliency, gradient × input and SmoothGrad: the gradient at the input, and what is made of it.

All of them need one thing of the model, dfₖ/dx for each row of a batch, and
:func:`input_gradients` is the one place that asks for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    as_target,
    at_target,
    check_input,
    check_outputs,
    check_target,
    warn_of_zeros,
)
from lepton_ref.explain.gradients.boxes import check_model, engine_of, model_dtype, select
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError

# What the operators of NumPy and the engines say when one meets the other's arrays.
NUMPY_SIGNS = ("__array_ufunc__", "NDArray type", "numpy.ndarray", "Can't call numpy()")


def input_gradients(
    where: str,
    model: Any,
    x: np.ndarray,
    target: Any = None,
    engine: str | Engine | None = None,
    rows: np.ndarray | None = None,
    batch_size: int = 256,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, targets and dfₖ/dx of each row.

    The rows do not see each other, so the gradient of Σₙ fₖ(xₙ) holds the gradient of each row
    in its place (eq. gradients-batch): one backward pass for the whole batch.

    Parameters
    ----------
    where : str
        The explainer, for messages.
    model : white box
    x : float ndarray, shape (M, *shape)
    target : None, int or int array (M,)
        None takes each row's largest output.
    engine : str or Engine, optional
    rows : int array, shape (M,), optional
        Which example each row belongs to, for models that carry a mask; default 0..M−1.
    batch_size : int
        Rows of one pass.

    Returns
    -------
    outputs : float64 ndarray, shape (M, K) or (M,)
    target : int64 ndarray, shape (M,)
    gradients : float64 ndarray, shape (M, *shape)

    Raises
    ------
    ArgumentError
        When the outputs or the targets are wrong, or the model mixes rows.
    """
    check_model(where, model, batch_size)
    E, kind = engine_of(model, engine), model_dtype(model, x)
    rows = np.arange(len(x)) if rows is None else rows
    targets = as_target(where, target, len(x))
    outputs, chosen, gradients = [], [], []
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        of_part = targets[part] if targets is not None and targets.shape == (len(x),) else targets
        found: list[np.ndarray] = []

        def total(batch: Any, part: slice = part, of_part: Any = of_part) -> Any:
            y = _answer(where, select(model, rows[part]), batch)  # noqa: B023  (called at once)
            plain = check_outputs(where, E.asnumpy(E.stop_gradient(y)), len(x[part]))
            found[:] = [plain, check_target(where, of_part, plain)]  # noqa: B023
            return E.sum(y if plain.ndim == 1 else E.pick(y, E.array(found[1])))  # noqa: B023

        _, gradient = E.value_and_grad(total)(E.array(x[part], kind))
        outputs.append(found[0])
        chosen.append(found[1])
        gradients.append(np.asarray(E.asnumpy(gradient), np.float64))
    return np.concatenate(outputs), np.concatenate(chosen), np.concatenate(gradients)


def _answer(where: str, model: Any, batch: Any) -> Any:
    """The model's outputs; refuse a function that computes with NumPy."""
    try:
        return model(batch)
    except (TypeError, AssertionError, RuntimeError) as error:
        if not any(sign in str(error) for sign in NUMPY_SIGNS):
            raise
        raise ArgumentError(
            where, "model", f"a function that cannot compute with {type(batch).__name__}",
            "the operators of an engine, since a gradient is asked for; `occlusion`, `lime` and "
            "`kernel_shap` take a NumPy function as it is",
        ) from error  # fmt: skip


def saliency(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    absolute: bool = False,
    engine: str | Engine | None = None,
    batch_size: int = 256,
) -> Attribution:
    """The gradient itself: how much the output moves when an entry does (eq. gradients-taylor).

    Parameters
    ----------
    model : white box
        Engine array (N, *shape) to (N, K) or (N,): a Layer, or a function with ``engine`` given.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        Which output; default each row's largest.
    absolute : bool
        |df/dx|, as the paper draws it: how much an entry matters, not in which direction.
    engine : str or Engine, optional
        Of a plain function; a Layer has its own.
    batch_size : int
        Rows that go through the model at a time.

    Returns
    -------
    Attribution

    Raises
    ------
    ArgumentError
        For an input that is not finite, an empty batch, or a target out of range.

    Source: Simonyan, Vedaldi and Zisserman (2014), *Deep inside convolutional networks*.
    """
    x = check_input("saliency", x)
    y, target, values = input_gradients("saliency", model, x, target, engine, batch_size=batch_size)
    warn_of_zeros("saliency", values)
    values = np.abs(values) if absolute else values
    return Attribution(
        values, x, target, at_target(y, target), "saliency", settings={"absolute": absolute}
    )


def gradient_x_input(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    engine: str | Engine | None = None,
    batch_size: int = 256,
) -> Attribution:
    """x ⊙ df/dx: complete for a linear model without a bias (eq. gradients-euler).

    Parameters and errors as in :func:`saliency`.

    Source: Shrikumar, Greenside and Kundaje (2017), *Learning important features through
    propagating activation differences*.
    """
    where = "gradient_x_input"
    x = check_input(where, x)
    y, target, gradients = input_gradients(where, model, x, target, engine, batch_size=batch_size)
    warn_of_zeros(where, gradients)
    return Attribution(gradients * x, x, target, at_target(y, target), where)


def smoothgrad(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    samples: int = 50,
    noise: float = 0.15,
    std: float | None = None,
    seed: int = 0,
    engine: str | Engine | None = None,
    batch_size: int = 256,
) -> Attribution:
    """The mean gradient at noisy copies of the input (eq. gradients-smoothgrad).

    It estimates the gradient of the model smoothed by a Gaussian (eq. gradients-stein).

    Parameters
    ----------
    model, x, target, engine, batch_size
        As in :func:`saliency`.
    samples : int
        Noisy copies of each example; the standard error falls as 1/√samples.
    noise : float
        σ as a share of each example's range max x − min x.
    std : float, optional
        σ itself, instead of ``noise``.
    seed : int
        Of the noise.

    Returns
    -------
    Attribution
        With ``standard_error`` from two samples on, and ``seed``.

    Raises
    ------
    ArgumentError
        Also for a constant example, whose range gives no σ, when ``std`` is not given.

    Source: Smilkov, Thorat, Kim, Viégas and Wattenberg (2017), *SmoothGrad*.
    """
    where = "smoothgrad"
    x = check_input(where, x)
    whole(where, samples=samples)
    whole(where, 0, seed=seed)
    number(where, above=0, noise=noise, **({} if std is None else {"std": std}))
    n = len(x)
    width = np.ptp(x.reshape(n, -1), axis=1)
    if std is None and not width.all():
        raise ArgumentError(
            where, "x", f"a constant example {int((width == 0).argmax())}, of range 0",
            "examples that vary, or `std`, the noise in the units of x",
        )  # fmt: skip
    sigma = noise * width if std is None else np.full(n, float(std))
    y, target, _ = input_gradients(where, model, x, target, engine, batch_size=batch_size)
    rng = np.random.default_rng(seed)
    total, squares = np.zeros(x.shape), np.zeros(x.shape)
    each = max(1, batch_size // n)  # noisy copies of the whole batch in one pass
    for start in range(0, samples, each):
        count = min(each, samples - start)
        drawn = rng.standard_normal((count, *x.shape)) * sigma.reshape(-1, *[1] * (x.ndim - 1))
        rows = np.tile(np.arange(n), count)
        noisy = (x + drawn).astype(x.dtype).reshape(-1, *x.shape[1:])
        _, _, found = input_gradients(where, model, noisy, target[rows], engine, rows, batch_size)
        found = found.reshape(count, *x.shape)
        total += found.sum(axis=0)
        squares += (found**2).sum(axis=0)
    warn_of_zeros(where, squares)
    mean = total / samples
    variance = np.maximum(squares - samples * mean**2, 0) / max(samples - 1, 1)
    return Attribution(
        mean, x, target, at_target(y, target), where,
        standard_error=np.sqrt(variance / samples) if samples > 1 else None,
        seed=seed, settings={"samples": samples, "noise": noise, "std": std},
    )  # fmt: skip
