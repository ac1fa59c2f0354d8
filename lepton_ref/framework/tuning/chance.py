"""What luck does in a search: how far it carries, and how much of the best score it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count, check_strength


def _share(where: str, name: str, value: Any, zero: bool = False) -> float:
    number = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not (number and (0 <= value < 1 if zero else 0 < value < 1)):
        accepted = "a number in [0, 1)" if zero else "a number in (0, 1)"
        raise ArgumentError(where, name, f"the value {value!r}", accepted)
    return float(value)


def best_of_n_probability(n: int, top: float) -> float:
    """Chance that the best of n independent draws lies in the best share ``top`` of all.

    1 − (1 − q)ⁿ   (eq. tuning-best-of-n)

    The number of hyper-parameters does not occur in it.
    """
    where = "best_of_n_probability"
    n, top = check_count(where, "n", n), _share(where, "top", top)
    return -math.expm1(n * math.log1p(-top))


def draws_needed(probability: float, top: float) -> int:
    """Draws after which one lies in the best share ``top`` with this probability.

    n = ⌈ln(1 − p) / ln(1 − q)⌉   (eq. tuning-draws-needed)
    """
    where = "draws_needed"
    probability, top = _share(where, "probability", probability), _share(where, "top", top)
    return max(1, math.ceil(math.log1p(-probability) / math.log1p(-top) - 1e-12))


def expected_distance(n: int) -> float:
    """Mean distance from a uniform optimum to the nearest of n random values on [0, 1].

    (n + 3) / (2 (n + 1) (n + 2))   (eq. tuning-nearest)

    The middles of m equal parts are 1 / (4m) away; a grid of n points in d dimensions has
    m = n^(1/d).
    """
    n = check_count("expected_distance", "n", n)
    return (n + 3) / (2 * (n + 1) * (n + 2))


def expected_maximum(n: int, deviation: float = 1.0, correlation: float = 0.0) -> float:
    """Expected largest of n normal numbers of mean 0.

    σ √(1 − ρ) ∫ z n φ(z) Φ(z)ⁿ⁻¹ dz   (eq. tuning-expected-maximum, eq. tuning-correlated)

    Parameters
    ----------
    n : int
    deviation : float
        σ, the standard deviation of each.
    correlation : float
        ρ between any two, in [0, 1): what the same validation rows do to all settings alike.
    """
    where = "expected_maximum"
    n = check_count(where, "n", n)
    deviation = check_strength(where, "deviation", deviation)
    correlation = _share(where, "correlation", correlation, zero=True)
    z = np.linspace(-12.0, 12.0, 6001)  # the trapezoid rule is exact here to rounding
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
    integral = float(np.sum(z * n * density * below ** (n - 1)) * (z[1] - z[0]))
    return deviation * math.sqrt(1 - correlation) * integral


def selection_bias(n: int, noise: float, spread: float = 0.0) -> float:
    """By how much the best of n noisy scores exceeds the winner's true score, on average.

    σ² / √(σ² + τ²) · E[largest of n standard normals]   (eq. tuning-selection-bias)

    Parameters
    ----------
    n : int
        Settings compared.
    noise : float
        σ, the standard error of one score: for an accuracy p on V rows, √(p (1 − p) / V).
    spread : float
        τ, the standard deviation of the true scores between settings.
    """
    where = "selection_bias"
    noise = check_strength(where, "noise", noise)
    spread = check_strength(where, "spread", spread)
    total = math.hypot(noise, spread)
    return noise**2 / total * expected_maximum(n) if total else 0.0 * check_count(where, "n", n)


def expected_best(losses: Any, n: int) -> float:
    """Mean over all choices of n of the N losses of the smallest among them.

    Σᵢ v₍ᵢ₎ C(N − i, n − 1) / C(N, n)   (eq. tuning-expected-best)

    One long random search, read as many short ones.

    Parameters
    ----------
    losses : array (N,)
        Smaller is better; an infinite loss (a run that diverged) may count among them.
    n : int
        1 to N.
    """
    where = "expected_best"
    values = np.asarray(losses, np.float64)
    if values.ndim != 1 or not len(values) or np.isnan(values).any():
        raise ArgumentError(where, "losses", f"shape {values.shape}", "numbers (N,) without NaN")
    n, size = check_count(where, "n", n), len(values)
    if n > size:
        raise ArgumentError(where, "n", f"the value {n}", f"at most the {size} losses given")
    ways = math.comb(size, n)
    weights = [math.comb(size - i, n - 1) / ways for i in range(1, size + 1)]
    return float(sum(w * v for w, v in zip(weights, np.sort(values)) if w))
