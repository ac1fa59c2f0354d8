"""The smallest change of a table's row that flips a decision, by search along the columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lepton_ref.explain.perturbation.coalitions import Game
from lepton_ref.explain.perturbation.removal import Found

ROUNDS = 24  # of λ, each three times the one before
STEPS, REFINEMENTS = 32, 3  # of a column on its way back


def deviations(rows: np.ndarray) -> np.ndarray:
    """Median absolute deviation of each column (eq. perturbation-mad), float64 (P,).

    Where more than half of the rows agree it is 0; the standard deviation stands in, and 1 where
    that is 0 too: such a column never moves.
    """
    rows = rows.astype(np.float64)
    mad = np.median(np.abs(rows - np.median(rows, axis=0)), axis=0)
    spread = np.where(mad > 0, mad, rows.std(axis=0))
    return np.where(spread > 0, spread, 1.0)


class _Row:
    """One row of a table, what its columns may become, and what a change costs."""

    def __init__(
        self,
        game: Game,
        lead: Callable[[np.ndarray], np.ndarray],
        rows: np.ndarray,
        levels: int,
    ) -> None:
        self.f, self.dtype, self.lead = game.f, game.x.dtype, lead
        self.x = game.x.astype(np.float64)
        self.spread = deviations(rows)
        # Values that occur, so that a count is moved to a count.
        self.values = np.quantile(rows, np.linspace(0, 1, levels), axis=0, method="nearest")

    def leads(self, inputs: np.ndarray) -> np.ndarray:
        """How far the old decision leads for (M, P) rows: (M,)."""
        return self.lead(self.f(inputs.astype(self.dtype)).reshape(len(inputs), -1))

    def away(self, inputs: np.ndarray) -> np.ndarray:
        """Σ |x′ − x| / MAD of (M, P) rows: (M,)."""
        return (np.abs(inputs - self.x) / self.spread).sum(axis=1)

    def undone(self, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The columns that changed, and for each the row with that one alone undone."""
        changed = np.flatnonzero(here != self.x)
        singles = np.tile(here, (len(changed), 1))
        singles[np.arange(len(changed)), changed] = self.x[changed]
        return changed, singles


def smallest_change(
    game: Game,
    lead: Callable[[np.ndarray], np.ndarray],
    fixed: np.ndarray,
    rows: np.ndarray,
    levels: int,
) -> Found:
    """Search along columns for the least λ lead₊² + Σ |x′ − x| / MAD (eq. perturbation-wachter).

    Each step sets one column to the quantile of ``rows`` that lowers the objective most, so the
    objective falls with every step and the search ends. λ grows until the decision flips. Then
    what is not needed is undone, and the rest moved back towards x as far as the flip allows. The
    search is repeated with only the columns that mattered most, the first one, two, and so on:
    the cheapest of all the answers is returned.

    Parameters
    ----------
    game : Game
        Its ``f`` and ``x`` are used.
    lead : callable
        Outputs (M, K) -> how far the decision leads (M,); negative: flipped.
    fixed : bool array (P,)
        Columns that stay.
    rows : array, shape (B, P)
    levels : int
        Quantiles to try.
    """
    row = _Row(game, lead, rows, levels)
    best = _search(row, np.flatnonzero(~fixed))
    if best is None:
        return Found(game.x, False, np.zeros(0, np.int64), np.zeros(0), 0.0, 1)
    changed, singles = row.undone(best)
    order = changed[np.argsort(-row.leads(singles), kind="stable")]
    for many in range(1, len(order)):
        found = _search(row, np.sort(order[:many]))
        if found is not None and row.away(found[None])[0] < row.away(best[None])[0]:
            best = found
    changed, singles = row.undone(best)
    back = row.leads(singles) - row.leads(best[None])
    x = game.x.copy()
    x[changed] = best[changed]
    return Found(x, True, changed, back, float(row.away(best[None])[0]), 1)


def _search(row: _Row, free: np.ndarray) -> np.ndarray | None:
    """The cheapest flip found by moving the ``free`` columns, or None."""
    if not len(free):
        return None
    levels = len(row.values)
    column = np.repeat(free, levels + 1)
    value = np.concatenate([np.append(row.values[:, i], row.x[i]) for i in free])
    here = row.x.copy()
    ahead = row.leads(here[None])[0]
    # At first a whole lead is worth a tenth of a MAD.
    weight = 0.1 / max(ahead**2, 1e-12)
    for _ in range(ROUNDS):
        best = weight * max(ahead, 0) ** 2 + row.away(here[None])[0]
        while True:
            moves = np.tile(here, (len(column), 1))
            moves[np.arange(len(column)), column] = value
            leads = row.leads(moves)
            costs = weight * np.maximum(leads, 0) ** 2 + row.away(moves)
            j = int(np.argmin(costs))
            if not costs[j] < best - 1e-12:
                break
            here, best, ahead = moves[j], costs[j], leads[j]
        if ahead < 0:
            return _undo(row, _shrink(row, _undo(row, here)))
        weight *= 3
    return None


def _undo(row: _Row, here: np.ndarray) -> np.ndarray:
    """Put columns back one at a time, the dearest first, while the flip holds."""
    while True:
        changed, singles = row.undone(here)
        idle = row.leads(singles) < 0
        if not idle.any():
            return here
        saved = np.where(idle, (np.abs(here - row.x) / row.spread)[changed], -1)
        here = singles[int(np.argmax(saved))]


def _shrink(row: _Row, here: np.ndarray) -> np.ndarray:
    """Move each column back towards x, the cheapest first, as far as the flip holds."""
    here = here.copy()
    for i in np.argsort(np.abs(here - row.x) / row.spread):
        kept = row.x[i]
        for _ in range(REFINEMENTS if here[i] != kept else 0):
            trials = np.tile(here, (STEPS + 1, 1))
            trials[:, i] += (kept - here[i]) * np.arange(STEPS + 1) / STEPS
            # Through the model's own precision, so that what flips here flips there.
            trials = trials.astype(row.dtype).astype(np.float64)
            flips = np.flatnonzero(row.leads(trials[:-1]) < 0)
            last = int(flips[-1]) if len(flips) else 0
            here, kept = trials[last], trials[last + 1, i]
    return here
