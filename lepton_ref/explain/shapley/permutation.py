"""Shapley values by walking in random orders: unbiased, with a standard error.

Source: Castro, Gómez and Tejada (2009), *Polynomial calculation of the Shapley value based on
sampling*; antithetic orders: Mitchell, Cooper, Frank and Holmes (2022), *Sampling permutations for
Shapley value estimation*.
"""

from __future__ import annotations

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
    R, n = orders.shape
    out = np.empty((R, n))
    step = max(1, BLOCK // (n * n))
    for start in range(0, R, step):
        order = orders[start : start + step]
        place = np.argsort(order, axis=1)  # (r, n): when each player enters
        entered = place[:, None, :] < np.arange(1, n)[:, None]  # (r, n − 1, n)
        walk = np.empty((len(order), n + 1))
        walk[:, 0], walk[:, -1] = ends
        walk[:, 1:-1] = game(entered.reshape(-1, n)).reshape(len(order), n - 1)
        np.put_along_axis(out[start : start + step], order, np.diff(walk), axis=1)
    return out


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
    found, errors, nobody = [], [], []
    for whole_game in asked.games:
        game, there = whole_game.of_those_that_matter()
        mean, error = np.zeros((2, whole_game.players))
        found.append(mean)
        errors.append(error)
        ends = game.ends()
        nobody.append(ends[0])
        if not len(there):
            continue
        draws = permutations // 2 if antithetic else permutations
        orders = rng.permuted(np.tile(np.arange(game.players), (draws, 1)), axis=1)
        units = marginals(game, orders, ends)
        if antithetic:
            units = (units + marginals(game, orders[:, ::-1], ends)) / 2
        mean[there] = units.mean(axis=0)
        error[there] = units.std(axis=0, ddof=1) / np.sqrt(draws)
    settings = {"permutations": permutations, "antithetic": antithetic}
    return asked.answer(found, errors, nobody, seed=seed, settings=settings)
