"""Scores against a cohort: vision/faces, the bound that they give, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import zscore

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.faces import cohort_scores, cosine_similarity


def test_pair_by_pair(rng):
    """Every pair by itself, with plain sums."""
    x, cohort = rng.normal(size=(5, 7)), rng.normal(size=(12, 7))
    found = cohort_scores(x, cohort)
    raw, strangers = cosine_similarity(x), cosine_similarity(x, cohort)
    for i in range(5):
        for j in range(5):
            sides = []
            for k in (i, j):
                mean = sum(strangers[k]) / 12
                deviation = (sum((v - mean) ** 2 for v in strangers[k]) / 12) ** 0.5
                sides.append((raw[i, j] - mean) / deviation)
            assert found[i, j] == pytest.approx(sum(sides) / 2, abs=1e-12)
    np.testing.assert_array_equal(found, found.T)


def test_length_says_nothing(rng):
    x, cohort = rng.normal(size=(5, 7)), rng.normal(size=(12, 7))
    scaled = cohort_scores(x * rng.uniform(0.1, 9, (5, 1)), cohort * 3)
    np.testing.assert_allclose(scaled, cohort_scores(x, cohort), atol=1e-12)


def test_one_who_resembles_everybody_leads_by_less(rng):
    """A picture near the mean face scores high against all strangers, and loses that lead."""
    common = np.r_[1.0, np.zeros(19)]
    people = 0.5 * common + rng.normal(size=(400, 20)) / 4
    people[0] = 2 * common + rng.normal(size=20) / 20
    cohort = 0.5 * common + rng.normal(size=(200, 20)) / 4

    def lead(scores):
        """Of the first over the rest, in standard deviations of the rest."""
        rest = scores[1:, 1:][np.triu_indices(399, 1)]
        return (scores[0, 1:].mean() - rest.mean()) / rest.std()

    before, after = lead(cosine_similarity(people)), lead(cohort_scores(people, cohort))
    assert before > 0.8 and after < 0.75 * before  # its own half is gone, the others' is not


@pytest.mark.equation("faces-cohort-bound")
@pytest.mark.parametrize("t", [0.3, 1.0, 2.5])
def test_no_scores_whatever_exceed_the_bound(t, rng, prove):
    """Cantelli: sets of all kinds stay below, the best parabola and two values reach it."""
    best = minimize_scalar(
        lambda u: (1 + u**2) / (t + u) ** 2, bounds=(0, 10), method="bounded",
        options={"xatol": 1e-12},
    )  # fmt: skip
    share = 1 / (1 + t**2)
    prove(share, best.fun, oracle="scipy minimize_scalar", tol=1e-9)
    # Two values, t with that share and -1/t with the rest, have mean 0 and deviation 1.
    assert share * t - (1 - share) / t == pytest.approx(0, abs=1e-12)
    assert share * t**2 + (1 - share) / t**2 == pytest.approx(1, abs=1e-12)
    for kind in (rng.normal, rng.exponential, rng.standard_cauchy):
        assert (zscore(kind(size=500)) >= t).mean() <= share + 1e-12


@pytest.mark.parametrize(
    ("embeddings", "cohort", "message"),
    [
        (np.ones((2, 3)), np.eye(4), "`b` has 4 columns; expected 3"),
        (np.eye(3), np.ones((5, 3)), "`cohort` has one score against row 0"),
        (np.eye(3), np.ones((1, 3)), "`cohort` has one score against row 0"),
        (np.full((2, 3), np.nan), np.eye(3), "NaN or infinity in row 0"),
        (np.zeros((2, 3)), np.eye(3), "only zeros in row 0"),
    ],
)
def test_what_says_nothing_about_strangers_is_refused(embeddings, cohort, message):
    with pytest.raises(ArgumentError, match=message):
        cohort_scores(embeddings, cohort)
