"""Metrics, curves and intervals: proofs, parity with scikit-learn and SciPy, bad input."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import (
    accuracy,
    auc,
    bootstrap_interval,
    brier,
    calibration,
    confusion_matrix,
    mann_whitney,
    precision_recall_f1,
    roc_curve,
    wilson_interval,
)
from tests.numeric import numerical_gradient

metrics = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")


@pytest.fixture
def classified(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Predictions right in most rows; class 4 is rare."""
    truth = rng.choice(5, size=300, p=[0.3, 0.3, 0.2, 0.18, 0.02])
    return np.where(rng.random(300) < 0.7, truth, rng.integers(0, 5, 300)), truth


@pytest.fixture
def scored(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties."""
    labels = rng.integers(0, 2, 200)
    return np.round(labels + rng.normal(size=200), 1), labels


# --- proofs ------------------------------------------------------------------------------


@pytest.mark.equation("evaluation-trace")
def test_accuracy_is_the_diagonal_of_the_confusion_matrix(prove, classified) -> None:
    predicted, truth = classified
    counts = [[np.sum((truth == j) & (predicted == k)) for k in range(5)] for j in range(5)]
    assert np.array_equal(confusion_matrix(predicted, truth), counts)
    prove(accuracy(predicted, truth), np.trace(counts) / np.sum(counts), oracle="closed form")
    prove(accuracy(predicted, truth), metrics.accuracy_score(truth, predicted), "scikit-learn")


@pytest.mark.equation("evaluation-f1")
def test_f1_is_the_harmonic_mean(prove, classified) -> None:
    predicted, truth = classified
    found = precision_recall_f1(predicted, truth)
    hits = np.array([np.sum((predicted == k) & (truth == k)) for k in range(5)])
    precision = hits / np.array([np.sum(predicted == k) for k in range(5)])
    recall = hits / np.array([np.sum(truth == k) for k in range(5)])
    prove(found.f1, 2 / (1 / precision + 1 / recall), oracle="closed form", tol=1e-12)
    theirs = metrics.precision_recall_fscore_support(truth, predicted)
    prove(tuple(found), tuple(theirs), oracle="scikit-learn", tol=1e-12)


@pytest.mark.equation("evaluation-micro")
def test_micro_averages_are_the_accuracy(prove, classified) -> None:
    predicted, truth = classified
    micro = precision_recall_f1(predicted, truth, average="micro")
    share = np.mean(predicted == truth)
    prove(np.array(micro[:3]), np.full(3, share), oracle="closed form", tol=1e-12)
    theirs = metrics.precision_recall_fscore_support(truth, predicted, average="micro")
    prove(tuple(micro[:3]), tuple(theirs[:3]), oracle="scikit-learn", tol=1e-12)


def binomial(n: int, p: float) -> np.ndarray:
    """Chance of k right rows, k = 0 .. n."""
    return np.array([comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])


@pytest.mark.equation("evaluation-variance")
@pytest.mark.parametrize(("n", "p"), [(1, 0.3), (7, 0.5), (40, 0.93)])
def test_variance_of_an_accuracy(prove, n: int, p: float) -> None:
    share = np.arange(n + 1) / n
    exact = np.sum(binomial(n, p) * (share - p) ** 2)
    prove(p * (1 - p) / n, exact, oracle="sum over all outcomes", tol=1e-12)


@pytest.mark.equation("evaluation-wilson")
@pytest.mark.parametrize(
    ("k", "n", "confidence"), [(42, 50, 0.95), (0, 10, 0.9), (12, 12, 0.95), (840, 1000, 0.99)]
)
def test_wilson_interval(prove, k: int, n: int, confidence: float) -> None:
    interval = wilson_interval(k, n, confidence)
    z, share = stats.norm.ppf((1 + confidence) / 2), k / n
    roots = np.sort(np.roots([1 + z * z / n, -(2 * share + z * z / n), share * share]))
    prove(np.array(interval), roots, oracle="roots of the quadratic", tol=1e-9)
    theirs = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    prove(np.array(interval), np.array([theirs.low, theirs.high]), oracle="scipy", tol=1e-9)


@pytest.mark.equation("evaluation-bootstrap")
def test_bootstrap_variance_of_a_share(prove) -> None:
    right = np.array([1, 1, 0, 1, 0])
    n = len(right)
    shares = [np.mean(right[list(rows)]) for rows in product(range(n), repeat=n)]
    share = right.mean()
    prove(share * (1 - share) / n, np.var(shares), oracle="all n^n resamples", tol=1e-12)


@pytest.mark.equation("evaluation-mann-whitney")
def test_auc_is_the_chance_that_a_positive_outscores_a_negative(prove, scored) -> None:
    scores, labels = scored
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None]
    chance = np.mean((positive > negative) + 0.5 * (positive == negative))
    assert len(np.unique(scores)) < len(scores)  # there are ties
    prove(auc(scores, labels), chance, oracle="all pairs", tol=1e-12)
    prove(auc(scores, labels), metrics.roc_auc_score(labels, scores), "scikit-learn", tol=1e-12)


@pytest.mark.equation("evaluation-rank-sum")
def test_auc_from_ranks(prove, scored) -> None:
    scores, labels = scored
    positive, negative = scores[labels == 1], scores[labels == 0]
    pairs = np.mean(np.sign(positive[:, None] - negative[None]) / 2 + 0.5)
    prove(mann_whitney(scores, labels), pairs, oracle="all pairs", tol=1e-12)
    u = stats.mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))
    prove(mann_whitney(scores, labels), u, oracle="scipy", tol=1e-12)


@pytest.mark.equation("evaluation-brier-group", "evaluation-murphy")
def test_brier_score_and_its_parts(prove, rng) -> None:
    p = rng.choice([0.1, 0.4, 0.8], 200)
    y = (rng.random(200) < p**2).astype(int)
    for value in np.unique(p):
        rows = y[p == value]
        whole = np.mean((value - rows) ** 2)
        share = rows.mean()
        parts = (value - share) ** 2 + share * (1 - share)
        prove(parts, whole, oracle="closed form", tol=1e-12, label="evaluation-brier-group")
    found = brier(p, y)
    whole = found.reliability - found.resolution + found.uncertainty
    prove(whole, np.mean((p - y) ** 2), "closed form", tol=1e-12, label="evaluation-murphy")
    theirs = metrics.brier_score_loss(y, p)
    prove(found.score, theirs, "scikit-learn", tol=1e-12, label="evaluation-murphy")
    assert min(found[1:]) > 0.001  # none of the parts is idle


@pytest.mark.equation("evaluation-probe")
def test_a_probe_of_zeros_receives_the_gradient_of_the_output(engine, prove, rng) -> None:
    x, w, v = rng.normal(size=(4, 3)), rng.normal(size=(3, 5)), rng.normal(size=(5, 2))
    labels = engine.array(np.array([0, 1, 1, 0]))
    w, v = engine.array(w, dtype="float64"), engine.array(v, dtype="float64")
    y = engine.tanh(engine.matmul(engine.array(x, dtype="float64"), w))  # (4, 5)

    def after(output):
        return engine.cross_entropy(engine.matmul(engine.tanh(output), v), labels)

    zeros = engine.parameter(np.zeros((4, 5)), dtype="float64")
    _, through_probe = engine.value_and_grad(lambda probe: after(engine.add(y, probe)))(zeros)
    numeric = numerical_gradient(
        lambda a: engine.asnumpy(after(engine.array(a, dtype="float64"))), engine.asnumpy(y)
    )
    prove(through_probe, numeric)


# --- parity and special cases ---------------------------------------------------------------


def test_scores_decide_by_their_largest() -> None:
    scores = np.array([[0.1, 0.9, 0.0], [2.0, 1.0, -1.0]])
    assert accuracy(scores, [1, 1]) == 0.5
    assert confusion_matrix(scores, [1, 1]).shape == (3, 3)  # as many classes as columns


def test_engine_arrays_are_taken(engine) -> None:
    scores = engine.array(np.array([[0.1, 0.9], [0.8, 0.2]]))
    assert accuracy(scores, engine.array(np.array([1, 1]))) == 0.5
    assert auc(engine.array(np.array([0.1, 0.9])), engine.array(np.array([0, 1]))) == 1.0


def test_a_class_that_never_occurs_scores_zero() -> None:
    found = precision_recall_f1([0, 0, 1], [0, 0, 0], num_classes=3)
    assert found.precision.tolist() == [1.0, 0.0, 0.0]
    assert found.recall == pytest.approx([2 / 3, 0, 0])
    assert found.support.tolist() == [3, 0, 0]


def test_macro_is_the_mean_over_classes(classified) -> None:
    predicted, truth = classified
    macro = precision_recall_f1(predicted, truth, average="macro")
    theirs = metrics.precision_recall_fscore_support(truth, predicted, average="macro")
    assert macro[:3] == pytest.approx(theirs[:3], rel=1e-12)
    assert macro.support == 300


def test_roc_curve_is_that_of_scikit_learn(scored) -> None:
    curve = roc_curve(*scored)
    theirs = metrics.roc_curve(scored[1], scored[0], drop_intermediate=False)
    for ours, reference in zip(curve, theirs, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-12)


@pytest.mark.parametrize(
    ("scores", "area"), [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([7, 7, 7, 7], 0.5)]
)
def test_auc_of_perfect_reversed_and_constant_scores(scores, area: float) -> None:
    assert auc(scores, [0, 0, 1, 1]) == area == mann_whitney(scores, [False, False, True, True])


def test_calibration_by_hand() -> None:
    found = calibration([0.1, 0.2, 0.9, 1.0], [0, 1, 1, 1], bins=2)
    assert found.counts.tolist() == [2, 2]
    assert found.confidence == pytest.approx([0.15, 0.95])
    assert found.accuracy.tolist() == [0.5, 1.0]
    assert found.ece == pytest.approx((0.35 + 0.05) / 2)


def test_calibration_of_classes_and_empty_bins() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    found = calibration(p, [0, 0], bins=10)
    assert found.counts.sum() == 2 and np.isnan(found.accuracy[0])
    assert found.ece == pytest.approx((0.3 + 0.8) / 2)


def test_calibration_bins_hold_their_right_end_and_zero() -> None:
    found = calibration([0.0, 0.5, 0.5000001, 1.0], [0, 0, 1, 1], bins=2)
    assert found.counts.tolist() == [2, 2]


def test_a_float32_softmax_a_rounding_above_one_is_a_probability() -> None:
    assert calibration(np.array([1.0000001], "float32"), [1]).ece == 0.0


def test_bootstrap_interval_agrees_with_wilson_and_is_seeded(rng) -> None:
    right = (rng.random(2000) < 0.8).astype(int)
    ones = np.ones_like(right)
    first, again = (
        bootstrap_interval(accuracy, (right, ones), np.random.default_rng(3), 500) for _ in range(2)
    )
    assert first == again
    assert first == pytest.approx(wilson_interval(int(right.sum()), 2000), abs=0.005)


def test_wilson_interval_keeps_its_promise() -> None:
    n = 30
    intervals = np.array([wilson_interval(k, n) for k in range(n + 1)])
    truths = np.linspace(0.05, 0.95, 181)
    inside = (intervals[:, 0] <= truths[:, None]) & (truths[:, None] <= intervals[:, 1])
    cover = [np.sum(binomial(n, p)[held]) for p, held in zip(truths, inside, strict=True)]
    assert np.mean(cover) == pytest.approx(0.95, abs=0.01)


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [accuracy, confusion_matrix, precision_recall_f1])
@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([], [], "no rows"),
        (np.empty((0, 3)), [], "no rows"),
        (np.empty((2, 0)), [0, 1], "some classes"),
        ([0, 1], [0], "1 rows; expected 2"),
        ([0, -1], [0, 1], "the class -1"),
        ([0.5, 1.0], [0, 1], "dtype float64"),
        ([[0, 1]], [0], "one class per row"),
        ([[0.1, np.nan]], [0], "NaN among its scores"),
        ([0, 1], [[0, 1]], "argument `labels` has shape"),
        (["a"], [0], "expected integers"),
    ],
)
def test_bad_classes_are_refused(metric, predictions, labels, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        metric(predictions, labels)


def test_classes_beyond_the_number_of_classes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="argument `labels` has the class 7"):
        confusion_matrix([0, 1], [0, 7], num_classes=3)
    with pytest.raises(ArgumentError, match="argument `predictions` has the class 7"):
        confusion_matrix([0, 7], [0, 1], num_classes=3)
    with pytest.raises(ArgumentError, match="num_classes"):
        confusion_matrix([0, 1], [0, 1], num_classes=0)
    with pytest.raises(ArgumentError, match="'macro' or 'micro'"):
        precision_recall_f1([0, 1], [0, 1], average="mean")


@pytest.mark.parametrize("curve", [roc_curve, auc, mann_whitney])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "shape"),
        ([0.1, np.nan], [0, 1], "1 NaN"),
        ([0.1, 0.2], [0, 2], "the value 2"),
        ([0.1, 0.2], [0.0, 1.0], "0 or 1 per row"),
        ([0.1, 0.2], [1, 1], "class"),
        ([0.1, 0.2], [0], "1 rows"),
        ([[0.1, 0.2]], [0, 1], "one number per row"),
    ],
)
def test_bad_scores_are_refused(curve, scores, labels, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        curve(scores, labels)


@pytest.mark.parametrize(
    ("probabilities", "labels", "bins", "message"),
    [
        ([0.2, 1.2], [0, 1], 5, "the value 1.2"),
        ([-0.2, 0.2], [0, 1], 5, "the value -0.2"),
        ([0.2, 0.3], [0, 1], 0, "argument `bins`"),
        ([[0.2, 0.8]], [2], 5, "the class 2"),
        ([[0.2, 0.8]], [0, 1], 5, "2 rows"),
    ],
)
def test_bad_probabilities_are_refused(probabilities, labels, bins, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        calibration(probabilities, labels, bins)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 4), "5 of 4"),
        ((0, 0), "0 of 0"),
        ((1.5, 4), "whole number"),
        ((True, 4), "whole number"),
        ((1, 4, 95), "between 0 and 1"),
        ((1, 4, 1.0), "between 0 and 1"),
    ],
)
def test_bad_counts_are_refused(arguments, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        wilson_interval(*arguments)


@pytest.mark.parametrize(
    ("arrays", "given", "message"),
    [
        ((), {}, "equal length"),
        (([1, 2], [1]), {}, "equal length"),
        (([],), {}, "no rows"),
        (([1, 2],), {"rng": 0}, "numpy.random.Generator"),
        (([1, 2],), {"resamples": 0}, "at least 1"),
        (([1, 2],), {"confidence": 2.0}, "between 0 and 1"),
    ],
)
def test_bad_bootstraps_are_refused(arrays, given, message: str, rng) -> None:
    with pytest.raises(ArgumentError, match=message):
        bootstrap_interval(np.mean, arrays, **({"rng": rng} | given))
