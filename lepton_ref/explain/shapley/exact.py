"""Shapley values by enumeration: every coalition, once.

Source: Shapley (1953), *A value for n-person games*; Harsanyi (1963) for the dividends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.explain.perturbation.coalitions import question
from lepton_ref.framework.arguments import real_array
from lepton_ref.framework.errors import ArgumentError

MOST = 20  # players; 2^20 coalitions


def coalitions(players: int) -> np.ndarray:
    """All of them: bool (2^players, players); row m holds the binary digits of m, lowest first."""
    numbers = np.arange(1 << players)
    return (numbers[:, None] >> np.arange(players) & 1).astype(bool)


def shapley_weights(players: int) -> np.ndarray:
    """s! (n − s − 1)! / n! for s = 0..n−1, float64 (n,) (eq. shapley-value)."""
    weights = np.empty(players)
    weights[0] = 1 / players
    for s in range(1, players):
        weights[s] = weights[s - 1] * s / (players - s)
    return weights


def _players(where: str, v: np.ndarray) -> int:
    n = len(v).bit_length() - 1
    if v.ndim != 1 or n < 1 or len(v) != 1 << n:
        raise ArgumentError(where, "v", f"shape {v.shape}", "(2^n,), a value for each coalition")
    return n


def shapley_value(v: np.ndarray) -> np.ndarray:
    """The Shapley value of a game that is written out (eq. shapley-value).

    φᵢ = Σ_{S ∌ i} s! (n − s − 1)! / n! · (v(S ∪ i) − v(S))

    Parameters
    ----------
    v : float array, shape (2^n,)
        In the order of :func:`coalitions`.

    Returns
    -------
    ndarray, shape (n,), float64

    Raises
    ------
    ArgumentError
        When the length is no power of 2 from 2 on.
    """
    v = real_array("shapley_value", "v", v)
    n = _players("shapley_value", v)
    weights = shapley_weights(n)
    size = np.zeros(1, np.int64)
    for _ in range(n - 1):  # sizes of the coalitions of the n − 1 others
        size = np.concatenate([size, size + 1])
    weight = weights[size]
    phi = np.empty(n)
    for i in range(n):
        # Bit i is the middle axis; the others, in order, number the coalitions without i.
        halves = v.reshape(-1, 2, 1 << i)
        phi[i] = weight @ (halves[:, 1] - halves[:, 0]).reshape(-1)
    return phi


def dividends(v: np.ndarray) -> np.ndarray:
    """What each coalition adds to its parts (eq. shapley-dividend).

    c_T = Σ_{S ⊆ T} (−1)^{t−s} v(S)

    Parameters and errors as in :func:`shapley_value`; returns float64 (2^n,), in the same order.
    """
    c = np.array(v, np.float64)
    n = _players("dividends", c)
    for i in range(n):
        halves = c.reshape(-1, 2, 1 << i)
        halves[:, 1] -= halves[:, 0]
    return c


def exact_shapley(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    players: Any = None,
    baseline: Any = None,
    background: Any = None,
    batch_size: int = 256,
    engine: str | Engine | None = None,
    seed: int | None = None,
) -> Attribution:
    """Shapley values of an input's pieces, from all 2^n coalitions (eq. shapley-value).

    Parameters
    ----------
    model : Layer or function
        A black box; see :func:`lepton_ref.explain.gradients.black_box`.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        None: the model's own decision.
    players : int array, optional
        The player of each entry, 0, 1, 2, …; −1 always stays. Broadcasts to ``shape``. None:
        every entry is a player.
    baseline : number or array, shape (*shape) or (N, *shape), optional
        What stands in for an absent entry; 0 by default.
    background : array, shape (B, *shape), optional
        Instead of a baseline: rows that stand in one after another; the outputs are averaged
        (eq. shapley-interventional).
    batch_size : int
        Inputs at a time.
    engine : str or Engine, optional
    seed : None
        Nothing is drawn; accepted so that all explainers are called alike.

    Returns
    -------
    Attribution
        A player's value lies in equal parts on its entries, so sums keep their meaning; the values
        themselves are ``settings["player_values"]``, one array for each example. ``gap`` is
        rounding.

    Raises
    ------
    ArgumentError
        For more than 20 players that differ from what stands in: each doubles the work. Otherwise
        as all explainers: NaN, a target out of range, a baseline of another shape.
    """
    asked = question(
        "exact_shapley", model, x, target, players, baseline, background, batch_size, engine
    )
    smaller = [game.of_those_that_matter() for game in asked.games]
    most = max(game.players for game, _ in smaller)
    if most > MOST:
        raise ArgumentError(
            "exact_shapley", "players", f"{most} players that count, 2^{most} coalitions",
            f"at most {MOST}; with more, put entries together, or sample with permutation_shapley "
            "or kernel_shap",
        )  # fmt: skip
    found, nobody = [], []
    for whole, (game, there) in zip(asked.games, smaller):
        v = game(coalitions(game.players))
        phi = np.zeros(whole.players)
        if len(there):
            phi[there] = shapley_value(v)
        found.append(phi)
        nobody.append(float(v[0]))
    settings = {"evaluations": [1 << game.players for game, _ in smaller]}
    return asked.answer(found, nobody=nobody, settings=settings)
