"""Successive halving and Hyperband: stop the bad ones early, train the good ones longer.

Sources: Jamieson and Talwalkar (2016), *Non-stochastic best arm identification and
hyperparameter optimization*; Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar (2018),
*Hyperband*; Li et al. (2020), *A system for massively parallel hyperparameter tuning* (ASHA).
The papers call the factor η, which is the learning rate here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count


class Rung(NamedTuple):
    """So many settings, each trained with so much: epochs, rows or steps."""

    size: int
    resource: int


class Halving(NamedTuple):
    """What successive halving did.

    Attributes
    ----------
    best, numbers, losses : int, list of np.ndarray, list of np.ndarray
        The number of the setting that is left, or leads the last rung; and one entry per rung:
        the settings trained there, int (size,), and their losses, float64 (size,).
    """

    best: int
    numbers: list[np.ndarray]
    losses: list[np.ndarray]


def rungs(n: int, resource: int, largest: int, factor: int = 3) -> list[Rung]:
    """The schedule: ⌊n / cᵏ⌋ settings with r·cᵏ each, while that is at most ``largest``.

    Parameters
    ----------
    n : int
        Settings at the start.
    resource, largest : int
        What each gets on the first rung, and the most that any gets.
    factor : int
        c: one in so many goes on. At least 2.
    """
    where = "rungs"
    check_count(where, "n", n)
    check_count(where, "resource", resource)
    check_count(where, "largest", largest, resource)
    check_count(where, "factor", factor, 2)
    found, power = [], 1
    while n // power and resource * power <= largest:
        found.append(Rung(n // power, resource * power))
        power *= factor
    return found


def cost(schedule: Sequence[Rung], resume: bool = False) -> int:
    """Resource that a schedule uses in all.

    At most n·r·(s + 1) when each rung trains from scratch (eq. tuning-halving-budget), and
    n·r·(1 + s (1 − 1/c)) when it goes on where the rung before stopped
    (eq. tuning-halving-resumed).
    """
    if not schedule:
        raise ArgumentError("cost", "schedule", "no rung", "the result of `rungs`")
    before = [0, *(rung.resource for rung in schedule[:-1])]
    return sum(
        rung.size * (rung.resource - (done if resume else 0))
        for rung, done in zip(schedule, before)
    )


def successive_halving(
    evaluate: Callable[[int, int], float], n: int, resource: int, largest: int, factor: int = 3
) -> Halving:
    """Train all a little, keep the best share, train those longer, and so on.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(number, resource) -> loss`` of setting ``number`` (0 to n − 1), trained with
        ``resource`` in all; it may go on from what it did for the rung before. NaN and infinity
        mean that it failed, and lose to every number.
    n, resource, largest, factor
        See :func:`rungs`.

    Returns
    -------
    Halving
        The best setting survives as long as no intermediate loss is farther from its final one
        than half the gap to the settings that may be dropped (eq. tuning-halving-survival).
    """
    schedule = rungs(n, resource, largest, factor)
    left = np.arange(n)
    numbers, losses = [], []
    for rung in schedule:
        left = left[: rung.size]
        found = np.array([float(evaluate(int(i), rung.resource)) for i in left])
        numbers.append(left)
        losses.append(found)
        left = left[np.argsort(np.where(np.isnan(found), np.inf, found), kind="stable")]
    return Halving(int(left[0]), numbers, losses)


def hyperband_brackets(largest: int, factor: int = 3) -> list[list[Rung]]:
    """Hyperband's schedules, from the most daring to plain random search.

    Bracket s starts ⌈(s_max + 1) cˢ / (s + 1)⌉ settings with R / cˢ each
    (eq. tuning-hyperband); every bracket costs about (s_max + 1) R.

    Parameters
    ----------
    largest : int
        R, the most that one setting gets, in units of the least.
    factor : int
        c, at least 2.

    Returns
    -------
    list of list of Rung
        For s = s_max, ..., 0 with s_max = ⌊log R / log c⌋.
    """
    check_count("hyperband_brackets", "largest", largest)
    check_count("hyperband_brackets", "factor", factor, 2)
    most = 0
    while factor ** (most + 1) <= largest:  # whole numbers: log(243, 3) is 4.999... in floats
        most += 1
    brackets = []
    for s in range(most, -1, -1):
        n = -(-(most + 1) * factor**s // (s + 1))
        brackets.append([Rung(n // factor**i, largest // factor ** (s - i)) for i in range(s + 1)])
    return brackets


def promote(loss: float, seen: Sequence[float], factor: int = 3) -> bool:
    """Whether a setting may go on now, without waiting for the rung to fill (eq. tuning-asha).

    Parameters
    ----------
    loss : float
        What it reached on this rung.
    seen : sequence of float
        What others have reached on it so far.
    factor : int

    Returns
    -------
    bool
        True when it is among the best ⌊m / c⌋ of the m seen, itself included; the very best
        goes on even when ⌊m / c⌋ is 0. A NaN never does.
    """
    check_count("promote", "factor", factor, 2)
    if math.isnan(loss):
        return False
    places = max(1, (len(seen) + 1) // factor)
    return sum(other < loss for other in seen) < places


def safe_envelope(losses: Any, keep: int) -> float:
    """How wrong intermediate losses may be before the best setting can be dropped.

    (ν₍ₘ₊₁₎ − ν₍₁₎) / 2 for a rung that keeps m (eq. tuning-halving-survival).

    Parameters
    ----------
    losses : array (n,)
        Final losses ν of the settings on the rung.
    keep : int
        m, from 1 to n − 1.
    """
    where = "safe_envelope"
    values = np.sort(np.asarray(losses, np.float64))
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ArgumentError(where, "losses", f"shape {values.shape}", "2 or more finite numbers")
    keep = check_count(where, "keep", keep)
    if keep >= len(values):
        raise ArgumentError(where, "keep", f"the value {keep}", f"below {len(values)}")
    return float(values[keep] - values[0]) / 2
