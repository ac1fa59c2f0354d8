"""Layers that normalise: over the batch per channel, or over the features per sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.layers.feedforward import positive


class BatchNorm(Layer):
    """Normalise each channel with the statistics of the batch; scale and shift.

    In training (``rng`` given) the batch's own mean and variance are used, and running
    averages of them are kept (eq. layers-running-average); in inference the running ones.
    The gradient is eq. batch-norm-dx.

    Parameters
    ----------
    num_features : int
        Channels: the size of axis 1 of (N, C) or (N, C, H, W).
    momentum : float
        The weight of the newest batch in the running averages.
    eps : float
    engine : str or Engine, optional

    Attributes
    ----------
    gamma, beta : array, shape (C,)
        Trained; start at one and zero.
    running_mean, running_var : array, shape (C,)
        Buffers. The running variance averages the unbiased variance (n − 1), as torch does.

    Source: Ioffe and Szegedy (2015).
    """

    gamma: Any
    beta: Any
    running_mean: Any
    running_var: Any

    def __init__(
        self,
        num_features: int,
        momentum: float = 0.1,
        eps: float = 1e-5,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("BatchNorm", num_features=num_features)
        if not 0.0 < momentum <= 1.0:
            raise ArgumentError("BatchNorm", "momentum", f"the value {momentum!r}", "in (0, 1]")
        self.momentum, self.eps = momentum, eps
        self.add_parameter("gamma", np.ones(num_features))
        self.add_parameter("beta", np.zeros(num_features))
        self.add_buffer("running_mean", np.zeros(num_features))
        self.add_buffer("running_var", np.ones(num_features))

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (N, C, ...)
        E = self.E
        if rng is None:
            running = self.running_mean, self.running_var
            return E.batch_norm(x, self.gamma, self.beta, *running, eps=self.eps)[0]
        shape = tuple(x.shape)
        n = int(np.prod(shape[:1] + shape[2:]))
        if n < 2:
            raise ArgumentError(
                "batch_norm", "x", f"shape {shape}", "at least 2 values per channel to train on"
            )
        y, mean, var = E.batch_norm(x, self.gamma, self.beta, eps=self.eps)
        with E.no_grad():
            self.running_mean = self._average(self.running_mean, mean)
            self.running_var = self._average(self.running_var, var * (n / (n - 1)))
        return y

    def _average(self, running: Any, new: Any) -> Any:
        return running * (1.0 - self.momentum) + new * self.momentum


class LayerNorm(Layer):
    """Normalise the last axis of every sample by itself; scale and shift (eq. layer-norm-dx).

    The same in training and in inference: no statistics are kept.

    Parameters
    ----------
    num_features : int
        Size of the last axis.
    eps : float
    engine : str or Engine, optional

    Attributes
    ----------
    gamma, beta : array, shape (num_features,)

    Source: Ba, Kiros and Hinton (2016).
    """

    gamma: Any
    beta: Any

    def __init__(
        self, num_features: int, eps: float = 1e-5, engine: str | Engine | None = None
    ) -> None:
        super().__init__(engine)
        positive("LayerNorm", num_features=num_features)
        self.eps = eps
        self.add_parameter("gamma", np.ones(num_features))
        self.add_parameter("beta", np.zeros(num_features))

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (..., D)
        return self.E.layer_norm(x, self.gamma, self.beta, eps=self.eps)
