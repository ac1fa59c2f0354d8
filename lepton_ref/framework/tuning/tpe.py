"""The tree-structured Parzen estimator: where were the good settings dense, the bad ones not?

Source: Bergstra, Bardenet, Bengio and Kégl (2011), *Algorithms for hyper-parameter
optimization*. Kernels, bandwidths and the prior are those of Optuna's multivariate sampler with
end points, so that the two can be compared number by number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count, check_rng
from lepton_ref.framework.tuning.spaces import (
    Setting,
    Space,
    check_space,
    sample,
    setting_at,
    unit_point,
)

NORMAL = NormalDist()
cumulative = np.vectorize(NORMAL.cdf, otypes=[np.float64])
quantile = np.vectorize(NORMAL.inv_cdf, otypes=[np.float64])


class Parzen(NamedTuple):
    """A mean of K kernels on the unit cube, each a product of truncated normal densities.

    Attributes
    ----------
    centres, widths : np.ndarray float64 (K, d)
    """

    centres: np.ndarray
    widths: np.ndarray

    def density(self, x: np.ndarray) -> np.ndarray:
        """Density at points (M, d) of the unit cube, (M,) (eq. tuning-parzen)."""
        z = (np.asarray(x, np.float64)[:, None, :] - self.centres) / self.widths  # (M, K, d)
        inside = cumulative((1 - self.centres) / self.widths) - cumulative(
            -self.centres / self.widths
        )  # (K, d): the share of each bell that lies in [0, 1]
        bells = np.exp(-0.5 * z**2) / (math.sqrt(2 * math.pi) * self.widths * inside)
        return bells.prod(axis=2).mean(axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` points, (n, d): choose a kernel, then invert its distribution function."""
        kernel = rng.integers(0, len(self.centres), n)
        centres, widths = self.centres[kernel], self.widths[kernel]
        low, high = cumulative(-centres / widths), cumulative((1 - centres) / widths)
        share = low + rng.random(centres.shape) * (high - low)
        return np.clip(centres + widths * quantile(np.clip(share, 1e-15, 1 - 1e-15)), 0, 1)


def parzen(points: np.ndarray) -> Parzen:
    """A density from a few points of the unit cube (eq. tuning-parzen).

    Parameters
    ----------
    points : array (k, d)
        k may be 0.

    Returns
    -------
    Parzen
        k + 1 kernels. Along each axis a kernel is as wide as the farther of its two neighbours
        (the ends 0 and 1 count) is away, but at least 1 / min(100, k + 2). The last kernel is
        the prior: one broad bell in the middle.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or not points.shape[1] or not ((points >= 0) & (points <= 1)).all():
        raise ArgumentError("parzen", "points", f"shape {points.shape}", "(k, d), in [0, 1]")
    k, d = points.shape
    widths = np.empty((k, d))
    for axis in range(d):
        order = np.argsort(points[:, axis], kind="stable")
        gaps = np.diff(np.concatenate([[0.0], points[order, axis], [1.0]]))  # (k + 1,)
        widths[order, axis] = np.maximum(gaps[:-1], gaps[1:])
    widths = np.clip(widths, 1 / min(100, k + 2), 1.0)
    return Parzen(np.vstack([points, np.full((1, d), 0.5)]), np.vstack([widths, np.ones((1, d))]))


def expected_improvement(good: Any, bad: Any, gamma: float) -> Any:
    """Expected improvement, up to a factor that is the same for all settings.

    (γ + (1 − γ) g(x) / l(x))⁻¹   (eq. tuning-tpe-ei)

    Parameters
    ----------
    good, bad : array or float
        The densities l(x) > 0 and g(x) ≥ 0.
    gamma : float
        Share of the settings that count as good, in (0, 1).
    """
    where = "expected_improvement"
    _check_gamma(where, gamma)
    l, g = np.asarray(good, np.float64), np.asarray(bad, np.float64)
    if not ((l > 0).all() and (g >= 0).all()):
        raise ArgumentError(where, "good, bad", "a density below its range", "l > 0 and g >= 0")
    return 1 / (gamma + (1 - gamma) * g / l)


def tpe_suggest(
    space: Space,
    settings: Sequence[Mapping[str, Any]],
    losses: Sequence[float],
    rng: np.random.Generator,
    *,
    gamma: float = 0.25,
    candidates: int = 24,
    startup: int = 6,
) -> Setting:
    """The setting to try next.

    Parameters
    ----------
    space : mapping of str to Real or Levels
    settings, losses : sequences of equal length
        What has been tried, and what came out; smaller is better, NaN counts as worst.
    rng : numpy.random.Generator
    gamma : float
        Share of the settings that count as good.
    candidates : int
        Points drawn from the good ones' density; the one with the largest expected improvement
        wins (eq. tuning-tpe-ei).
    startup : int
        The first so many settings are drawn at random.

    Returns
    -------
    dict
        A setting that has not been tried, unless all candidates have.

    Raises
    ------
    ArgumentError
        For anything that is wrong with the arguments.
    """
    where = "tpe_suggest"
    check_space(where, space)
    check_rng(where, rng)
    check_count(where, "candidates", candidates)
    check_count(where, "startup", startup)
    _check_gamma(where, gamma)
    if len(settings) != len(losses):
        raise ArgumentError(
            where, "losses", f"{len(losses)} numbers", f"one for each of {len(settings)} settings"
        )
    if len(settings) < max(startup, 2):
        return sample(space, 1, rng)[0]
    points = np.array([unit_point(space, setting) for setting in settings])  # (n, d)
    order = np.argsort(np.asarray(losses, np.float64), kind="stable")  # NaN goes last
    count = min(math.ceil(gamma * len(order)), len(order) - 1)
    good, bad = parzen(points[order[:count]]), parzen(points[order[count:]])
    drawn = [setting_at(space, u) for u in good.sample(candidates, rng)]
    x = np.array([unit_point(space, setting) for setting in drawn])  # in the middle of levels
    best_first = np.argsort(-expected_improvement(good.density(x), bad.density(x), gamma))
    fresh = [drawn[i] for i in best_first if drawn[i] not in settings]
    return fresh[0] if fresh else drawn[best_first[0]]


def _check_gamma(where: str, gamma: Any) -> None:
    number = isinstance(gamma, (int, float, np.floating)) and not isinstance(gamma, bool)
    if not (number and 0 < gamma < 1):
        raise ArgumentError(where, "gamma", f"the value {gamma!r}", "a number in (0, 1)")
