"""Shapley values by walking in random orders: unbiased, with a standard error.

Source: Castro, Gómez and Tejada (2009), *Polynomial calculation of the Shapley value based on
sampling*; antithetic orders: Mitchell, Cooper, Frank and Holmes (2022), *Sampling permutations for
Shapley value estimation*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.explain.perturbation.coalitions import Game, question
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError

BLOCK = 1 << 24  # entries of the masks that are built at a time


def marginals(game: Game, orders: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """What each player adds when it enters in each order (eq. shapley-orders).

    Parameters
    ----------
    game : Game
    orders : int array, shape (R, n)
        Each row names all players in the order in which they enter.
    ends : (v(∅), v(N))

    Returns
    -------
    ndarray, shape (R, n), float64
        By player; each row sums to v(N) − v(∅).
    """
    return _of_all(lambda masks: [game(masks[0])], [orders], [ends])[0]


def _of_all(
    values: Callable[[list[np.ndarray]], Sequence[np.ndarray]],
    orders: Sequence[np.ndarray],
    ends: Sequence[tuple[float, float]],
) -> list[np.ndarray]:
    """:func:`marginals` of several games, all with R orders, which answer together."""
    out = [np.empty(rows.shape) for rows in orders]
    step = max(1, BLOCK // max(1, sum(rows.shape[1] ** 2 for rows in orders)))
    for start in range(0, len(orders[0]), step):
        parts = [rows[start : start + step] for rows in orders]
        for i, v in enumerate(values([_entered(part) for part in parts])):
            walk = np.empty((len(parts[i]), parts[i].shape[1] + 1))
            walk[:, 0], walk[:, -1] = ends[i]
            walk[:, 1:-1] = v.reshape(len(walk), -1)
            np.put_along_axis(out[i][start : start + step], parts[i], np.diff(walk), axis=1)
    return out


def _entered(orders: np.ndarray) -> np.ndarray:
    """Who is there after each step but the last: (R, n) -> bool (R (n − 1), n)."""
    n = orders.shape[1]
    place = np.argsort(orders, axis=1)  # (R, n): when each player enters
    return (place[:, None, :] < np.arange(1, n)[:, None]).reshape(len(orders) * max(n - 1, 0), n)


def permutation_shapley(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    permutations: int = 100,
    antithetic: bool = True,
    players: Any = None,
    baseline: Any = None,
    background: Any = None,
    batch_size: int = 256,
    engine: str | Engine | None = None,
    seed: int = 0,
) -> Attribution:
    """Shapley values from random orders of the players (eq. shapley-orders).

    What is not named here is as in :func:`~lepton_ref.explain.shapley.exact_shapley`.

    Parameters
    ----------
    permutations : int
        Orders, at least 4 and even when ``antithetic``; each costs n − 1 coalitions.
    antithetic : bool
        Walk each order backwards too: the mean of the two is the unit that is averaged.
    seed : int

    Returns
    -------
    Attribution
        Unbiased; ``standard_error`` is that of the mean (eq. shapley-standard-error). Sums are
        exact: each walk ends at v(N).

    Raises
    ------
    ArgumentError
        For too few or an odd number of orders; otherwise as all explainers.
    """
    where = "permutation_shapley"
    whole(where, 4 if antithetic else 2, permutations=permutations)
    whole(where, 0, seed=seed)
    if antithetic and permutations % 2:
        got = f"the value {permutations}"
        raise ArgumentError(where, "permutations", got, "an even number, for pairs of orders")
    asked = question(where, model, x, target, players, baseline, background, batch_size, engine)
    rng = np.random.default_rng(seed)
    smaller = [game.of_those_that_matter() for game in asked.games]
    games = [game for game, _ in smaller]
    ends = asked.ends(games)
    draws = permutations // 2 if antithetic else permutations
    orders = [rng.permuted(np.tile(np.arange(game.players), (draws, 1)), axis=1) for game in games]
    walked = [np.concatenate([o, o[:, ::-1]]) for o in orders] if antithetic else orders
    found, errors = [], []
    for i, units in enumerate(_of_all(lambda m: asked.values(m, games), walked, ends)):
        mean, error = np.zeros((2, asked.games[i].players))
        found.append(mean)
        errors.append(error)
        there = smaller[i][1]
        if antithetic:
            units = (units[:draws] + units[draws:]) / 2
        mean[there] = units.mean(axis=0)
        error[there] = units.std(axis=0, ddof=1) / np.sqrt(draws)
    nobody = [empty for empty, _ in ends]
    settings = {"permutations": permutations, "antithetic": antithetic}
    return asked.answer(found, errors, nobody, seed=seed, settings=settings)
