"""Elementwise functions: Y = f(X), dX = f'(X) ⊙ dY  (eq. elementwise-vjp)."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op, unbroadcast

_SQRT_2_OVER_PI = 0.7978845608028654


@op
def exp(x):
    """Y = eˣ,   dX = Y ⊙ dY."""
    y = np.exp(x)
    return y, (lambda dy: dy * y,)


@op
def log(x):
    """Y = ln X,   dX = dY / X. Zero gives −inf and a negative number NaN, as IEEE 754 says."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x), (lambda dy: dy / x,)


@op
def sqrt(x):
    """Y = √X,   dX = dY / (2 Y)."""
    with np.errstate(invalid="ignore"):
        y = np.sqrt(x)
    return y, (lambda dy: dy / (2 * y),)


@op
def tanh(x):
    """Y = tanh X,   dX = (1 − Y²) ⊙ dY   (eq. tanh-vjp)."""
    y = np.tanh(x)
    return y, (lambda dy: dy * (1 - y * y),)


@op
def sigmoid(x):
    """Logistic function, computed as (1 + tanh(x/2))/2 so that it cannot overflow.

    Y = 1 / (1 + e⁻ˣ),   dX = Y (1 − Y) ⊙ dY   (eq. sigmoid-vjp)
    """
    y = 0.5 * (1 + np.tanh(0.5 * x))
    return y, (lambda dy: dy * y * (1 - y),)


@op
def relu(x):
    """Y = max(X, 0),   dX = [X > 0] ⊙ dY; the subgradient at 0 is 0   (eq. relu-vjp)."""
    return np.maximum(x, 0), (lambda dy: dy * (x > 0),)


@op
def gelu(x):
    """Gaussian error linear unit in its tanh form.

    Y = X/2 (1 + tanh u),   u = √(2/π) (X + 0.044715 X³)
    dX = dY ⊙ [(1 + tanh u)/2 + X/2 (1 − tanh² u) √(2/π) (1 + 0.134145 X²)]

    Source: Hendrycks and Gimpel (2016), *Gaussian Error Linear Units*, §2.
    """
    t = np.tanh(_SQRT_2_OVER_PI * (x + 0.044715 * x * x * x))

    def dx(dy):
        slope = (1 - t * t) * _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)
        return dy * 0.5 * (1 + t + x * slope)

    return 0.5 * x * (1 + t), (dx,)


@op
def softplus(x):
    """Y = ln(1 + eˣ),   dX = sigmoid(X) ⊙ dY; stable for large |x|."""
    y = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y, (lambda dy: dy * (0.5 * (1 + np.tanh(0.5 * x))),)


@op
def abs(x):
    """Y = |X|,   dX = sign(X) ⊙ dY; the subgradient at 0 is 0."""
    return np.abs(x), (lambda dy: dy * np.sign(x),)


@op
def where(condition, a, b):
    """Choose elementwise: A where ``condition`` is true, B elsewhere.

    dA = dY where the condition holds, dB = dY elsewhere; the condition has no gradient.
    """
    return np.where(condition, a, b), (
        None,
        lambda dy: unbroadcast(dy * condition, a),
        lambda dy: unbroadcast(dy * np.logical_not(condition), b),
    )
