"""How sure an error rate of pairs is: people drawn again, never pairs.

One picture stands in many pairs and one person in more, so pairs are not independent, and an
interval that draws pairs is far too narrow. People are what was sampled from the world; so
people are what the bootstrap draws.

Source: Efron (1979), *Bootstrap methods: another look at the jackknife*; Hoeffding (1948), *A
class of statistics with asymptotically normal distribution*; Owen (2007), *The pigeonhole
bootstrap*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import Interval
from lepton_ref.vision.faces.verification import ErrorCurve, Pairs

Statistic = Callable[[ErrorCurve], float]


def draw_people(people: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of K people is drawn in each resample: int64 (resamples, K), rows sum to K."""
    return rng.multinomial(people, np.full(people, 1 / people), size=resamples)


def pair_weights(pairs: Pairs, drawn: np.ndarray) -> np.ndarray:
    """How often each pair occurs when person k is drawn m_k times (eq. faces-bootstrap-weights).

    A genuine pair of person k comes once with each copy of that person: m_k. An impostor pair of
    k and l comes once for each copy of the one and each of the other: m_k m_l. Pairs *across* two
    copies of one person are left out: they are no impostors, and as genuine pairs they would hold
    pictures that are compared with themselves.

    Parameters
    ----------
    pairs : Pairs
    drawn : int array (K,)
        For the people in the order of ``np.unique(pairs.subjects)``.

    Returns
    -------
    ndarray (P,), int64
    """
    _, k = np.unique(pairs.subjects, return_inverse=True)
    m = drawn[k]
    return m[pairs.first] * np.where(pairs.genuine, 1, m[pairs.second])


