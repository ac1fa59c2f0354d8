"""Integrated Gradients: the gradient gathered on the way from a baseline to the input."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    as_target,
    at_target,
    check_baseline,
    check_input,
    check_target,
)
from lepton_ref.explain.gradients.boxes import black_box, check_model, engine_of
from lepton_ref.explain.gradients.methods import input_gradients
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError

QUADRATURES = ("gauss-legendre", "midpoint", "trapezoid", "left", "right")


@functools.lru_cache(maxsize=64)
def quadrature(rule: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1] and weights that sum to one: ∫₀¹ g ≈ Σₛ wₛ g(αₛ).

    Parameters
    ----------
    rule : {"gauss-legendre", "midpoint", "trapezoid", "left", "right"}
        Gauss–Legendre is exact for polynomials of degree 2·steps − 1; the midpoint rule and the
        trapezoid err by O(1/steps²) on a smooth g (eq. gradients-quadrature), left and right
        sums by O(1/steps).
    steps : int
        At least 1; of the trapezoid 2.

    Returns
    -------
    points, weights : float64 ndarray, shape (steps,)
    """
    if rule not in QUADRATURES:
        raise ArgumentError(
            "quadrature", "rule", f"the value {rule!r}", f"one of {', '.join(QUADRATURES)}"
        )
    whole("quadrature", steps=steps)
    if rule == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    if rule == "trapezoid":
        if steps < 2:
            raise ArgumentError("quadrature", "steps", f"the value {steps}", "at least 2")
        weights = np.full(steps, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, steps), weights
    shift = {"left": 0.0, "midpoint": 0.5, "right": 1.0}[rule]
    return (np.arange(steps) + shift) / steps, np.full(steps, 1 / steps)


def controlled(weights: np.ndarray, slopes: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """Weights as near as possible to ``weights`` that integrate the slopes exactly.

    Along the path one integral is known without any quadrature: that of the slope
    d(α) = Σᵢ (xᵢ − x′ᵢ) ∂f/∂xᵢ, which is the rise f(x) − f(x′). Among all weights v with
    Σ v = 1 and Σ v d = rise, the nearest to w is (eq. gradients-control)

    vₛ = wₛ + wₛ (dₛ − d̄) (rise − d̄) / Σ w (d − d̄)²,   d̄ = Σ w d,

    near in the sense of Σ (v − w)² / w. Each entry's integral is thereby corrected by its
    regression on the slope, as a control variate is.

    Parameters
    ----------
    weights : float array, shape (S,)
        Positive, summing to one.
    slopes : float array, shape (S, N)
    rise : float array, shape (N,)

    Returns
    -------
    float64 ndarray, shape (S, N)
        ``weights`` unchanged where the slope hardly varies: there is nothing to regress on.
    """
    w = weights[:, None]
    mean = (w * slopes).sum(axis=0)
    apart = slopes - mean
    variance = (w * apart**2).sum(axis=0)
    usable = variance > 1e-8 * np.maximum(mean**2, rise**2)
    share = np.where(usable, (rise - mean) / np.where(usable, variance, 1), 0.0)
    return w * (1 + share * apart)


def integrated_gradients(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    baseline: Any = None,
    steps: int = 64,
    rule: str = "midpoint",
    control: bool = True,
    engine: str | Engine | None = None,
    batch_size: int = 256,
) -> Attribution:
    """(x − x′) ⊙ ∫₀¹ df/dx(x′ + α(x − x′)) dα (eq. gradients-integrated).

    The exact attributions sum to f(x) − f(x′) (eq. gradients-completeness). A quadrature misses
    that by its error; with ``control`` the known sum corrects the quadrature
    (:func:`controlled`), and what it missed before stays in ``settings["raw_gap"]``: that, not
    the gap that is left, tells whether there were enough steps.

    Parameters
    ----------
    model : white box
        Engine array (N, *shape) to (N, K) or (N,): a Layer, or a function with ``engine`` given.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        Which output; default each row's largest.
    baseline : number or array, shape (*shape) or (N, *shape), optional
        What "absent" means; default zero.
    steps : int
        Points of the path, all of them in one batch.
    rule : str
        See :func:`quadrature`.
    control : bool
        Whether the known sum corrects the quadrature.
    engine : str or Engine, optional
        Of a plain function; a Layer has its own.
    batch_size : int
        Rows that go through the model at a time.

    Returns
    -------
    Attribution
        With ``baseline``, ``baseline_outputs`` and ``gap``.

    Raises
    ------
    ArgumentError
        For an input that is not finite, an empty batch, a target out of range, a baseline of
        another shape, an unknown rule, or too few steps.

    Source: Sundararajan, Taly and Yan (2017), *Axiomatic attribution for deep networks*.
    """
    where = "integrated_gradients"
    check_model(where, model, batch_size)
    x = check_input(where, x)
    full = check_baseline(where, baseline, x)
    points, weights = quadrature(rule, steps)
    targets = as_target(where, target, len(x))
    if targets is None:
        asked = black_box(model, batch_size, engine_of(model, engine))
        targets = check_target(where, None, asked(x))
    found: list[tuple[np.ndarray, ...]] = []
    together = max(1, batch_size // (steps + 2))  # examples whose whole paths fit one pass
    for start in range(0, len(x), together):
        rows = np.arange(start, min(start + together, len(x)))
        of_rows = targets[rows] if targets.ndim else targets
        f, chosen, gradients = _paths(
            where, model, x[rows], full[rows], of_rows, points, engine, rows, batch_size
        )
        moved = x[rows].astype(np.float64) - full[rows]
        slopes = (gradients * moved).reshape(steps, len(rows), -1).sum(axis=2)  # (S, n)
        rise = f[0] - f[1]
        used = np.broadcast_to(weights[:, None], slopes.shape)
        if control:
            used = controlled(weights, slopes, rise)
        values = np.einsum("sn,sn...->n...", used, gradients) * moved
        found.append((values, f[0], f[1], chosen[0], weights @ slopes - rise))
    values, outputs, before, targets, raw = (np.concatenate(part) for part in zip(*found))
    return Attribution(
        values, x, targets, outputs, where, full, before,
        settings={"steps": steps, "rule": rule, "control": control, "raw_gap": raw},
    )  # fmt: skip


def _paths(
    where: str,
    model: Any,
    x: np.ndarray,
    baseline: np.ndarray,
    target: Any,
    points: np.ndarray,
    engine: str | Engine | None,
    rows: np.ndarray,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f at both ends and along the path (2 + S, n), the targets, df/dx at the points (S, n, ...).

    Both ends ride along in the batch, so that they cost no pass of their own.
    """
    n, alphas = len(x), np.concatenate([[1.0, 0.0], points]).reshape(-1, *[1] * x.ndim)
    path = (baseline + alphas * (x.astype(np.float64) - baseline)).astype(x.dtype)
    each = np.tile(target, len(alphas)) if np.shape(target) == (n,) else target
    y, chosen, gradients = input_gradients(
        where, model, path.reshape(-1, *x.shape[1:]), each, engine, np.tile(rows, len(alphas)),
        batch_size,
    )  # fmt: skip
    f = at_target(y, chosen).reshape(-1, n)
    return f, chosen.reshape(-1, n), gradients.reshape(len(alphas), *x.shape)[2:]
