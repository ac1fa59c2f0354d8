"""Infidelity and max-sensitivity: does an attribution predict what changes, and does it keep still.

Source: Yeh, Hsieh, Suggala, Inouye and Ravikumar (2019), *On the (in)fidelity and sensitivity of
explanations*. Both agree with Captum's on the same perturbations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.explain.evaluation.asking import BLOCK, explained
from lepton_ref.explain.evaluation.players import counts, owners
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.framework.arguments import number, real_array, whole
from lepton_ref.framework.errors import ArgumentError


class Perturbations(NamedTuple):
    """What is taken from the inputs, and what an attribution is multiplied with to predict it."""

    change: np.ndarray  # (S, N, *shape), x − change is what the model then sees
    weights: np.ndarray  # (S, N, *shape)


def removals(
    x: np.ndarray,
    baseline: Any = 0.0,
    players: np.ndarray | None = None,
    samples: int = 64,
    seed: int = 0,
) -> Perturbations:
    """Random sets of players go to the baseline; of each set size equally many.

    The change is (x − b) z and the weights are z, one for what is gone: for attributions that say
    what each entry *contributed*.

    Parameters
    ----------
    x : array, shape (N, *shape)
    baseline : number or array, broadcast to x
    players : int array, of the shape of one example or of all, optional
    samples : int
        S.
    seed : int

    Raises
    ------
    ArgumentError
        For players of another shape, or no sample.
    """
    x = real_array("removals", "x", x)
    if samples < 1:
        raise ArgumentError("removals", "samples", f"the value {samples}", "at least 1")
    rows = owners("removals", players, x.shape)
    rng, n, many = np.random.default_rng(seed), len(x), counts(rows)
    width = int(many.max())
    draw = rng.random((samples, n, width))
    draw[:, np.arange(width)[None, :] >= many[:, None]] = np.inf
    rank = draw.argsort(axis=2).argsort(axis=2)
    share = (np.arange(samples) + 0.5) / samples
    size = 1 + np.floor(share[:, None] * many)  # (S, N), from 1 to all
    gone = rank < size[:, :, None]
    z = np.take_along_axis(gone, np.maximum(rows, 0)[None], axis=2) & (rows >= 0)[None]
    weights = z.reshape(samples, *x.shape).astype(np.float64)
    return Perturbations((x - np.broadcast_to(baseline, x.shape)) * weights, weights)


def noise(x: np.ndarray, std: float = 0.1, samples: int = 64, seed: int = 0) -> Perturbations:
    """Gaussian noise on every entry; change and weights are the same: for *rates* of change.

    Parameters
    ----------
    x : array, shape (N, *shape)
    std : float
        Above 0.
    samples, seed : int

    Raises
    ------
    ArgumentError
        For a spread that is not positive, or no sample.
    """
    if not std > 0:
        raise ArgumentError("noise", "std", f"the value {std}", "a positive number")
    if samples < 1:
        raise ArgumentError("noise", "samples", f"the value {samples}", "at least 1")
    drawn = np.random.default_rng(seed).normal(0.0, std, (samples, *np.shape(x)))
    return Perturbations(drawn, drawn)


def output_changes(model: Any, x: np.ndarray, target: np.ndarray, change: np.ndarray) -> np.ndarray:
    """f(x) − f(x − I) for every perturbation, float64 (S, N)."""
    run = black_box(model)
    x = np.asarray(x)
    before, _ = explained(run, x, np.arange(len(x)), target)
    out = np.empty(change.shape[:2])
    block = max(1, BLOCK // max(x.size, 1))
    for start in range(0, len(change), block):
        part = change[start : start + block].swapaxes(0, 1)  # (N, s, *shape)
        rows = (x[:, None] - part).astype(x.dtype).reshape(-1, *x.shape[1:])
        whose = np.repeat(np.arange(len(x)), part.shape[1])
        after, _ = explained(run, rows, whose, target)
        out[start : start + block] = before - after.reshape(len(x), -1).T
    return out


def _checked(where: str, x: np.ndarray, perturbations: Any) -> None:
    if not isinstance(perturbations, Perturbations):
        got = f"type {type(perturbations).__name__}"
        raise ArgumentError(where, "perturbations", got, "what `noise` or `removals` returns")
    for name, array in zip(("change", "weights"), perturbations):
        if np.ndim(array) != x.ndim + 1 or np.shape(array)[1:] != x.shape or not len(array):
            expected = f"(S, {', '.join(map(str, x.shape))}) with S at least 1"
            got = f"{name} of shape {np.shape(array)}"
            raise ArgumentError(where, "perturbations", got, expected)
        if not np.isfinite(array).all():
            got, expected = f"{name} with entries that are not finite", "finite numbers"
            raise ArgumentError(where, "perturbations", got, expected)


def infidelity(
    model: Any,
    attribution: Attribution,
    perturbations: Perturbations,
    *,
    scaled: bool = False,
    changes: np.ndarray | None = None,
) -> np.ndarray:
    """Mean squared error with which an attribution predicts the output's changes, float64 (N,).

    INFD = mean over I of (wᵀΦ − (f(x) − f(x − I)))² (eq. infidelity)

    Parameters
    ----------
    model : Layer or callable
        A black box, or a Layer.
    attribution : Attribution
    perturbations : Perturbations
        From :func:`removals`, :func:`noise`, or your own.
    scaled : bool
        Multiply Φ by its best factor for each example first (eq. infidelity-scale): methods in
        different units can then be compared.
    changes : array, shape (S, N), optional
        What :func:`output_changes` gave for these perturbations, to be computed only once for
        several methods.

    Raises
    ------
    ArgumentError
        For perturbations of another shape, or that are not finite.
    """
    x = np.asarray(attribution.x)
    _checked("infidelity", x, perturbations)
    change, weights = perturbations
    done = output_changes(model, x, attribution.target, change) if changes is None else changes
    said = np.einsum("sne,ne->sn", _flat(weights), attribution.values.reshape(len(x), -1))
    if scaled:
        power = np.sum(said * said, axis=0)
        cross = np.sum(said * done, axis=0)
        said = said * np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    return np.mean((said - done) ** 2, axis=0)


def _flat(weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights).reshape(*weights.shape[:2], -1)


def optimal_attribution(
    model: Any, x: Any, target: Any, perturbations: Perturbations
) -> Attribution:
    """The attribution with the least infidelity under these perturbations.

    Φ* = (E[w wᵀ])⁻¹ E[w Δ] (eq. infidelity-optimum): least squares, without an intercept. Where
    the perturbations do not settle it, the shortest solution.

    Parameters
    ----------
    model : Layer or callable
        A black box, or a Layer.
    x : array, shape (N, *shape)
    target : int or int array, shape (N,)
    perturbations : Perturbations

    Raises
    ------
    ArgumentError
        As in :func:`infidelity`.
    """
    x = np.asarray(x)
    _checked("optimal_attribution", x, perturbations)
    goal = np.broadcast_to(np.asarray(target, np.int64), (len(x),))
    done = output_changes(model, x, goal, perturbations.change)
    w = _flat(perturbations.weights)
    values = np.stack([
        np.linalg.lstsq(w[:, n], done[:, n], rcond=None)[0] for n in range(len(x))
    ]).reshape(x.shape)  # fmt: skip
    outputs, _ = explained(black_box(model), x, np.arange(len(x)), goal)
    settings = {"samples": len(w)}
    return Attribution(values, x, goal, outputs, "infidelity optimum", settings=settings)


def max_sensitivity(
    explainer: Callable[..., Attribution],
    model: Any,
    x: Any,
    target: Any = None,
    *,
    radius: float = 0.02,
    samples: int = 10,
    perturbations: np.ndarray | None = None,
    relative: bool = True,
    seed: int = 0,
    **settings: Any,
) -> np.ndarray:
    """The largest change of an explanation when the input moves a little, float64 (N,).

    max over y of ‖Φ(y) − Φ(x)‖, and divided by ‖Φ(x)‖ if ``relative`` (eq. sensitivity-max). The
    largest of a few draws is a lower bound of the true maximum.

    Parameters
    ----------
    explainer : callable
        ``explainer(model, x, target, **settings) -> Attribution``.
    model : whatever the explainer takes
    x : array, shape (N, *shape)
    target : int or int array, optional
        Without it what the model decides at x; held fixed while x moves.
    radius : float
        Each entry moves by at most so much, uniformly.
    samples : int
    perturbations : array, shape (S, N, *shape), optional
        Movements of your own, added to x, in the place of ``radius`` and ``samples``.
    relative : bool
    seed : int
        Draws the movements. An explainer that samples has its own seed, the same at every point.
    **settings
        Passed on to the explainer.

    Raises
    ------
    ArgumentError
        For a radius that is not positive, no sample, or movements of another shape.
    """
    where = "max_sensitivity"
    given: Any = explainer
    if not callable(given):
        got = f"type {type(explainer).__name__}"
        raise ArgumentError(where, "explainer", got, "a function (model, x, target)")
    x = np.asarray(x)
    here = explainer(model, x, target, **settings)
    if perturbations is None:
        number(where, 0.0, radius=radius)
        whole(where, samples=samples)
        rng = np.random.default_rng(seed)
        perturbations = rng.uniform(-radius, radius, (samples, *x.shape))
    _checked(where, x, Perturbations(perturbations, perturbations))
    length = np.linalg.norm(here.values.reshape(len(x), -1), axis=1)
    largest = np.zeros(len(x))
    for move in perturbations:
        there = explainer(model, (x + move).astype(x.dtype), here.target, **settings)
        moved = np.linalg.norm((there.values - here.values).reshape(len(x), -1), axis=1)
        largest = np.maximum(largest, moved)
    return largest / np.where(length > 0, length, 1.0) if relative else largest
