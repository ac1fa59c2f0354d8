"""Layer and batch normalisation, each one fused operator."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op, stop_gradient


def _dx_through_statistics(dxhat, xhat, rstd, axes):
    """dX = σ⁻¹ (dX̂ − mean(dX̂) − X̂ mean(dX̂ ⊙ X̂)), the means over ``axes``."""
    return rstd * (
        dxhat
        - dxhat.mean(axis=axes, keepdims=True)
        - xhat * (dxhat * xhat).mean(axis=axes, keepdims=True)
    )


@op
def layer_norm(x, gamma, beta, eps=1e-5):
    """Normalise over the last axis, then scale and shift.

    X̂ = (X − μ) / √(σ² + ε),   Y = γ X̂ + β
    dX = σ⁻¹ (dX̂ − mean(dX̂) − X̂ mean(dX̂ ⊙ X̂)),   dX̂ = γ dY   (eq. layer-norm-dx)

    Parameters
    ----------
    x : array, shape (..., D)
    gamma, beta : array, shape (D,)
    eps : float

    Source: Ba, Kiros and Hinton (2016), *Layer Normalization*.
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    xhat = centred * rstd
    lead = tuple(range(x.ndim - 1))
    return xhat * gamma + beta, (
        lambda dy: _dx_through_statistics(dy * gamma, xhat, rstd, -1),
        lambda dy: (dy * xhat).sum(axis=lead),
        lambda dy: dy.sum(axis=lead),
    )


@op
def _batch_norm(x, gamma, beta, mean=None, var=None, eps=1e-5):
    axes = (0, *range(2, x.ndim))
    per_channel = (1, -1) + (1,) * (x.ndim - 2)
    batch_statistics = mean is None
    if batch_statistics:
        mean = x.mean(axis=axes)
        var = np.square(x - mean.reshape(per_channel)).mean(axis=axes)
    rstd = 1 / np.sqrt(var + eps)
    xhat = (x - mean.reshape(per_channel)) * rstd.reshape(per_channel)
    y = xhat * gamma.reshape(per_channel) + beta.reshape(per_channel)

    def vjp(dys, needs):
        dy = dys[0]
        dgamma, dbeta = (dy * xhat).sum(axis=axes), dy.sum(axis=axes)
        dx = None
        if needs[0]:
            scale = (gamma * rstd).reshape(per_channel)
            if batch_statistics:
                n = x.size // x.shape[1]
                dx = scale * (
                    dy - dbeta.reshape(per_channel) / n - xhat * dgamma.reshape(per_channel) / n
                )
            else:
                dx = scale * dy
        return dx, dgamma, dbeta, None, None

    return (y, mean, var), vjp


def batch_norm(x, gamma, beta, mean=None, var=None, eps=1e-5):
    """Normalise each channel (axis 1) over the batch and all positions.

    X̂ = (X − μ) / √(σ² + ε),   Y = γ X̂ + β
    dX = γ σ⁻¹ (dY − mean(dY) − X̂ mean(dY ⊙ X̂))   (eq. batch-norm-dx)

    Parameters
    ----------
    x : array, shape (N, C) or (N, C, ...)
    gamma, beta : array, shape (C,)
    mean, var : array, shape (C,), optional
        Fixed statistics (inference). Without them those of the batch are used, the variance
        with 1/n, and the gradient flows through them.
    eps : float

    Returns
    -------
    y : array, shape of ``x``
    mean, var : array, shape (C,)
        The statistics that were used; no gradient flows through these two outputs.

    Source: Ioffe and Szegedy (2015), *Batch Normalization*, algorithm 1.
    """
    y, mean, var = _batch_norm(x, gamma, beta, mean, var, eps)
    return y, stop_gradient(mean), stop_gradient(var)
