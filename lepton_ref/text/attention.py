"""Scaled dot-product attention, one fused operator."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op


@op
def attention(q, k, v, mask=None):
    """Each query takes the mean of the values, weighted by how well it fits their keys.

    S = Q Kᵀ / √D,   P = softmax(S) over the keys,   Y = P V
    dV = Pᵀ dY,   dP = dY Vᵀ,   dS = P ⊙ (dP − Σ_keys dP ⊙ P),
    dQ = dS K / √D,   dK = dSᵀ Q / √D

    Parameters
    ----------
    q : array, shape (..., T, D)
    k : array, shape (..., S, D)
    v : array, shape (..., S, E)
    mask : bool array that broadcasts to (..., T, S), optional
        True where a query may attend. A row without any True gives zeros.

    Returns
    -------
    out : array, shape (..., T, E)
    weights : array, shape (..., T, S)
        The rows of P: they sum to one, or to zero where nothing may be attended to.

    Source: Vaswani et al. (2017), *Attention Is All You Need*, equation (1).
    """
    scale = 1 / np.sqrt(q.shape[-1]).astype(q.dtype)
    weights = (q * scale) @ np.swapaxes(k, -1, -2)  # (..., T, S), softmax follows in place
    if mask is not None:
        np.copyto(weights, -np.inf, where=~np.broadcast_to(mask, weights.shape))
    largest = weights.max(axis=-1, keepdims=True)
    weights -= np.where(largest == -np.inf, 0, largest)
    np.exp(weights, out=weights)
    total = weights.sum(axis=-1, keepdims=True)
    weights /= np.where(total == 0, 1, total)

    def vjp(dys, needs):
        dy, dp = dys
        dv = None
        if dy is not None:
            dv = np.swapaxes(weights, -1, -2) @ dy
            through = dy @ np.swapaxes(v, -1, -2)
            dp = through if dp is None else dp + through
        ds = weights * dp
        ds -= weights * ds.sum(axis=-1, keepdims=True)
        ds *= scale
        return ds @ k, np.swapaxes(ds, -1, -2) @ q, dv, None

    return (weights @ v, weights), vjp
