"""Scaled dot-product attention, one fused operator."""

from __future__ import annotations

import math

import numpy as np

from lepton_ref.framework.autograd import op
from lepton_ref.framework.operators.arithmetic import mT
from lepton_ref.framework.parallel import over_batch


def softmax_in_place(scores: np.ndarray, mask: np.ndarray | None) -> None:
    """Turn each row of ``scores`` into weights; zeros where ``mask`` is False."""
    if mask is not None:
        np.copyto(scores, -np.inf, where=~mask)
    largest = scores.max(axis=-1, keepdims=True)
    scores -= largest if mask is None else np.where(largest == -np.inf, 0, largest)
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    scores /= total if mask is None else np.where(total == 0, 1, total)


@op
def attention(q, k, v, mask=None):
    """Each query takes the mean of the values, weighted by how well it fits their keys.

    S = Q Kᵀ / √D,   A = softmax(S) over the keys,   Y = A V   (eq. attention-forward)
    dV = Aᵀ dY   (eq. attention-dv),   dA = dY Vᵀ   (eq. attention-da),
    dS = A ⊙ (dA − Σ_keys dA ⊙ A)   (eq. attention-ds),
    dQ = dS K / √D   (eq. attention-dq),   dK = dSᵀ Q / √D   (eq. attention-dk)

    Parameters
    ----------
    q : array, shape (..., T, D)
    k : array, shape (..., S, D)
    v : array, shape (..., S, E)
    mask : bool array that broadcasts to (..., T, S), optional
        True where a query may attend (eq. attention-mask). A row without any True gives zeros.

    Returns
    -------
    out : array, shape (..., T, E)
    weights : array, shape (..., T, S)
        The rows of A: they sum to one, or to zero where nothing may be attended to.

    Source: Vaswani et al. (2017), *Attention Is All You Need*, equation (1).
    """
    *lead, T, D = q.shape
    S, E = v.shape[-2:]
    n = math.prod(lead)
    q, k, v = q.reshape(n, T, D), k.reshape(n, S, D), v.reshape(n, S, E)
    scale = q.dtype.type(1 / math.sqrt(D))
    operations = n * T * S * (D + E)
    weights, out = np.empty((n, T, S), q.dtype), np.empty((n, T, E), q.dtype)
    if mask is not None:
        mask = np.broadcast_to(mask, (*lead, T, S)).reshape(n, T, S)

    def forward(part: slice) -> None:
        scores = np.matmul(q[part] * scale, mT(k[part]), out=weights[part])
        softmax_in_place(scores, None if mask is None else mask[part])
        np.matmul(scores, v[part], out=out[part])

    over_batch(forward, n, operations)

    def vjp(dys, needs):
        dout, dweights = dys
        dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)

        def backward(part: slice) -> None:
            p, dp = weights[part], 0
            if dout is not None:
                dy = dout.reshape(out.shape)[part]
                np.matmul(mT(p), dy, out=dv[part])
                dp = dy @ mT(v[part])
            if dweights is not None:
                dp = dp + dweights.reshape(weights.shape)[part]
            ds = p * dp
            ds -= p * ds.sum(axis=-1, keepdims=True)
            ds *= scale
            np.matmul(ds, k[part], out=dq[part])
            np.matmul(mT(ds), q[part], out=dk[part])

        over_batch(backward, n, 2 * operations)
        return (
            dq.reshape(*lead, T, D),
            dk.reshape(*lead, S, D),
            dv.reshape(*lead, S, E) if dout is not None else None,
            None,
        )

    return (out.reshape(*lead, T, E), weights.reshape(*lead, T, S)), vjp
