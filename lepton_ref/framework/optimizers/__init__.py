"""Optimizers: how a gradient becomes a step, derived on the page *Optimizers*.

Each rule is one method of a few lines that works in place on the arrays of any engine:
``slot *= ...`` and ``parameter -= ...`` are the same statement for NumPy, MXNet and PyTorch.

>>> optimizer = SGD(lr=0.1)
>>> params = {"w": np.array([1.0, 2.0])}
>>> optimizer.step(params, {"w": np.array([1.0, 0.0])})
>>> params["w"]
array([0.9, 2. ])
"""

from lepton_ref.framework.optimizers.clipping import clip_by_norm, global_norm
from lepton_ref.framework.optimizers.rules import SGD, Adam, AdamW, Optimizer
from lepton_ref.framework.optimizers.schedules import (
    Schedule,
    constant,
    cosine,
    exponential_decay,
    step_decay,
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "Schedule",
    "clip_by_norm",
    "constant",
    "cosine",
    "exponential_decay",
    "global_norm",
    "step_decay",
]
