"""The smallest set of pieces whose absence flips a decision."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lepton_ref.explain.perturbation.coalitions import Game

PAIRS = 20_000  # pairs that are tried, those of 200 players; with more only single players are


class Found(NamedTuple):
    """A counterfactual of one example."""

    x: np.ndarray  # (*shape)
    flipped: bool
    changed: np.ndarray  # int64: columns or players
    values: np.ndarray  # like changed: the lead that comes back when one is undone
    cost: float
    at_least: int  # no smaller set flips


def smallest_removal(
    game: Game, lead: Callable[[np.ndarray], np.ndarray], fixed: np.ndarray
) -> Found:
    """Take players out until the decision flips, as few as can be found.

    All sets of one and, up to 20,000, of two are tried: when one of them flips there is no smaller
    (eq. perturbation-certificate). Otherwise the player whose absence costs the decision most is
    taken out, then the next; at last each is put back that is not needed.

    Parameters
    ----------
    game : Game
    lead : callable
        Outputs (M, K) -> how far the decision leads (M,); negative: flipped.
    fixed : bool array (players,)
        Those that stay.
    """
    n, free = game.players, np.flatnonzero(~fixed)

    def without(sets: np.ndarray) -> np.ndarray:
        masks = np.ones((len(sets), n), bool)
        np.put_along_axis(masks, sets, False, axis=1)
        return lead(game.outputs(masks))

    at_least, gone = 1, None
    nothing = np.zeros(0, np.int64)
    if not len(free):
        return Found(game.x, False, nothing, np.zeros(0), 0.0, 1)
    for size in (1, 2):
        if size > len(free) or (size == 2 and len(free) * (len(free) - 1) // 2 > PAIRS):
            break
        sets = np.array(list(itertools.combinations(free, size)))
        leads = without(sets)
        at_least = size
        if leads.min() < 0:
            gone = sets[np.argmin(leads)]
            break
        at_least = size + 1
    if gone is None:
        gone = _greedy(without, free)
        if gone is None:
            return Found(game.x, False, nothing, np.zeros(0), 0.0, at_least)
        gone = _needed(without, gone)
    back = without(_one_back(gone)) if len(gone) > 1 else lead(game.outputs(np.ones((1, n), bool)))
    values = back - without(gone[None])
    mask = np.ones((1, n), bool)
    mask[0, gone] = False
    x = game.inputs(mask)[0].mean(axis=0)
    return Found(x, True, np.sort(gone), values[np.argsort(gone)], float(len(gone)), at_least)


def _one_back(gone: np.ndarray) -> np.ndarray:
    """Row j: the set without its j-th member, int (s, s − 1)."""
    return np.stack([np.delete(gone, j) for j in range(len(gone))])


def _greedy(without: Callable[[np.ndarray], np.ndarray], free: np.ndarray) -> np.ndarray | None:
    gone, left = np.zeros(0, np.int64), free
    while len(left):
        sets = np.concatenate([np.tile(gone, (len(left), 1)), left[:, None]], axis=1)
        leads = without(sets)
        best = int(np.argmin(leads))
        gone, left = sets[best], np.delete(left, best)
        if leads[best] < 0:
            return gone
    return None


def _needed(without: Callable[[np.ndarray], np.ndarray], gone: np.ndarray) -> np.ndarray:
    """Put players back one at a time, the least missed first, while the flip holds."""
    while len(gone) > 1:
        sets = _one_back(gone)
        leads = without(sets)
        best = int(np.argmin(leads))
        if leads[best] >= 0:
            break
        gone = sets[best]
    return gone
