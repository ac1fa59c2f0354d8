"""The equations of the measuring half of vision/faces, each against its stupidest form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.metrics import roc_curve as sklearn_roc

from lepton_ref.vision.faces.baselines import Eigenfaces
from lepton_ref.vision.faces.resampling import (
    identity_intervals,
    pair_components,
    pair_mean_variance,
    pair_weights,
)
from lepton_ref.vision.faces.verification import (
    Pairs,
    cosine_similarity,
    equal_error_rate,
    error_curve,
    pairs_from_similarity,
    probit,
    unit_vectors,
)


@pytest.mark.equation("faces-cosine")
def test_cosine_is_that_of_the_triangle(rng, prove):
    """The angle measured with three distances, no dot product, by the law of cosines."""
    x, y = rng.normal(size=(5, 4)), 3 * rng.normal(size=(6, 4))
    zero = np.zeros((1, 4))
    a, b, c = cdist(x, zero), cdist(y, zero).T, cdist(x, y)  # (5, 1), (1, 6), (5, 6)
    prove(
        cosine_similarity(x, y), (a**2 + b**2 - c**2) / (2 * a * b), oracle="law of cosines",
        tol=1e-12,
    )  # fmt: skip


@pytest.mark.equation("faces-distance")
def test_distance_of_unit_vectors(rng, prove):
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(6, 4))
    between = cdist(unit_vectors(x), unit_vectors(y), "sqeuclidean")
    prove(2 - 2 * cosine_similarity(x, y), between, oracle="scipy cdist", tol=1e-12)


@pytest.mark.equation("faces-eer")
@pytest.mark.parametrize("digits", [15, 1])  # one digit: many scores are equal
def test_eer_is_where_the_polygon_meets_the_diagonal(rng, prove, digits):
    for _ in range(20):
        genuine = rng.random(90) < 0.3
        scores = np.round(rng.normal(size=90) + genuine, digits)
        far, tar, _ = sklearn_roc(genuine, scores, drop_intermediate=False)
        # Along the polygon, by its length: FAR + TAR grows at every point.
        path = far + tar
        at = brentq(interp1d(path, far - (1 - tar)), 0, 2, xtol=1e-15)
        curve = error_curve(scores, genuine)
        prove(
            equal_error_rate(curve), interp1d(path, far)(at), oracle="scikit-learn and scipy",
            tol=1e-10,
        )  # fmt: skip
        F, R = curve.false_accept, curve.false_reject
        g = int(np.argmax(F >= R))
        formula = (F[g] * R[g - 1] - F[g - 1] * R[g]) / (F[g] - F[g - 1] + R[g - 1] - R[g])
        prove(formula, interp1d(path, far)(at), oracle="scikit-learn and scipy", tol=1e-10)


@pytest.mark.equation("faces-det-line", "faces-eer-normal")
def test_normal_scores_give_a_straight_line(prove):
    mean_i, sd_i, mean_g, sd_g = 0.1, 0.2, 0.7, 0.11

    def density(s, mean, sd):
        return np.exp(-(((s - mean) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))

    def far(t):
        return quad(density, t, t + 40 * sd_i, args=(mean_i, sd_i), epsabs=1e-14, points=[t])[0]

    def frr(t):
        return quad(density, t - 40 * sd_g, t, args=(mean_g, sd_g), epsabs=1e-14, points=[t])[0]

    t = np.linspace(0.3, 0.7, 9)
    z_far = probit([far(v) for v in t])
    line = -sd_i / sd_g * z_far - (mean_g - mean_i) / sd_g
    prove(line, probit([frr(v) for v in t]), oracle="quadrature", tol=1e-6, label="faces-det-line")
    closed = norm.cdf(-(mean_g - mean_i) / (sd_g + sd_i))
    cross = brentq(lambda v: far(v) - frr(v), 0.3, 0.7, xtol=1e-14)
    prove(closed, far(cross), oracle="quadrature", tol=1e-8, label="faces-eer-normal")
    middle = (np.arange(20_000) + 0.5) / 20_000  # scores that are quantiles, hardly random
    scores = np.r_[norm.ppf(middle, mean_i, sd_i), norm.ppf(middle, mean_g, sd_g)]
    ours = equal_error_rate(error_curve(scores, np.repeat([False, True], 20_000)))
    prove(ours, closed, oracle="closed form", tol=2e-3, label="faces-eer-normal")


@pytest.mark.equation("faces-pair-variance")
@pytest.mark.parametrize("people", [2, 3, 4, 5])
def test_variance_of_a_mean_over_pairs_by_every_possible_world(rng, prove, people):
    """People of three kinds; h depends on the two kinds; all 3^K worlds are written out."""
    h = rng.uniform(size=(3, 3))
    h = h + h.T
    chance = np.array([0.5, 0.3, 0.2])
    mean = chance @ h @ chance
    shared = chance @ (h @ chance) ** 2 - mean**2  # two pairs with one person in common
    own = chance @ h**2 @ chance - mean**2
    first = second = 0.0
    for world in itertools.product(range(3), repeat=people):
        p = chance[list(world)].prod()
        far = np.mean([h[k, m] for k, m in itertools.combinations(world, 2)])
        first, second = first + p * far, second + p * far**2
    prove(
        pair_mean_variance(people, shared, own), second - first**2, oracle="enumeration", tol=1e-10
    )


def as_pairs(h, pictures=2):
    """Pairs whose impostor scores are h of the two people, and whose genuine scores are 9."""
    who = np.repeat(np.arange(len(h)), pictures)
    return pairs_from_similarity(np.where(who[:, None] == who, 9.0, h[who][:, who]), who)


@pytest.mark.equation("faces-pair-variance")
def test_estimates_of_the_two_parts_have_no_bias(rng, prove):
    """Mean of `pair_components` over all worlds of five people of two kinds: the true values."""
    accepted = np.array([[0.0, 1.0], [1.0, 1.0]])
    chance = np.array([0.6, 0.4])
    mean = chance @ accepted @ chance
    truth = [chance @ (accepted @ chance) ** 2 - mean**2, mean - mean**2]
    expected = np.zeros(2)
    for world in itertools.product(range(2), repeat=5):
        h = accepted[np.ix_(world, world)]
        found = pair_components(as_pairs(h), 0.5)
        expected += chance[list(world)].prod() * np.array([found.shared, found.own])
    prove(expected, np.array(truth), oracle="enumeration", tol=1e-10)


@pytest.mark.equation("faces-bootstrap-weights")
def test_weights_are_copies_of_people(rng, prove):
    """The drawn people put side by side, copies as people of their own, and all pairs counted."""
    h = rng.uniform(size=(12, 12))
    who = np.repeat(np.arange(5), [2, 3, 1, 4, 2])
    pairs = pairs_from_similarity((h + h.T) / 2, who)
    for _ in range(20):
        drawn = rng.integers(0, 5, 5)
        m = np.bincount(drawn, minlength=5)
        rows = [(copy, i) for copy, k in enumerate(drawn) for i in np.flatnonzero(who == k)]
        impostor, genuine = [], []
        for (c, i), (d, j) in itertools.combinations(rows, 2):
            score = (h[i, j] + h[j, i]) / 2
            if c == d:
                genuine.append(score < 0.5)
            elif who[i] != who[j]:  # two copies of one person are neither
                impostor.append(score >= 0.5)
        if not impostor or not any(genuine):
            continue
        w = pair_weights(pairs, m)
        kind, hit = pairs.genuine, pairs.scores >= 0.5
        ours = [(w * hit)[~kind].sum() / w[~kind].sum(), (w * ~hit)[kind].sum() / w[kind].sum()]
        prove(np.array(ours), np.array([np.mean(impostor), np.mean(genuine)]), "copies", tol=1e-12)


def bootstrap_variance(b):
    """The right side of the equation."""
    K = len(b)
    r = b.sum(axis=1) / K
    return 2 / (K * (K - 1)) * (2 * (K - 2) / K * (r**2).sum() + (b**2).sum() / K**2)


def centred(h):
    K = len(h)
    h = np.where(np.eye(K, dtype=bool), 0.0, h)
    return np.where(np.eye(K, dtype=bool), 0.0, h - h.sum() / (K * (K - 1)))


@pytest.mark.equation("faces-bootstrap-variance")
def test_variance_of_the_bootstrap_by_every_possible_draw(rng, prove):
    """All 4^4 draws, weighed by the code."""
    h = rng.uniform(size=(4, 4))
    b = centred(h + h.T)
    pairs = as_pairs(b, pictures=1 + 1)
    values = []
    for draw in itertools.product(range(4), repeat=4):
        w = pair_weights(pairs, np.bincount(draw, minlength=4))
        # Four pairs of pictures for each pair of people.
        values.append(2 / 12 * (w * pairs.scores)[~pairs.genuine].sum() / 4)
    prove(bootstrap_variance(b), np.var(values), oracle="enumeration", tol=1e-10)


@pytest.mark.equation("faces-bootstrap-factor")
def test_the_bootstrap_counts_what_is_peculiar_to_pairs_too_often(prove):
    """All 2^10 worlds of five people in which each pair is +1 or -1 for itself."""
    K, upper = 5, np.triu_indices(5, k=1)
    total = 0.0
    for signs in itertools.product([-1.0, 1.0], repeat=10):
        h = np.zeros((K, K))
        h[upper] = signs
        total += bootstrap_variance(centred(h + h.T))
    true = 2 / (K * (K - 1))
    formula = (K - 2) * (3 * K**2 - 5 * K + 4) / K**3
    prove(formula, total / 2**10 / true, oracle="enumeration", tol=1e-10)
    assert formula > 1.25
    K = 8  # the page quotes this one
    assert round((K - 2) * (3 * K**2 - 5 * K + 4) / K**3, 2) == 1.83


@pytest.mark.equation("faces-projection", "faces-eckart-young")
def test_eigenfaces_are_the_nearest_of_their_rank(rng, prove):
    """Against the eigenvalues of the Gram matrix, and a search for a nearer matrix."""
    images = rng.normal(size=(9, 4, 5)) * np.linspace(3, 1, 5)
    k = 3
    faces = Eigenfaces(k).fit(images)
    left = ((faces.reconstruct(faces.transform(images)) - images) ** 2).sum()
    A = images.reshape(9, 20) - images.reshape(9, 20).mean(axis=0)
    smallest = np.linalg.eigvalsh(A @ A.T)[: 9 - k].sum()
    prove(left, smallest, oracle="eigenvalues of the Gram matrix", tol=1e-10,
          label="faces-eckart-young")  # fmt: skip
    Q = rng.normal(size=(k, 20))  # alternating least squares for B = P Q, from a random start
    for _ in range(500):
        P = np.linalg.lstsq(Q.T, A.T, rcond=None)[0].T
        Q = np.linalg.lstsq(P, A, rcond=None)[0]
    found = ((A - P @ Q) ** 2).sum()
    prove(left, found, oracle="alternating least squares", tol=1e-8, label="faces-eckart-young")
    for _ in range(5):
        W = np.linalg.qr(rng.normal(size=(20, k)))[0].T  # (k, 20), orthonormal rows
        distance = sum(
            ((row - np.linalg.lstsq(W.T, row, rcond=None)[0] @ W) ** 2).sum() for row in A
        )
        formula = (A**2).sum() - ((A @ W.T) ** 2).sum()
        prove(formula, distance, oracle="least squares", tol=1e-10, label="faces-projection")
        assert distance > left


def test_intervals_use_these_weights(rng):
    """A statistic that is the FAR at a threshold spreads as the weights of the equation say."""
    h = rng.uniform(size=(20, 20))
    pairs = as_pairs((h + h.T) / 2)
    assert isinstance(pairs, Pairs)

    def far(curve):
        return float(curve.false_accept[np.searchsorted(-curve.thresholds, -0.5, "right") - 1])

    low, high = identity_intervals(pairs, {"far": far}, rng, 2000, 0.6827)["far"]
    hit = (pairs.scores >= 0.5)[~pairs.genuine].mean()
    assert low < hit < high
    accepted = np.where(np.eye(20, dtype=bool), 0, ((h + h.T) / 2 >= 0.5).astype(float))
    assert (high - low) / 2 == pytest.approx(
        np.sqrt(bootstrap_variance(centred(accepted))), rel=0.12
    )
