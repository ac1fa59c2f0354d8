"""Proofs of the page framework/tuning: spaces, grid and random search, the luck of the best."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lepton_ref.framework.tuning import (
    Levels,
    Real,
    best_of_n_probability,
    draws_needed,
    expected_best,
    expected_distance,
    expected_maximum,
    grid,
    sample,
    selection_bias,
    setting_at,
    unit_point,
)

SPACE = {
    "lr": Real(1e-4, 1e-1, log=True),
    "dropout": Real(0.0, 0.5),
    "hidden_size": Levels((16, 32, 64)),
}


# ---------------------------------------------------------------------- the unit cube


def test_scales():
    lr, dropout, hidden = SPACE.values()
    assert lr.at(0) == 1e-4 and lr.at(1) == 1e-1
    assert lr.at(1 / 3) == pytest.approx(1e-3) and lr.unit(1e-2) == pytest.approx(2 / 3)
    assert dropout.at(0.5) == 0.25 and dropout.unit(0.1) == pytest.approx(0.2)
    assert [hidden.at(u) for u in (0, 0.33, 0.34, 0.99, 1)] == [16, 16, 32, 64, 64]
    assert hidden.unit(32) == 0.5


def test_points_and_settings_go_to_and_fro(rng):
    for u in rng.random((20, 3)):
        setting = setting_at(SPACE, u)
        there = unit_point(SPACE, setting)
        assert there[:2] == pytest.approx(u[:2]) and abs(there[2] - u[2]) <= 1 / 6
        assert setting_at(SPACE, there)["hidden_size"] == setting["hidden_size"]


def test_random_search_is_uniform_on_its_scale(rng):
    drawn = sample(SPACE, 6000, rng)
    decade = np.floor(np.log10([s["lr"] for s in drawn]))
    assert np.abs(np.bincount((decade + 4).astype(int)) / 6000 - 1 / 3).max() < 0.03
    counts = np.unique([s["hidden_size"] for s in drawn], return_counts=True)[1]
    assert np.abs(counts / 6000 - 1 / 3).max() < 0.03


def test_a_seed_repeats_a_search():
    first, second = (sample(SPACE, 4, np.random.default_rng(3)) for _ in range(2))
    assert first == second != sample(SPACE, 4, np.random.default_rng(4))


# ------------------------------------------------------------------- grid and random


@pytest.mark.equation("tuning-projection")
@pytest.mark.parametrize(("dims", "size"), [(2, 3), (3, 4), (4, 2)])
def test_shadows_of_a_grid(prove, rng, dims, size):
    """Count the distinct shadows of every choice of axes."""
    space = {f"x{i}": Real(0, 1) for i in range(dims)}
    points = [tuple(s.values()) for s in grid(space, size)]
    drawn = [tuple(s.values()) for s in sample(space, len(points), rng)]
    n = len(points)
    for kept in range(1, dims + 1):
        for axes in itertools.combinations(range(dims), kept):
            shadows = [len({tuple(p[a] for a in axes) for p in set_}) for set_ in (points, drawn)]
            prove([n ** (kept / dims), n], [float(s) for s in shadows], oracle="count")


@pytest.mark.equation("tuning-nearest")
@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_distance_to_the_nearest_random_value(prove, n):
    """Integrate the chance that no value is within t of u, over all u and t."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    nodes, weights = (nodes + 1) / 2, weights / 2

    def over_t(u):  # P(nearest > t) = (1 - covered)^n, smooth between t = u and t = 1 - u
        total, ends = 0.0, sorted({0.0, u, 1 - u, max(u, 1 - u)})
        for a, b in itertools.pairwise(ends):
            t = a + (b - a) * nodes
            covered = np.minimum(u + t, 1) - np.maximum(u - t, 0)
            total += (b - a) * np.sum(weights * (1 - covered) ** n)
        return total

    integral = sum(w * over_t(u) for u, w in zip(nodes / 2, weights))  # u in [0, 1/2], doubled
    prove(expected_distance(n), integral, oracle="numerical integration")


@pytest.mark.equation("tuning-nearest")
def test_distance_to_the_nearest_grid_value(prove):
    for size in (1, 2, 4):
        values = [s["x"] for s in grid({"x": Real(0, 1)}, size)]
        u = (np.arange(20_000) + 0.5) / 20_000
        distance = np.abs(u[:, None] - np.array(values)).min(axis=1).mean()
        prove(1 / (4 * size), distance, oracle="average over a fine grid of optima")


