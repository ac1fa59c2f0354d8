"""Losses: each is the negative logarithm of a likelihood or of a prior.

Every function takes arrays of the active engine (or of ``engine``) and returns a scalar of
it. The derivations are on the page *framework/losses*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import axes, dtype_name, exactly, floating, shape_of
from lepton_ref.framework.errors import ArgumentError

EngineLike = str | Engine | None


def _surface(engine: EngineLike) -> Any:
    return engine if isinstance(engine, Engine) else lepton_ref.engine(engine)


def cross_entropy(logits: Any, labels: Any, mask: Any = None, engine: EngineLike = None) -> Any:
    """Mean of −ln p(label), p = softmax(logits) (eq. cross-entropy-mle).

    The gradient with respect to the logits is (p − onehot(label)) / N
    (eq. cross-entropy-grad).

    Parameters
    ----------
    logits : float array, shape (..., C)
        Scores, not probabilities: the softmax is inside.
    labels : integer array, shape (...)
        Entries in 0..C−1.
    mask : array, shape (...), optional
        Weight of each label; 0 leaves it out. The mean is over the weights.
    engine : str or Engine, optional

    Returns
    -------
    scalar

    Raises
    ------
    ArgumentError
        For shapes that do not match, labels out of range, an empty batch, or a mask whose
        weights sum to zero.
    """
    return _surface(engine).cross_entropy(logits, labels, mask)


def sequence_cross_entropy(
    logits: Any,
    labels: Any,
    mask: Any = None,
    normalize: str = "tokens",
    engine: EngineLike = None,
) -> Any:
    """Cross-entropy of a label at every time step (eq. sequence-cross-entropy).

    Parameters
    ----------
    logits : float array, shape (N, T, C)
    labels : integer array, shape (N, T)
        Padding may hold any class, e.g. 0; ``mask`` leaves it out.
    mask : array, shape (N, T), optional
        1 (or True) for a real step, 0 for padding.
    normalize : {"tokens", "sequences"}
        Divide the sum by the number of real steps, or by N. With ``"sequences"`` a long
        sequence weighs more than a short one, as in the sum over t of the likelihood.
    engine : str or Engine, optional

    Returns
    -------
    scalar

    Raises
    ------
    ArgumentError
        As :func:`cross_entropy`, or for another ``normalize``.
    """
    where, E = "sequence_cross_entropy", _surface(engine)
    n, t, _ = axes(where, "logits", logits, "N, T, C")
    exactly(where, "labels", labels, (n, t), "one label per time step")
    if normalize not in ("tokens", "sequences"):
        raise ArgumentError(
            where, "normalize", f"the value {normalize!r}", "'tokens' or 'sequences'"
        )
    weights = None
    if mask is not None:
        exactly(where, "mask", mask, (n, t), "one weight per time step")
        weights = E.array(E.asnumpy(mask), dtype_name(logits))
    per_token = E.cross_entropy(logits, labels, weights)
    if normalize == "tokens":
        return per_token
    steps = n * t if weights is None else float(E.asnumpy(weights).sum())
    return per_token * (steps / n)


def squared_error(prediction: Any, target: Any, engine: EngineLike = None) -> Any:
    """Mean of (prediction − target)² over all entries (eq. squared-error-gaussian).

    The gradient is 2 (prediction − target) / n (eq. squared-error-grad).

    Parameters
    ----------
    prediction, target : float array, of one shape
        Shapes that would only broadcast are refused: (N, 1) against (N,) gives N² errors.

    Raises
    ------
    ArgumentError
        For different shapes, dtypes that are not floating, or no entries.
    """
    where, E = "squared_error", _surface(engine)
    shape = shape_of(where, "prediction", prediction)
    floating(where, prediction=prediction, target=target)
    exactly(where, "target", target, shape, "the shape of `prediction`")
    _not_empty(where, "prediction", shape)
    difference = E.subtract(prediction, target)
    return E.mean(E.multiply(difference, difference))


def binary_cross_entropy_with_logits(
    logits: Any, targets: Any, mask: Any = None, engine: EngineLike = None
) -> Any:
    """Mean of softplus(z) − t z: the negative log-likelihood of coin flips.

    σ(z) is the probability of 1 (eq. binary-cross-entropy); the gradient is
    (σ(z) − t) / n (eq. binary-cross-entropy-grad).

    Parameters
    ----------
    logits : float array, any shape
        Scores z, before any sigmoid.
    targets : float array of the same shape
        In [0, 1].
    mask : array of the same shape, optional
        Weights, as in :func:`cross_entropy`.

    Raises
    ------
    ArgumentError
        For different shapes, targets outside [0, 1] or no entries.
    """
    where, E = "binary_cross_entropy_with_logits", _surface(engine)
    shape = shape_of(where, "logits", logits)
    floating(where, logits=logits, targets=targets)
    exactly(where, "targets", targets, shape, "the shape of `logits`")
    _not_empty(where, "logits", shape)
    values = E.asnumpy(targets)
    if not (values.min() >= 0 and values.max() <= 1):  # so that NaN is refused too
        raise ArgumentError(
            where,
            "targets",
            f"values from {values.min():g} to {values.max():g}",
            "values in [0, 1]",
        )
    nll = E.subtract(E.softplus(logits), E.multiply(targets, logits))
    if mask is None:
        return E.mean(nll)
    exactly(where, "mask", mask, shape, "the shape of `logits`")
    weights = np.asarray(E.asnumpy(mask), np.float64)
    if not weights.sum() > 0:
        raise ArgumentError(where, "mask", "a sum of zero", "at least one target that counts")
    return E.sum(E.multiply(nll, E.array(weights / weights.sum(), dtype_name(logits))))


def l2_penalty(
    params: Mapping[str, Any] | Iterable[Any], strength: float, engine: EngineLike = None
) -> Any:
    """strength/2 · Σ w² over all given arrays (eq. l2-gaussian-prior); gradient strength · w.

    Parameters
    ----------
    params : dict or list of float arrays
        All of them are penalised. To spare biases and normalisation gains give a part:
        ``{k: v for k, v in params.items() if k.endswith("weight")}``.
    strength : float
        At least 0.

    Raises
    ------
    ArgumentError
        For a negative strength or no arrays.
    """
    E = _surface(engine)
    arrays = list(params.values()) if isinstance(params, Mapping) else list(params)
    if not strength >= 0:
        raise ArgumentError("l2_penalty", "strength", f"the value {strength!r}", "a number >= 0")
    if not arrays:
        raise ArgumentError("l2_penalty", "params", "no arrays", "at least one")
    total = E.sum(E.multiply(arrays[0], arrays[0]))
    for array in arrays[1:]:
        total = E.add(total, E.sum(E.multiply(array, array)))
    return total * (strength / 2.0)


def _not_empty(where: str, argument: str, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise ArgumentError(where, argument, f"shape {shape}", "at least one entry")
