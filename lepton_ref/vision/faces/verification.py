"""Judging verification: all pairs of a labelled set, their error rates, and a threshold.

A pair is *genuine* when both pictures show one person, an *impostor* pair otherwise. A pair is
accepted when its score is at least the threshold. Nothing here knows a network: scores may come
from embeddings, pixels or anything else that is larger for more alike.

Source: Martin, Doddington, Kamm, Ordowski and Przybocki (1997), *The DET curve in assessment of
detection task performance*.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import roc_curve
from lepton_ref.framework.evaluation.inputs import host, same_length


class ErrorCurve(NamedTuple):
    """Both error rates as the threshold falls, one point per distinct score.

    Attributes
    ----------
    false_accept, false_reject : float64 (G + 1,)
        FAR rises from 0 to 1, FRR falls from 1 to 0.
    thresholds : float64 (G + 1,)
        Infinity, which accepts nothing, and then the distinct scores, falling.
    """

    false_accept: np.ndarray
    false_reject: np.ndarray
    thresholds: np.ndarray


class OperatingPoint(NamedTuple):
    """Where a threshold puts the two error rates.

    Attributes
    ----------
    threshold : float
        Accepts scores of at least this; half-way between two scores of the sample.
    false_accept, true_accept : float
        FAR and TAR = 1 − FRR that the sample has there.
    resolved : bool
        Whether the sample has impostor pairs enough for the rate that was asked for. With Q of
        them, no rate between 0 and 1/Q can be seen.
    """

    threshold: float
    false_accept: float
    true_accept: float
    resolved: bool


class Rates(NamedTuple):
    """What a threshold does to pairs that had no say in it: FAR, FRR, and counts of pairs."""

    false_accept: float
    false_reject: float
    genuine: int
    impostor: int


@dataclass(frozen=True)
class Pairs:
    """Every pair of a labelled set, and its score.

    Attributes
    ----------
    scores : float64 (P,)
        Larger means more alike.
    genuine : bool (P,)
        Both pictures show one person.
    first, second : int64 (P,)
        Rows of the two pictures, first < second.
    subjects : array (N,)
        Whose picture each row is.
    """

    scores: np.ndarray
    genuine: np.ndarray
    first: np.ndarray
    second: np.ndarray
    subjects: np.ndarray

    @functools.cached_property
    def curve(self) -> ErrorCurve:
        """Both error rates at every threshold."""
        return error_curve(self.scores, self.genuine)


def unit_vectors(
    vectors: Any, where: str = "unit_vectors", argument: str = "vectors"
) -> np.ndarray:
    """Each row divided by its length, float64.

    Parameters
    ----------
    vectors : float array (N, D)
    where, argument : str
        What an error names.

    Raises
    ------
    ArgumentError
        For another shape, NaN or infinity, or a zero vector, which points nowhere.
    """
    x = host(vectors)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype.kind not in "fiu":
        raise ArgumentError(
            where, argument, f"shape {x.shape} and dtype {x.dtype}", "numbers (N, D)"
        )
    x = x.astype(np.float64)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise ArgumentError(
            where, argument, f"NaN or infinity in row {int(bad.argmax())}", "finite numbers"
        )
    largest = np.abs(x).max(axis=1, keepdims=True)
    if (largest == 0).any():
        raise ArgumentError(
            where, argument, f"only zeros in row {int((largest[:, 0] == 0).argmax())}",
            "vectors with a direction",
        )  # fmt: skip
    x /= largest  # so that no square overflows or vanishes
    return x / np.sqrt((x * x).sum(axis=1, keepdims=True))


def cosine_similarity(a: Any, b: Any = None) -> np.ndarray:
    """Cosine of the angle between every row of `a` and every row of `b`.

    Parameters
    ----------
    a : float array (N, D)
    b : float array (M, D), optional
        Default: `a` itself.

    Returns
    -------
    ndarray (N, M), float64, in [−1, 1]
        The dot products of the unit vectors (eq. faces-cosine); the squared distance between
        these is two less twice as much (eq. faces-distance).

    Raises
    ------
    ArgumentError
        For vectors of different lengths, not finite, or zero.
    """
    where = "cosine_similarity"
    u = unit_vectors(a, where, "a")
    v = u if b is None else unit_vectors(b, where, "b")
    if u.shape[1] != v.shape[1]:
        raise ArgumentError(where, "b", f"{v.shape[1]} columns", f"{u.shape[1]}, as `a` has")
    return np.clip(u @ v.T, -1.0, 1.0)


def pairs_from_similarity(similarity: Any, subjects: Any) -> Pairs:
    """Every unordered pair of pictures, genuine when the subjects are equal.

    Parameters
    ----------
    similarity : float array (N, N)
        Entry [i, j] is larger the more alike pictures i and j are; symmetric.
    subjects : int array (N,)

    Raises
    ------
    ArgumentError
        When the matrix is not square, symmetric and finite, the labels do not fit, or there is
        no genuine or no impostor pair.
    """
    where = "pairs_from_similarity"
    s, who = host(similarity, where, "similarity"), _subjects(where, subjects)
    if s.shape != (len(who), len(who)) or s.dtype.kind not in "fiu":
        raise ArgumentError(
            where, "similarity", f"shape {s.shape} and dtype {s.dtype}",
            f"numbers ({len(who)}, {len(who)}), a row and a column for each picture",
        )  # fmt: skip
    first, second = np.triu_indices(len(who), k=1)
    scores = s[first, second].astype(np.float64)
    if not np.isfinite(scores).all():
        raise ArgumentError(where, "similarity", "NaN or infinity", "finite numbers")
    if not np.allclose(scores, s[second, first], rtol=1e-5, atol=1e-8):
        raise ArgumentError(where, "similarity", "two values for one pair", "a symmetric matrix")
    genuine = who[first] == who[second]
    if genuine.all() or not genuine.any():
        lack = "impostor" if genuine.all() else "genuine"
        raise ArgumentError(
            where, "subjects", f"no {lack} pair", "two people, and two pictures of one of them"
        )
    return Pairs(scores, genuine, first, second, who)


def all_pairs(embeddings: Any, subjects: Any) -> Pairs:
    """Every unordered pair of pictures, scored by the cosine of their embeddings.

    Parameters
    ----------
    embeddings : float array (N, D)
    subjects : int array (N,)

    Raises
    ------
    ArgumentError
        As :func:`cosine_similarity` and :func:`pairs_from_similarity`.
    """
    similarity = cosine_similarity(embeddings)
    return pairs_from_similarity(similarity, _subjects("all_pairs", subjects, len(similarity)))


def error_curve(scores: Any, genuine: Any) -> ErrorCurve:
    """FAR and FRR as the threshold falls past every score (eq. faces-rates).

    The ROC curve is (FAR, 1 − FRR).

    Parameters
    ----------
    scores : float array (P,)
    genuine : bool array (P,)
        Both kinds must occur.
    """
    far, tar, thresholds = roc_curve(scores, genuine)
    return ErrorCurve(far, 1.0 - tar, thresholds)


def equal_error_rate(curve: ErrorCurve) -> float:
    """The rate at which FAR and FRR are equal, between two points of the curve if need be.

    FAR − FRR rises from −1 to 1 along the curve. Where it changes sign, between the points
    g − 1 and g, the line that joins them crosses FAR = FRR in exactly one point, and its
    coordinate is the EER (eq. faces-eer). It lies on the ROC polygon, so no choice of
    thresholds is in it.
    """
    return _crossing(curve)[0]


def equal_error_point(curve: ErrorCurve) -> OperatingPoint:
    """The threshold of the sample whose FAR and FRR are least apart; the smaller FAR of two."""
    _, g = _crossing(curve)
    gap = np.abs(curve.false_accept - curve.false_reject)
    g = g - 1 if gap[g - 1] <= gap[g] else g
    return _point(curve, g, True)


def operating_point(curve: ErrorCurve, far: float, impostors: int) -> OperatingPoint:
    """The lowest threshold whose FAR on this sample is at most `far`, and the TAR it buys.

    Parameters
    ----------
    curve : ErrorCurve
    far : float
        The rate of impostors that may pass, 0 to 1.
    impostors : int
        Number of impostor pairs behind the curve; ``int((~pairs.genuine).sum())``.

    Returns
    -------
    OperatingPoint
        ``resolved`` is False when `far` is below 1/impostors: then not one impostor of the
        sample may pass, and the sample cannot tell this rate from 0.
    """
    where = "operating_point"
    if not isinstance(far, float | int) or isinstance(far, bool) or not 0 <= far <= 1:
        raise ArgumentError(where, "far", f"the value {far!r}", "a rate, 0 to 1")
    if not isinstance(impostors, int | np.integer) or impostors < 1:
        raise ArgumentError(where, "impostors", f"the value {impostors!r}", "at least 1")
    # A share of a whole number of pairs may miss `far` by its rounding.
    g = int(np.searchsorted(curve.false_accept, far * (1 + 1e-12), side="right")) - 1
    return _point(curve, g, far * impostors >= 1 - 1e-9)


def tar_at_far(pairs: Pairs, far: float) -> OperatingPoint:
    """True acceptance rate at a false acceptance rate of at most `far`, on these pairs."""
    return operating_point(pairs.curve, far, int((~pairs.genuine).sum()))


def choose_threshold(validation: Pairs, far: float | None = None) -> OperatingPoint:
    """A threshold from pairs of *validation* people; hand it to :func:`rates_at` on test people.

    Parameters
    ----------
    validation : Pairs
        Of people who are neither trained on nor tested.
    far : float, optional
        The rate of impostors that may pass; without it FAR and FRR are brought together.
    """
    return equal_error_point(validation.curve) if far is None else tar_at_far(validation, far)


def rates_at(pairs: Pairs, threshold: float) -> Rates:
    """Both error rates at a threshold that was chosen elsewhere.

    Raises
    ------
    ArgumentError
        When the threshold is not a number.
    """
    if not isinstance(threshold, float | int | np.floating) or np.isnan(threshold):
        raise ArgumentError("rates_at", "threshold", f"the value {threshold!r}", "a number")
    accepted = pairs.scores >= threshold
    return Rates(
        float(accepted[~pairs.genuine].mean()),
        float((~accepted[pairs.genuine]).mean()),
        int(pairs.genuine.sum()),
        int((~pairs.genuine).sum()),
    )


def probit(rates: Any) -> np.ndarray:
    """Quantiles of the normal distribution: the axes of a DET plot.

    Scores that are normal in both kinds of pairs give a straight line there (eq. faces-det-line),
    and it says what their EER is (eq. faces-eer-normal).

    Parameters
    ----------
    rates : float array, any shape, in [0, 1]

    Returns
    -------
    ndarray, float64
        −∞ for 0 and ∞ for 1, which no plot shows.
    """
    p = np.asarray(host(rates), np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ArgumentError("probit", "rates", "values outside 0 to 1", "rates")
    quantile = NormalDist().inv_cdf
    flat = [quantile(v) if 0 < v < 1 else (-np.inf if v == 0 else np.inf) for v in p.ravel()]
    return np.array(flat, np.float64).reshape(p.shape)


def _subjects(where: str, subjects: Any, n: int | None = None) -> np.ndarray:
    who = host(subjects, where, "subjects")
    if who.ndim != 1 or who.size == 0 or who.dtype.kind not in "iu":
        raise ArgumentError(
            where, "subjects", f"shape {who.shape} and dtype {who.dtype}",
            "one whole number for each picture",
        )  # fmt: skip
    if n is not None:
        same_length(where, "subjects", who, n)
    return who


def _crossing(curve: ErrorCurve) -> tuple[float, int]:
    """The EER, and the first point at which FAR is no longer below FRR."""
    gap = curve.false_accept - curve.false_reject  # (G + 1,), rises from -1 to 1
    g = int(np.argmax(gap >= 0))
    share = -gap[g - 1] / (gap[g] - gap[g - 1])
    far = curve.false_accept
    return float(far[g - 1] + share * (far[g] - far[g - 1])), g


def _point(curve: ErrorCurve, g: int, resolved: bool) -> OperatingPoint:
    """Point g of a curve, its threshold moved half-way down to the next score.

    On the sample nothing changes. On new people the lowest score that was accepted is no longer
    refused when it comes out a rounding lower.
    """
    t = curve.thresholds
    if g == 0:  # accepts nothing that was seen
        threshold = float(np.nextafter(t[1], np.inf))
    elif g == len(t) - 1:
        threshold = float(t[g])
    else:
        threshold = float(t[g + 1] + (t[g] - t[g + 1]) / 2)
        if threshold <= t[g + 1]:  # two neighbours among the floating-point numbers
            threshold = float(t[g])
    return OperatingPoint(
        threshold, float(curve.false_accept[g]), float(1 - curve.false_reject[g]), bool(resolved)
    )
