"""DeepLIFT and guided back-propagation: another backward rule at the nonlinearities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lepton_ref.engines.domain import dtype_name
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    as_target,
    at_target,
    check_baseline,
    check_input,
    check_outputs,
    check_target,
    warn_of_zeros,
)
from lepton_ref.explain.gradients.boxes import engine_of, model_dtype
from lepton_ref.explain.gradients.walk import (
    LINEAR,
    MaxPool2d,
    ReLU,
    Step,
    backward,
    chain,
    forward,
    one_hot,
    settled,
    vjp,
)
from lepton_ref.framework.arguments import whole

# Below this change a difference quotient is rounding, and the derivative takes its place.
SMALL = {"float32": 1e-6, "float64": 1e-10}


def _parts(
    where: str, E: Any, steps: list[Step], x: np.ndarray, target: Any, kind: str, batch_size: int
) -> Iterator[tuple[slice, Any, np.ndarray, np.ndarray]]:
    """Batches that went forwards: which rows, what to bring back, f_target and the target."""
    whole(where, batch_size=batch_size)
    targets = as_target(where, target, len(x))
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        y = forward(E, steps, E.array(x[part], kind))
        plain = check_outputs(where, E.asnumpy(y), len(x[part]))
        of_part = targets[part] if targets is not None and targets.ndim else targets
        index = check_target(where, of_part, plain)
        yield part, E.array(one_hot(index, y, kind), kind), at_target(plain, index), index


def deeplift(
    model: Any, x: Any, target: Any = None, *, baseline: Any = None, batch_size: int = 128
) -> Attribution:
    """The rescale rule: each nonlinearity passes on Δout/Δin instead of its derivative.

    Multipliers m obey the chain rule of finite differences (eq. gradients-deeplift-chain), so
    Σᵢ mᵢ (xᵢ − x′ᵢ) = f(x) − f(x′) holds to rounding, in one pass (eq. gradients-deeplift).
    In max-pooling the credit of a rise goes to the largest entry of x, that of a fall to the
    largest of the baseline (eq. gradients-deeplift-max).

    Parameters
    ----------
    model : Layer
        A chain of layers that :func:`.walk.chain` knows.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        Which output; default each row's largest.
    baseline : number or array, shape (*shape) or (N, *shape), optional
        What "absent" means; default zero.
    batch_size : int

    Returns
    -------
    Attribution
        With ``baseline``, ``baseline_outputs`` and ``gap``.

    Raises
    ------
    ArgumentError
        For an unknown layer, an input that is not finite, a target out of range, or a baseline
        of another shape.

    Source: Shrikumar, Greenside and Kundaje (2017), *Learning important features through
    propagating activation differences*, sections 3.2 and 3.5.1.
    """
    where = "deeplift"
    x = check_input(where, x)
    full = check_baseline(where, baseline, x)
    steps = chain(where, model)
    E = engine_of(model)
    kind = model_dtype(getattr(model, "model", model), x)
    values, outputs, before, chosen = [], [], [], []
    for part, dy, output, index in _parts(where, E, steps, x, target, kind, batch_size):
        y_ref = forward(E, steps, E.array(full[part], kind), baseline=True)
        m = backward(E, steps, dy, lambda step, dy: _rescale(E, step, dy))
        moved = x[part].astype(np.float64) - full[part]
        values.append(np.asarray(E.asnumpy(m), np.float64) * moved)
        outputs.append(output)
        before.append(at_target(E.asnumpy(y_ref), index))
        chosen.append(index)
    return Attribution(
        np.concatenate(values), x, np.concatenate(chosen), np.concatenate(outputs), where, full,
        np.concatenate(before), settings={"rule": "rescale"},
    )  # fmt: skip


def _rescale(E: Any, step: Step, m: Any) -> Any:
    """Multipliers of a layer's input from those of its output."""
    x, ref, y, y_ref = step.x, step.ref, step.y, step.y_ref
    if isinstance(step.layer, LINEAR):
        return vjp(E, step.layer, x, m)
    delta = E.subtract(x, ref)
    small = E.abs(delta) < SMALL[dtype_name(delta)]
    safe = E.where(small, E.array(np.ones((1,) * delta.ndim), dtype_name(delta)), delta)
    if isinstance(step.layer, MaxPool2d):
        rise = E.relu(E.subtract(y, y_ref))
        fall = E.relu(E.subtract(y_ref, y))
        x, ref = (settled(E, step.layer, a) for a in (x, ref))
        credit = vjp(E, step.layer, x, E.multiply(m, rise))
        debit = vjp(E, step.layer, ref, E.multiply(m, fall))
        quotient = E.divide(E.subtract(credit, debit), safe)
    else:
        quotient = E.multiply(m, E.divide(E.subtract(y, y_ref), safe))
    return E.where(small, vjp(E, step.layer, x, m), quotient)


def guided_backpropagation(
    model: Any, x: Any, target: Any = None, *, batch_size: int = 128
) -> Attribution:
    """At each ReLU only positive gradients pass on, where the ReLU is open (eq. gradients-guided).

    The maps are crisp, and nearly the same for every class and for random weights: they show
    the picture's edges, not what the model made of them. Here to be caught, not to be used.

    Parameters
    ----------
    model : Layer
        A chain of layers that :func:`.walk.chain` knows.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        Which output; default each row's largest.
    batch_size : int

    Returns
    -------
    Attribution

    Raises
    ------
    ArgumentError
        For an unknown layer, an input that is not finite, or a target out of range.

    Source: Springenberg, Dosovitskiy, Brox and Riedmiller (2015), *Striving for simplicity*;
    why not to trust it: Adebayo et al. (2018), *Sanity checks for saliency maps*.
    """
    where = "guided_backpropagation"
    x = check_input(where, x)
    steps = chain(where, model)
    E, kind = engine_of(model), model_dtype(getattr(model, "model", model), x)

    def rule(step: Step, dy: Any) -> Any:
        dx = vjp(E, step.layer, settled(E, step.layer, step.x), dy)
        return E.relu(dx) if isinstance(step.layer, ReLU) else dx

    values, outputs, chosen = [], [], []
    for _, dy, output, index in _parts(where, E, steps, x, target, kind, batch_size):
        dx = backward(E, steps, dy, rule)
        values.append(np.asarray(E.asnumpy(dx), np.float64))
        outputs.append(output)
        chosen.append(index)
    shown = np.concatenate(values)
    warn_of_zeros(where, shown)
    return Attribution(shown, x, np.concatenate(chosen), np.concatenate(outputs), where)