@pytest.mark.equation("tuning-best-of-n")
def test_best_of_n_by_counting_all_draws(prove):
    """Of all 10⁴ ways to draw 4 settings from 10, those that hold one of the best 3."""
    ways = [min(draw) < 3 for draw in itertools.product(range(10), repeat=4)]
    prove(best_of_n_probability(4, 0.3), float(np.mean(ways)), oracle="all draws enumerated")
    assert best_of_n_probability(10**6, 1e-9) == pytest.approx(1e-3, rel=1e-3)  # not rounded off


@pytest.mark.equation("tuning-draws-needed")
def test_draws_needed(prove):
    cases = list(itertools.product((0.5, 0.9, 0.95, 0.99), (0.3, 0.05, 0.01)))
    searched = []
    for wanted, top in cases:
        n, missed = 0, 1.0
        while 1 - missed < wanted:
            n, missed = n + 1, missed * (1 - top)
        searched.append(float(n))
    prove([float(draws_needed(*c)) for c in cases], searched, oracle="one draw after the other")
    assert draws_needed(0.95, 0.05) == 59 and draws_needed(0.5, 0.5) == 1


# -------------------------------------------------------------- the best of many scores


@pytest.mark.equation("tuning-expected-maximum")
def test_largest_of_two_and_three_normals(prove):
    closed = [1 / math.sqrt(math.pi), 3 / (2 * math.sqrt(math.pi))]
    prove([expected_maximum(2), expected_maximum(3)], closed, oracle="closed form")


@pytest.mark.equation("tuning-expected-maximum")
def test_largest_of_many_normals(prove, rng):
    """Two million draws; the mean of the largest is then sure to 0.001."""
    for n in (5, 16, 100):
        drawn = rng.standard_normal((2_000_000 // n, n)).max(axis=1).mean()
        prove(expected_maximum(n, 2.0), 2 * drawn, oracle="Monte Carlo", tol=1e-2)


@pytest.mark.equation("tuning-maximum-bound")
def test_bound_on_the_largest(prove):
    from scipy.optimize import minimize_scalar

    for n in (2, 16, 1000):
        found = minimize_scalar(
            lambda t, n=n: math.log(n) / t + 0.7**2 * t / 2, bounds=(0.1, 20), method="bounded",
            options={"xatol": 1e-9},
        )  # fmt: skip
        bound = 0.7 * math.sqrt(2 * math.log(n))
        prove(bound, found.fun, oracle="smallest bound over t")
        assert expected_maximum(n, 0.7) <= bound


@pytest.mark.equation("tuning-correlated")
def test_largest_of_correlated_normals(prove, rng):
    n, correlation = 8, 0.6
    covariance = np.full((n, n), correlation) + (1 - correlation) * np.eye(n)
    root = np.linalg.cholesky(covariance)
    drawn = (rng.standard_normal((400_000, n)) @ root.T).max(axis=1).mean()
    prove(expected_maximum(n, 1.0, correlation), drawn, oracle="Monte Carlo", tol=1e-2)


@pytest.mark.equation("tuning-selection-bias")
@pytest.mark.parametrize(("noise", "spread"), [(0.5, 1.0), (1.0, 0.3)])
def test_selection_bias_by_integration(prove, noise, spread):
    """n ∫∫ e p(v) p(e) P(the others score less than v + e): the winner's mean error."""
    from scipy.stats import norm

    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    v, e = spread * x[:, None], noise * x[None, :]
    for n in (2, 3, 6):
        others = norm.cdf((v + e) / math.hypot(noise, spread)) ** (n - 1)
        winner = n * np.sum(w[:, None] * w[None, :] * others * e)
        prove(selection_bias(n, noise, spread), winner, oracle="numerical integration")


def test_no_noise_no_bias():
    assert selection_bias(16, 0.0, 1.0) == selection_bias(16, 0.0) == 0.0
    assert selection_bias(16, 0.01) == pytest.approx(expected_maximum(16, 0.01))
    assert expected_maximum(1) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.equation("tuning-expected-best")
@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_one_search_read_as_many(prove, rng, n):
    losses = rng.standard_normal(7) + 2
    losses[3] = losses[5]  # a tie
    subsets = [min(part) for part in itertools.combinations(losses, n)]
    prove(expected_best(losses, n), float(np.mean(subsets)), oracle="all subsets enumerated")


def test_a_run_that_diverged_counts_only_where_it_must():
    assert expected_best([1.0, 2.0, math.inf], 2) == pytest.approx((1 + 1 + 2) / 3)
    assert expected_best([1.0, math.inf], 1) == math.inf