def identity_intervals(
    folds: Pairs | Sequence[Pairs],
    statistics: Mapping[str, Statistic],
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Confidence intervals of statistics of the error curve, by drawing people again.

    Parameters
    ----------
    folds : Pairs or sequence of Pairs
        One set, or the test sets of several folds. Scores of two networks do not compare, so
        each fold has a curve of its own, its own people are drawn, and the statistic is the
        mean over the folds.
    statistics : mapping of str to callable
        Each takes an :class:`ErrorCurve` and gives a rate, 0 to 1; :func:`equal_error_rate`, or
        ``lambda curve: operating_point(curve, 0.01, 2800).true_accept``.
    rng : numpy.random.Generator
    resamples : int
    confidence : float

    Returns
    -------
    dict of str to Interval
        With the estimate e and the percentiles a < b over the resamples: 2e − b to 2e − a
        (eq. faces-basic-interval), cut at 0 and 1. A statistic that picks its threshold on the
        pairs that it judges flatters, and a resample, which has fewer different people, flatters
        more. Percentiles would move with it, away from the truth; these ends move back. With
        eight people in a fold some of the flattery is left, and another training is not covered
        at all.

    Raises
    ------
    ArgumentError
        For fewer than three people in a fold, settings out of range, or a statistic that is no
        rate.
    """
    where = "identity_intervals"
    sets = _sets(where, folds, rng, resamples, confidence)
    if not statistics:
        raise ArgumentError(where, "statistics", "none", "at least one")
    estimate = dict.fromkeys(statistics, 0.0)
    total = {name: np.zeros(resamples) for name in statistics}
    for pairs in sets:
        sample = _Sorted(pairs)
        for name, statistic in statistics.items():
            estimate[name] += statistic(pairs.curve) / len(sets)
        for i in range(resamples):
            curve = sample.curve(rng)
            for name, statistic in statistics.items():
                total[name][i] += statistic(curve) / len(sets)
    found = {}
    for name, drawn in total.items():
        if not ((drawn > -1e-9) & (drawn < 1 + 1e-9)).all():  # sums of fifths, to their rounding
            raise ArgumentError(where, "statistics", f"{name}, which is no rate", "0 to 1")
        low, high = _percentiles(drawn, confidence)
        e = estimate[name]
        found[name] = Interval(max(0.0, 2 * e - high), min(1.0, 2 * e - low))
    return found


def threshold_intervals(
    folds: Pairs | Sequence[Pairs],
    thresholds: float | Sequence[float],
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Intervals of FAR and FRR at given thresholds, by drawing people again.

    The threshold does not move with the people that are drawn: it was chosen on others. So nothing
    flatters, and the percentiles themselves are the ends. All that a resample needs is a count
    per pair of people, and all resamples together are one matrix product. What is peculiar to
    single pairs of people counts up to three times in the variance of the FAR
    (eqs. faces-bootstrap-variance and faces-bootstrap-factor), which makes its interval rather
    too wide than too narrow.

    Parameters
    ----------
    folds, rng, resamples, confidence
        As in :func:`identity_intervals`.
    thresholds : float, or one for each fold

    Returns
    -------
    dict with ``"false_accept"`` and ``"false_reject"``
    """
    where = "threshold_intervals"
    sets = _sets(where, folds, rng, resamples, confidence)
    cuts = [float(t) for t in np.atleast_1d(np.asarray(thresholds, np.float64))]
    if len(cuts) != len(sets) or np.isnan(cuts).any():
        raise ArgumentError(
            where, "thresholds", f"the value {thresholds!r}", f"{len(sets)} numbers, one per fold"
        )
    far, frr = np.zeros(resamples), np.zeros(resamples)
    for pairs, cut in zip(sets, cuts, strict=True):
        impostor_hits, impostors, genuine_misses, genuine = _blocks(pairs, cut)
        m = _usable(pairs, resamples, rng).astype(np.float64)  # (B, K)
        far += ((m @ impostor_hits) * m).sum(axis=1) / ((m @ impostors) * m).sum(axis=1)
        frr += (m @ genuine_misses) / (m @ genuine)
    return {
        "false_accept": _percentiles(far / len(sets), confidence),
        "false_reject": _percentiles(frr / len(sets), confidence),
    }


class PairComponents(NamedTuple):
    """Where the uncertainty of a false acceptance rate comes from.

    Attributes
    ----------
    shared : float
        ζ₁, the covariance of two pairs of people that have one person in common.
    own : float
        ζ₂, the variance of one pair of people.
    error : float
        Standard error of the FAR from both.
    naive_error : float
        √(FAR (1 − FAR) / pairs of pictures), as if these were independent.
    """

    shared: float
    own: float
    error: float
    naive_error: float


def pair_components(pairs: Pairs, threshold: float) -> PairComponents:
    """Estimate what a person and what a pair of people add to the spread of the FAR.

    Let h(k, l) be the share of the pairs of pictures of persons k and l that are accepted. Means
    of products over pairs of people with one person in common, and over pairs with none, differ
    by ζ₁; the mean square and the same differ by ζ₂. Both estimates are unbiased when all
    people have as many pictures.

    Raises
    ------
    ArgumentError
        For fewer than four people.
    """
    hits, total, _, _ = _blocks(pairs, threshold)
    K = len(hits)
    if K < 4:
        raise ArgumentError("pair_components", "pairs", f"{K} people", "at least 4")
    hits, total = hits + hits.T, total + total.T
    h = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)  # (K, K), diagonal 0
    rows, squares = h.sum(axis=1), (h * h).sum()
    ordered = K * (K - 1)
    disjoint = (h.sum() ** 2 - 4 * (rows**2).sum() + 2 * squares) / (ordered * (K - 2) * (K - 3))
    shared = ((rows**2).sum() - squares) / (ordered * (K - 2)) - disjoint
    own = squares / ordered - disjoint
    rate = hits.sum() / total.sum()
    return PairComponents(
        float(shared),
        float(own),
        float(np.sqrt(max(pair_mean_variance(K, shared, own), 0.0))),
        float(np.sqrt(rate * (1 - rate) / (total.sum() / 2))),
    )


