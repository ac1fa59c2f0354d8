"""LIME: a weighted plane through what the model says of inputs near by.

Source: Ribeiro, Singh and Guestrin (2016), *"Why should I trust you?": explaining the predictions
of any classifier*. The three ways to draw neighbours are those of the authors' library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.explain.perturbation.coalitions import (
    Question,
    check_background,
    question,
)
from lepton_ref.explain.perturbation.least_squares import ridge
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError

WHERE = "lime"
NEIGHBOURS = ("coins", "sizes")


def proximity(distance: np.ndarray, width: float) -> np.ndarray:
    """exp(−d² / 2σ²) (eq. perturbation-proximity)."""
    return np.exp(-0.5 * (distance / width) ** 2)


def cosine_distance(masks: np.ndarray) -> np.ndarray:
    """1 − √(s/P) of a coalition of s of P players from all of them (eq. perturbation-cosine)."""
    return 1 - np.sqrt(masks.mean(axis=1))


def draw_masks(players: int, samples: int, neighbours: str, rng: np.random.Generator) -> np.ndarray:
    """Coalitions near the full one, which is the first: bool (samples, players).

    Parameters
    ----------
    neighbours : {"coins", "sizes"}
        ``"coins"``: each player stays with probability ½, as the library does for pictures.
        ``"sizes"``: the number of absent players is uniform from 1 to P, as it does for texts.
    """
    if neighbours == "coins":
        masks = rng.random((samples, players)) < 0.5
    else:
        absent = rng.integers(1, players + 1, samples)
        place = np.argsort(np.argsort(rng.random((samples, players)), axis=1), axis=1)
        masks = place >= absent[:, None]
    masks[0] = True
    return masks


def lime(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    samples: int = 1000,
    players: Any = None,
    baseline: Any = None,
    training: Any = None,
    neighbours: str = "coins",
    kernel_width: float | None = None,
    regularization: float = 1.0,
    batch_size: int = 256,
    engine: str | Engine | None = None,
    seed: int = 0,
) -> Attribution:
    """The slopes of a weighted plane through the model's outputs around each input.

    For pictures and words a neighbour is a coalition of players, and a slope says what a player's
    presence adds (eqs. perturbation-ridge, perturbation-proximity). For tables give ``training``: a
    neighbour is a normal draw with the mean and deviation of its columns.

    Parameters
    ----------
    model : Layer or function
        A black box; see :func:`lepton_ref.explain.gradients.black_box`.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        None: the model's own decision.
    samples : int
        Neighbours, the input itself the first.
    players : int array, optional
        The player of each entry, as for ``exact_shapley``: a grid of ``patches``, a word's vector,
        or the labels of any segmentation, scikit-image's for instance.
    baseline : number or array, optional
        What an absent player looks like; 0 by default.
    training : array, shape (B, P), optional
        Rows of a table whose columns are standardised, drawn and reported one by one.
    neighbours : {"coins", "sizes"}
        See :func:`draw_masks`.
    kernel_width : float, optional
        σ: 0.25 for coalitions, ¾√P for tables, the library's own.
    regularization : float
        λ of the ridge.
    batch_size : int
    engine : str or Engine, optional
    seed : int

    Returns
    -------
    Attribution
        Coalitions: a player's slope in equal parts on its entries. Tables: slope times
        standardised value, what the column adds against the mean row; the slopes, per standard
        deviation, are ``settings["coefficients"]``. In both cases ``settings["fit"]`` is the
        weighted R²: a plane that does not fit explains nothing. ``standard_error`` is that of the
        draws.

    Raises
    ------
    ArgumentError
        For ``training`` beside players or a baseline, columns that do not vary; otherwise as all
        explainers.
    """
    whole(WHERE, 2, samples=samples)
    whole(WHERE, 0, seed=seed)
    number(WHERE, regularization=regularization)
    if kernel_width is not None:
        number(WHERE, above=0, kernel_width=kernel_width)
    if neighbours not in NEIGHBOURS:
        expected = f"one of {', '.join(NEIGHBOURS)}"
        raise ArgumentError(WHERE, "neighbours", f"the value {neighbours!r}", expected)
    rng = np.random.default_rng(seed)
    common: dict[str, Any] = {"samples": samples, "regularization": regularization}
    if training is not None:
        if players is not None or baseline is not None:
            got = "rows beside players or a baseline"
            raise ArgumentError(WHERE, "training", got, "only one of them")
        rows = check_background(WHERE, training, np.shape(x)[1:], "training").astype(np.float64)
        if rows.ndim != 2:
            raise ArgumentError(WHERE, "training", f"shape {rows.shape}", "a table (B, P)")
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        if not deviation.all():
            column = int(np.argmin(deviation))
            got = f"column {column}, which does not vary"
            raise ArgumentError(WHERE, "training", got, "columns that vary; leave out the others")
        asked = question(
            WHERE, model, x, target, None, mean, batch_size=batch_size, engine=engine
        )  # fmt: skip
        width = 0.75 * math.sqrt(rows.shape[1]) if kernel_width is None else kernel_width
        return _of_table(asked, mean, deviation, width, rng, seed, common)
    asked = question(
        WHERE, model, x, target, players, baseline, batch_size=batch_size, engine=engine
    )  # fmt: skip
    width = 0.25 if kernel_width is None else kernel_width
    found, errors, fits, intercepts = [], [], [], []
    drawn = [draw_masks(game.players, samples, neighbours, rng) for game in asked.games]
    for masks, v in zip(drawn, asked.values(drawn)):
        weights = proximity(cosine_distance(masks), width)
        line = ridge(masks.astype(np.float64), v, weights, regularization)
        found.append(line.slopes)
        errors.append(line.errors)
        fits.append(line.fit)
        intercepts.append(line.intercept)
    settings = {
        **common, "neighbours": neighbours, "kernel_width": width, "fit": np.array(fits),
        "intercept": np.array(intercepts),
    }  # fmt: skip
    return asked.answer(found, errors, seed=seed, settings=settings)


def _of_table(
    asked: Question,
    mean: np.ndarray,
    deviation: np.ndarray,
    width: float,
    rng: np.random.Generator,
    seed: int,
    settings: dict[str, Any],
) -> Attribution:
    found, errors, lines = [], [], []
    for game in asked.games:
        here = (game.x.astype(np.float64) - mean) / deviation
        Z = rng.standard_normal((settings["samples"], len(here)))
        Z[0] = here
        y = game.f((mean + deviation * Z).astype(game.x.dtype)).reshape(len(Z), -1)
        distance = np.linalg.norm(Z - here, axis=1)
        weights = proximity(distance, width)
        line = ridge(Z, y[:, game.target], weights, settings["regularization"])
        found.append(line.slopes * here)
        errors.append(line.errors * np.abs(here))
        lines.append(line)
    settings = {
        **settings, "kernel_width": width, "fit": np.array([line.fit for line in lines]),
        "intercept": np.array([line.intercept for line in lines]),
        "coefficients": np.stack([line.slopes for line in lines]),
        "coefficient_errors": np.stack([line.errors for line in lines]),
    }  # fmt: skip
    return asked.answer(found, errors, seed=seed, settings=settings)
