"""Softmax, its logarithm and the cross-entropy, each stable for logits of any size."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op


@op
def softmax(x, axis=-1):
    """P = eˣ / Σ eˣ along ``axis``.

    dX = P ⊙ (dP − Σ dP ⊙ P)   (eq. softmax-vjp)
    """
    p = np.exp(x - x.max(axis=axis, keepdims=True))
    p /= p.sum(axis=axis, keepdims=True)
    return p, (lambda dy: p * (dy - (dy * p).sum(axis=axis, keepdims=True)),)


@op
def log_softmax(x, axis=-1):
    """Y = X − ln Σ eˣ along ``axis``.

    dX = dY − softmax(X) Σ dY   (eq. log-softmax-vjp)
    """
    z = x - x.max(axis=axis, keepdims=True)
    y = z - np.log(np.exp(z).sum(axis=axis, keepdims=True))
    return y, (lambda dy: dy - np.exp(y) * dy.sum(axis=axis, keepdims=True),)


@op
def _cross_entropy(logits, labels, mask=None):
    z = logits - logits.max(axis=-1, keepdims=True)
    p = np.exp(z)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    at = labels[..., None]
    nll = np.log(total[..., 0]) - np.take_along_axis(z, at, -1)[..., 0]
    if mask is None:
        weight: np.ndarray = np.full((), 1 / labels.size, logits.dtype)
    else:
        weight = (mask / mask.sum()).astype(logits.dtype)

    def dx(dy):
        d = p.copy()
        np.put_along_axis(d, at, np.take_along_axis(d, at, -1) - 1, -1)
        d *= (dy * weight)[..., None]
        return d

    return (nll * weight).sum(), (dx, None, None)


def cross_entropy(logits, labels, mask=None):
    """Mean negative log-likelihood of ``labels`` under softmax(logits).

    L = Σ m (ln Σ eᶻ − z[label]) / Σ m,   dZ = m (softmax(Z) − onehot) / Σ m
    (eq. cross-entropy-grad)

    Parameters
    ----------
    logits : array, shape (..., C)
    labels : integer array, shape (...), entries in 0..C−1
    mask : array, shape (...), optional
        Zero where an entry does not count; weights otherwise. Not differentiated.

    Returns
    -------
    scalar

    Raises
    ------
    ArgumentError
        When shapes do not match, a label is out of range, the batch is empty or the mask
        selects nothing.
    """
    return _cross_entropy(
        logits, np.asarray(labels), None if mask is None else np.asarray(mask, logits.dtype)
    )