def pair_mean_variance(people: int, shared: float, own: float) -> float:
    """Variance of the mean over all K(K − 1)/2 pairs of people (eq. faces-pair-variance).

    Var = 2 / (K (K − 1)) · (2 (K − 2) ζ₁ + ζ₂)

    Were pairs independent, the first term would be missing.

    Parameters
    ----------
    people : int
        K, at least 2.
    shared, own : float
        ζ₁, the covariance of two pairs that share one person, and ζ₂, the variance of one pair.
    """
    if type(people) is not int or people < 2:
        raise ArgumentError("pair_mean_variance", "people", f"the value {people!r}", "at least 2")
    return 2 / (people * (people - 1)) * (2 * (people - 2) * shared + own)


class _Sorted:
    """Pairs sorted by score once, so that a resample costs two running sums."""

    def __init__(self, pairs: Pairs) -> None:
        order = np.argsort(-pairs.scores, kind="stable")
        s = pairs.scores[order]
        _, k = np.unique(pairs.subjects, return_inverse=True)
        self.pairs = pairs
        self.last = np.append(np.flatnonzero(s[1:] != s[:-1]), len(s) - 1)  # of equal scores
        self.thresholds = np.append(np.inf, s[self.last])
        self.genuine = pairs.genuine[order]
        self.first, self.second = k[pairs.first[order]], k[pairs.second[order]]

    def curve(self, rng: np.random.Generator) -> ErrorCurve:
        """The error curve of one resample, at the scores of the sample."""
        m = _usable(self.pairs, 1, rng)[0]
        w = m[self.first]  # a genuine pair comes with each copy of its person
        impostor = np.where(self.genuine, 0, w * m[self.second])
        hits = np.cumsum(np.where(self.genuine, w, 0))[self.last]
        alarms = np.cumsum(impostor)[self.last]
        return ErrorCurve(
            np.append(0.0, alarms / alarms[-1]),
            np.append(1.0, 1.0 - hits / hits[-1]),
            self.thresholds,
        )


def _usable(pairs: Pairs, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (resamples, K) in which both a genuine and an impostor pair occur."""
    _, counts = np.unique(pairs.subjects, return_counts=True)
    several = counts > 1  # people with genuine pairs
    drawn = draw_people(len(counts), resamples, rng)
    while True:
        bad = (drawn[:, several].sum(axis=1) == 0) | ((drawn > 0).sum(axis=1) < 2)
        if not bad.any():
            return drawn
        drawn[bad] = draw_people(len(counts), int(bad.sum()), rng)


def _blocks(pairs: Pairs, threshold: float) -> tuple[np.ndarray, ...]:
    """Counts per pair of people (K, K) and per person (K,): accepted and all, refused and all."""
    people, k = np.unique(pairs.subjects, return_inverse=True)
    K = len(people)
    accepted = pairs.scores >= threshold
    cell = k[pairs.first] * K + k[pairs.second]

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(cell[chosen], minlength=K * K).reshape(K, K).astype(np.float64)

    return (
        count(accepted & ~pairs.genuine),
        count(~pairs.genuine),
        np.diag(count(~accepted & pairs.genuine)).copy(),
        np.diag(count(pairs.genuine)).copy(),
    )


def _sets(
    where: str,
    folds: Pairs | Sequence[Pairs],
    rng: Any,
    resamples: Any,
    confidence: Any,
) -> list[Pairs]:
    sets = [folds] if isinstance(folds, Pairs) else list(folds)
    if not sets or not all(isinstance(pairs, Pairs) for pairs in sets):
        raise ArgumentError(where, "folds", "no pairs", "Pairs, or a sequence of them")
    fewest = min(len(np.unique(pairs.subjects)) for pairs in sets)
    if fewest < 3:
        raise ArgumentError(where, "folds", f"{fewest} people in one of them", "at least 3")
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(where, "rng", f"type {type(rng).__name__}", "a numpy.random.Generator")
    if type(resamples) is not int or resamples < 1:
        raise ArgumentError(where, "resamples", f"the value {resamples!r}", "at least 1")
    if not isinstance(confidence, float) or not 0 < confidence < 1:
        raise ArgumentError(where, "confidence", f"the value {confidence!r}", "between 0 and 1")
    return sets


def _percentiles(drawn: np.ndarray, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(low), float(high))
