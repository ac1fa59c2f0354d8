"""Sums, products, quotients, powers and the matrix product, with broadcasting."""

from __future__ import annotations

from numbers import Real

import numpy as np

from lepton_ref.framework.autograd import op, unbroadcast
from lepton_ref.framework.errors import ArgumentError


def mT(a: np.ndarray) -> np.ndarray:
    """Transpose of the last two axes."""
    return np.swapaxes(a, -1, -2)


@op
def add(a, b):
    """Elementwise sum with broadcasting.

    Y = A + B,   dA = dY,   dB = dY, each summed back to its shape   (eq. broadcast-vjp)
    """
    return a + b, (lambda dy: unbroadcast(dy, a), lambda dy: unbroadcast(dy, b))


@op
def subtract(a, b):
    """Elementwise difference with broadcasting.

    Y = A − B,   dA = dY,   dB = −dY   (eq. broadcast-vjp)
    """
    return a - b, (lambda dy: unbroadcast(dy, a), lambda dy: unbroadcast(-dy, b))


@op
def multiply(a, b):
    """Elementwise (Hadamard) product with broadcasting.

    Y = A ⊙ B,   dA = dY ⊙ B,   dB = dY ⊙ A   (eq. product-vjp)
    """
    return a * b, (lambda dy: unbroadcast(dy * b, a), lambda dy: unbroadcast(dy * a, b))


@op
def divide(a, b):
    """Elementwise quotient with broadcasting.

    Y = A / B,   dA = dY / B,   dB = −dY ⊙ Y / B   (eq. quotient-vjp)
    """
    y = a / b
    return y, (lambda dy: unbroadcast(dy / b, a), lambda dy: unbroadcast(-dy * y / b, b))


@op
def negative(x):
    """Y = −X,   dX = −dY."""
    return -x, (lambda dy: -dy,)


@op
def power(x, exponent):
    """Elementwise power with a constant exponent.

    Y = Xᵖ,   dX = p Xᵖ⁻¹ ⊙ dY   (eq. power-vjp)

    Raises
    ------
    ArgumentError
        When ``exponent`` is not a real number.
    """
    if not isinstance(exponent, Real):
        raise ArgumentError(
            "power", "exponent", f"type {type(exponent).__name__}", "a constant real number"
        )
    if exponent == 2:
        return x * x, (lambda dy: 2 * dy * x,)
    return x**exponent, (lambda dy: dy * exponent * x ** (exponent - 1),)


@op
def matmul(a, b):
    """Matrix product over the last two axes, broadcasting the others.

    Y = A B,   dA = dY Bᵀ,   dB = Aᵀ dY   (eq. matmul-vjp)

    Parameters
    ----------
    a : array, shape (..., N, K)
    b : array, shape (..., K, M)

    Returns
    -------
    array, shape (..., N, M)

    Raises
    ------
    ArgumentError
        When an argument has fewer than two axes, or the inner sizes differ.
    """
    for name, value in (("a", a), ("b", b)):
        if np.ndim(value) < 2:
            raise ArgumentError(
                "matmul", name, f"shape {np.shape(value)}", "at least 2 axes (..., rows, columns)"
            )
    if a.shape[-1] != b.shape[-2]:
        raise ArgumentError(
            "matmul", "b", f"shape {b.shape}",
            f"{a.shape[-1]} rows, as many as `a` of shape {a.shape} has columns",
        )  # fmt: skip

    def db(dy):
        if b.ndim == 2 and a.ndim > 2:  # one GEMM instead of a batch of them and a sum
            return a.reshape(-1, a.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
        return unbroadcast(mT(a) @ dy, b)

    return a @ b, (lambda dy: unbroadcast(dy @ mT(b), a), db)
