"""Does an explanation depend on what the model has learned? And two controls that must be caught.

Source: Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim (2018), *Sanity checks for saliency
maps*.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.explain.evaluation.players import player_values
from lepton_ref.explain.evaluation.ranks import rank_correlation
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    SaturationWarning,
    at_target,
    check_explained,
)
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError

# --- the two controls --------------------------------------------------------------------


def edge_detector(
    model: Any, x: Any, target: Any = None, *, baseline: Any = None, seed: int = 0
) -> Attribution:
    """What stands out in the input, whatever the model does with it: a control, not an explainer.

    Of a picture (C, H, W) or (H, W) the length of the Sobel gradient; of a text (T, D) how far a
    word's vector is from its neighbours'; of a table (F,) how far a value is from the baseline.
    The model is asked for its output and nothing else.

    Parameters
    ----------
    model : Layer or callable
    x : float array, shape (N, *shape)
    target : int or int array, optional
    baseline : number or array, optional
    seed : int
        Unused.

    Raises
    ------
    ArgumentError
        As every explainer.
    """
    run = black_box(model)
    x, y, goal, empty = check_explained("edge_detector", run, x, target, baseline)
    pixels = np.asarray(x, np.float64)
    if pixels.ndim == 2:
        values = np.abs(pixels - empty)
    elif pixels.ndim == 3:
        padded = np.pad(pixels, ((0, 0), (1, 1), (0, 0)), mode="edge")
        step = padded[:, 1:] - padded[:, :-1]  # (N, T + 1, D)
        values = np.sqrt(step[:, :-1] ** 2 + step[:, 1:] ** 2)
    else:
        values = sobel_length(pixels)
    nothing = at_target(run(empty), goal)
    return Attribution(
        values, x, goal, at_target(y, goal), "edge_detector", empty, nothing, seed=seed
    )


def sobel_length(pictures: np.ndarray) -> np.ndarray:
    """Length of the Sobel gradient at every pixel, edges continued: (..., H, W) likewise."""
    padded = np.pad(pictures, [(0, 0)] * (pictures.ndim - 2) + [(1, 1), (1, 1)], mode="edge")

    def smooth(a: np.ndarray, axis: int) -> np.ndarray:
        a = np.moveaxis(a, axis, -1)
        return np.moveaxis(a[..., :-2] + 2 * a[..., 1:-1] + a[..., 2:], -1, axis)

    def differ(a: np.ndarray, axis: int) -> np.ndarray:
        a = np.moveaxis(a, axis, -1)
        return np.moveaxis(a[..., 2:] - a[..., :-2], -1, axis)

    across, down = differ(smooth(padded, -2), -1), differ(smooth(padded, -1), -2)
    return np.hypot(across, down)


def random_attribution(
    model: Any, x: Any, target: Any = None, *, baseline: Any = None, seed: int = 0
) -> Attribution:
    """Normal random numbers: the control that every explainer must beat.

    Parameters and errors as in :func:`edge_detector`; ``seed`` draws the numbers.
    """
    run = black_box(model)
    x, y, goal, empty = check_explained("random_attribution", run, x, target, baseline)
    values = np.random.default_rng(seed).normal(size=x.shape)
    nothing = at_target(run(empty), goal)
    return Attribution(values, x, goal, at_target(y, goal), "random", empty, nothing, seed=seed)


# --- cascading randomisation -------------------------------------------------------------


def cascade(model: Any) -> list[tuple[str, list[str]]]:
    """The stages of a model from its output down: name of a layer, names of its arrays.

    Parameters
    ----------
    model : Layer, or whatever has ``state()``
        Layers in the order in which they were made, turned around; of another model every array
        is a stage of its own.

    Raises
    ------
    ArgumentError
        For a model without arrays of floats.
    """
    if not hasattr(model, "state") or not hasattr(model, "load_state"):
        got = f"type {type(model).__name__}"
        raise ArgumentError("cascade", "model", got, "a model with state() and load_state()")
    stages: dict[str, list[str]] = {}
    for name, array in model.state().items():
        if np.asarray(array).dtype.kind == "f":
            stages.setdefault(name.rpartition(".")[0] or name, []).append(name)
    if not stages:
        raise ArgumentError("cascade", "model", "no arrays of floats", "some to randomise")
    return list(reversed(stages.items()))


@contextmanager
def randomised(model: Any, names: Sequence[str], rng: np.random.Generator) -> Iterator[None]:
    """Inside the block these arrays of the model are random; afterwards they are what they were.

    Matrices and kernels become normal numbers of their own mean square, so that activations keep
    their size; vectors (biases, scales) are shuffled. Such a network may be dead at an example,
    and nobody needs a warning of that.

    Parameters
    ----------
    model : Layer, or whatever has ``state()`` and ``load_state()``
    names : sequence of str
        Of its arrays.
    rng : numpy.random.Generator
    """
    before = model.state()
    after = dict(before)
    for name in names:
        array = np.asarray(before[name])
        if array.ndim >= 2:
            size = np.sqrt(np.mean(np.square(array, dtype=np.float64)))
            after[name] = rng.normal(0.0, size, array.shape).astype(array.dtype)
        else:
            after[name] = rng.permutation(array)
    try:
        model.load_state(after)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            yield
    finally:
        model.load_state(before)


@dataclass(frozen=True, repr=False)
class Randomisation:
    """How much of an explanation survives when the model forgets, from its output down.

    Attributes
    ----------
    stages : tuple of str
        The layer that was randomised last.
    signed, absolute : np.ndarray
        float64 (stages, N), rank correlation with the explanation of the trained model, of the
        values and of their absolute values, the mean over the draws.
    size : np.ndarray
        float64 (stages, N), mean absolute value of the signed correlation. For a method that
        turns its sign with the output, ``signed`` has mean zero over the draws whatever the maps
        look like (eq. sanity-odd); this has not.
    method : str
    """

    stages: tuple[str, ...]
    signed: np.ndarray
    absolute: np.ndarray
    size: np.ndarray
    method: str

    def passed(self, bound: float = 0.2) -> bool:
        """Whether, with all layers random, the signed maps correlate by at most ``bound``."""
        return bool(abs(self.signed[-1].mean()) <= bound)

    def __repr__(self) -> str:
        last = f"signed {self.signed[-1].mean():+.2f}, absolute {self.absolute[-1].mean():+.2f}"
        return f"{self.method}: all {len(self.stages)} layers random, {last}"


def randomisation_test(
    explainer: Callable[..., Attribution],
    model: Any,
    x: Any,
    target: Any = None,
    *,
    weights: Any = None,
    stages: Sequence[tuple[str, Sequence[str]]] | None = None,
    players: np.ndarray | None = None,
    draws: int = 3,
    seed: int = 0,
    **settings: Any,
) -> Randomisation:
    """Randomise the model's layers one after the other, the last first, and explain again.

    An explanation of what the model has learned must change. The target stays what the trained
    model decided.

    Parameters
    ----------
    explainer : callable
        ``explainer(model, x, target, **settings) -> Attribution``.
    model : Layer or callable
        What the explainer takes.
    x : array, shape (N, *shape)
    target : int or int array, optional
    weights : Layer, or whatever has ``state()`` and ``load_state()``, optional
        What is randomised, if the model only holds it. It is put back as it was.
    stages : sequence of (name, names of arrays), optional
        In the order in which they go; without it :func:`cascade` of ``weights``.
    players : int array, optional
        Compare what players were given, not entries.
    draws : int
        Random weights are drawn so often, and the correlations are averaged.
    seed : int
    **settings
        Passed on to the explainer.

    Raises
    ------
    ArgumentError
        For no draw, or a model without arrays.
    """
    whole("randomisation_test", draws=draws)
    held = model if weights is None else weights
    order = cascade(held) if stages is None else list(stages)
    here = explainer(model, x, target, **settings)
    found = _Survival(here.values, players, len(order), draws)
    for draw in range(draws):
        names: list[str] = []
        for i, (_, more) in enumerate(order):
            names += more
            with randomised(held, names, np.random.default_rng([seed, draw])):
                there = explainer(model, x, here.target, **settings)
            found.add(i, there.values)
    return found.of(tuple(name for name, _ in order), here.method)


def forgotten(
    explainers: Mapping[str, Callable[..., Attribution]],
    trained: Mapping[str, np.ndarray],
    model: Any,
    x: Any,
    target: np.ndarray,
    *,
    weights: Any,
    players: np.ndarray | None = None,
    draws: int = 3,
    seed: int = 0,
) -> dict[str, Randomisation]:
    """The last stage of :func:`randomisation_test` of several explainers, on the same networks.

    Parameters
    ----------
    explainers : mapping of str to callable
    trained : mapping of str to array (N, *shape)
        The values that each explainer gave with the trained weights.
    target : int array, shape (N,)
        What the trained model decided.
    others
        And the errors, as in :func:`randomisation_test`.
    """
    whole("forgotten", draws=draws)
    names = [name for _, more in cascade(weights) for name in more]
    found = {name: _Survival(trained[name], players, 1, draws) for name in explainers}
    for draw in range(draws):
        with randomised(weights, names, np.random.default_rng([seed, draw])):
            for name, explainer in explainers.items():
                found[name].add(0, explainer(model, x, target).values)
    return {name: survival.of(("all",), name) for name, survival in found.items()}


class _Survival:
    """Correlations with the trained explanation, gathered over draws of random weights."""

    def __init__(
        self, trained: np.ndarray, players: np.ndarray | None, stages: int, draws: int
    ) -> None:
        self.trained, self.players, self.draws = player_values(trained, players), players, draws
        shape = (stages, len(self.trained))
        self.signed, self.absolute, self.size = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, stage: int, values: np.ndarray) -> None:
        random = player_values(values, self.players)
        found = rank_correlation(self.trained, random)
        self.signed[stage] += found / self.draws
        self.size[stage] += np.abs(found) / self.draws
        found = rank_correlation(self.trained, random, absolute=True)
        self.absolute[stage] += found / self.draws

    def of(self, stages: tuple[str, ...], method: str) -> Randomisation:
        return Randomisation(stages, self.signed, self.absolute, self.size, method)
