"""Clipping: the gradient projected on a ball."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers.checks import engine_of

Array = Any


def global_norm(grads: Mapping[str, Array]) -> float:
    """The Euclidean norm of all gradients taken as one vector.

    Squares that leave the range of float32 are summed again in float64.
    """
    flat = [g.reshape((-1,)) for g in grads.values()]
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(float(v @ v) for v in flat if v.shape[0])
    if not (math.isfinite(total) and total > 1e-30):
        E = engine_of(None)
        wide = [np.asarray(E.asnumpy(v), dtype=np.float64) for v in flat]
        total = sum(float(v @ v) for v in wide)
    return math.sqrt(total)


def clip_by_norm(grads: Mapping[str, Array], max_norm: float) -> tuple[dict[str, Array], float]:
    """Project the gradient on the ball of radius ``max_norm`` (eq. optimizers-clip).

    Parameters
    ----------
    grads : mapping of str to array
    max_norm : float
        Radius, > 0.

    Returns
    -------
    grads : dict of str to array
        The same direction, no longer than ``max_norm``. Gradients inside the ball come back
        as they are, and so does a gradient that is not finite, for the trap to find.
    norm : float
        The norm before clipping.

    References
    ----------
    Pascanu, Mikolov and Bengio, 2013, algorithm 1.
    """
    if isinstance(max_norm, bool) or not isinstance(max_norm, (int, float)) or not max_norm > 0:
        raise ArgumentError("clip_by_norm", "max_norm", f"the value {max_norm!r}", "a number > 0")
    norm = global_norm(grads)
    if not math.isfinite(norm) or norm <= max_norm:
        return dict(grads), norm
    return {name: g * (max_norm / norm) for name, g in grads.items()}, norm
