"""Sum, mean and maximum over axes (eq. reduction-vjp)."""

from __future__ import annotations

import math

import numpy as np

from lepton_ref.framework.autograd import op
from lepton_ref.framework.errors import ArgumentError


def _spread(y, x, axis, keepdims):
    """Give ``y`` back the axes that a reduction of ``x`` over ``axis`` took away."""
    return y if keepdims or axis is None else np.expand_dims(y, axis)


@op
def sum(x, axis=None, keepdims=False):
    """Y = Σ X over ``axis`` (all axes when None),   dX = dY repeated along them."""
    y = x.sum(axis=axis, keepdims=keepdims)
    return y, (lambda dy: np.broadcast_to(_spread(dy, x, axis, keepdims), x.shape),)


@op
def mean(x, axis=None, keepdims=False):
    """Y = (1/n) Σ X over ``axis``,   dX = dY / n repeated along them.

    Raises
    ------
    ArgumentError
        When there is nothing to average.
    """
    reduced = range(x.ndim) if axis is None else np.atleast_1d(axis)
    n = math.prod(x.shape[i] for i in reduced)
    if n == 0:
        raise ArgumentError("mean", "x", f"shape {x.shape}", "at least one entry to average")
    y = x.sum(axis=axis, keepdims=keepdims)
    return y / n, (lambda dy: np.broadcast_to(_spread(dy, x, axis, keepdims) / n, x.shape),)


@op
def max(x, axis=None, keepdims=False):
    """Y = max X over ``axis``,   dX = dY shared equally among the entries that attain it.

    Raises
    ------
    ArgumentError
        When an axis to reduce is empty.
    """
    y = x.max(axis=axis, keepdims=keepdims)

    def dx(dy):
        hit = x == _spread(y, x, axis, keepdims)
        share = hit / hit.sum(axis=axis, keepdims=True)
        return (share * _spread(dy, x, axis, keepdims)).astype(x.dtype, copy=False)

    return y, (dx,)
