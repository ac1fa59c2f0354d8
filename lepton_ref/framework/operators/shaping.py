"""Operators that move entries and change none (eq. permutation-vjp)."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op


@op
def reshape(x, shape):
    """The same entries in row-major order under another shape; dX has X's shape again."""
    return x.reshape(shape), (lambda dy: dy.reshape(x.shape),)


@op
def transpose(x, axes=None):
    """Permute the axes (reverse them when ``axes`` is None); dX undoes the permutation."""
    inverse = None if axes is None else np.argsort([axis % x.ndim for axis in axes])
    return np.transpose(x, axes), (lambda dy: np.transpose(dy, inverse),)


@op
def _concat(*arrays, axis=0):
    ends = np.cumsum([a.shape[axis] for a in arrays])[:-1]

    def vjp(dy, needs):
        return np.split(dy, ends, axis=axis)

    return np.concatenate(arrays, axis=axis), vjp


@op
def _stack(*arrays, axis=0):
    def vjp(dy, needs):
        return list(np.moveaxis(dy, axis, 0))

    return np.stack(arrays, axis=axis), vjp


def concat(arrays, axis=0):
    """Join along an existing axis; each gradient is its own slice of dY."""
    return _concat(*arrays, axis=axis)


def stack(arrays, axis=0):
    """Join along a new axis; each gradient is its own slice of dY."""
    return _stack(*arrays, axis=axis)


@op
def pad(x, pad_width, value=0.0):
    """Surround with a constant; dX is the middle of dY.

    Parameters
    ----------
    x : array, any shape
    pad_width : sequence of (before, after), one pair per axis
    value : float
    """
    middle = tuple(slice(before, before + n) for (before, _), n in zip(pad_width, x.shape))
    return np.pad(x, pad_width, constant_values=value), (lambda dy: dy[middle],)
