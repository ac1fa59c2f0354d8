"""Sampled Shapley values on the page explain/shapley: the kernel, the estimates, their errors."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest

from lepton_ref.explain import exact_shapley, kernel_shap, permutation_shapley
from lepton_ref.explain.gradients.models import fashion_model
from lepton_ref.explain.perturbation import Game, patches
from lepton_ref.explain.shapley import (
    coalitions,
    estimate,
    kernel_weights,
    marginals,
    plan,
    shapley_value,
    solve_constrained,
)
from lepton_ref.framework.errors import ArgumentError


def game_of(v):
    """A game that is written out, as the estimators see one."""
    n = len(v).bit_length() - 1

    def f(rows):
        return v[(rows.astype(np.int64) << np.arange(n)).sum(axis=1)]

    return Game(f, np.ones(n), 0, np.arange(n), np.zeros((1, n)))


def pairwise(n, rng):
    """A game in which no three players interact."""
    single, pair = rng.normal(size=n), np.triu(rng.normal(size=(n, n)), 1)
    z = coalitions(n).astype(float)
    return 0.3 + z @ single + np.einsum("mi,ij,mj->m", z, pair, z)


@cache
def plain_game():
    """Eight players of a network of tanh, and the truth."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(8, 12)), rng.normal(size=12)
    v = np.tanh(coalitions(8) @ first) @ second
    return v, shapley_value(v)


@pytest.mark.equation("shapley-kernel")
@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_the_kernel_meets_the_condition_it_is_derived_from(n, prove):
    """π (n − s)/(nκ) = (s − 1)! (n − s)!/n! and π s/(nκ) = s! (n − s − 1)!/n!, κ = (n − 1)/n."""
    s = np.arange(1, n)
    pi, kappa = kernel_weights(n)[1:-1], (n - 1) / n
    f = math.factorial
    with_i = [f(k - 1) * f(n - k) / f(n) for k in s]
    without = [f(k) * f(n - k - 1) / f(n) for k in s]
    prove(pi * (n - s) / n / kappa, np.array(with_i), oracle="closed form", tol=1e-12)
    prove(pi * s / n / kappa, np.array(without), oracle="closed form", tol=1e-12)


@pytest.mark.equation("shapley-kernel-matrix", "shapley-centred")
def test_the_matrix_of_the_kernel(rng, prove):
    """Summed over all coalitions, for the kernel and for other weights of the sizes."""
    n = 6
    rows = coalitions(n)[1:-1]
    s = rows.sum(axis=1)
    centred = rows - s[:, None] / n
    psi = rng.normal(size=n)
    psi -= psi.mean()
    delta = 1.7
    prove(rows @ (psi + delta / n), s / n * delta + centred @ psi, oracle="closed form", tol=1e-12)
    for pi in (kernel_weights(n)[1:-1], rng.uniform(0.1, 1, n - 1)):
        A = np.einsum("m,mi,mj->ij", pi[s - 1], centred, centred)
        kappa = sum(math.comb(n, k) * pi[k - 1] * k * (n - k) / n for k in range(1, n)) / (n - 1)
        prove(A, kappa * (np.eye(n) - 1 / n), oracle="sum over coalitions", tol=1e-12)
    prove(
        sum(math.comb(n, k) * kernel_weights(n)[k] * k * (n - k) / n for k in range(1, n)),
        (n - 1) ** 2 / n, oracle="closed form", tol=1e-12,
    )  # fmt: skip


@pytest.mark.equation("shapley-kernel-solution")
@pytest.mark.parametrize("n", [2, 3, 6])
def test_the_weighted_fit_is_the_shapley_value(n, rng, prove):
    """Solved by Lagrange's multiplier with a stranger's solver, by ours, and by the closed sum."""
    v = rng.normal(size=1 << n)
    rows = coalitions(n)[1:-1]
    s = rows.sum(axis=1)
    w = kernel_weights(n)[s]
    delta = v[-1] - v[0]
    z = rows.astype(float)
    kkt = np.block([[z.T @ (w[:, None] * z), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    right = np.append(z.T @ (w * (v[1:-1] - v[0])), delta)
    lagrange = np.linalg.lstsq(kkt, right, rcond=None)[0][:n]
    prove(lagrange, shapley_value(v), oracle="Lagrange", tol=1e-9)
    prove(
        solve_constrained(rows, v[1:-1], w, v[0], v[-1]), shapley_value(v),
        oracle="enumeration", tol=1e-9,
    )  # fmt: skip
    kappa, closed = (n - 1) / n, np.full(n, delta / n)
    for row, size, weight, value in zip(rows, s, w, v[1:-1]):
        closed += weight / kappa * np.where(row, (n - size) / n, -size / n) * value
    prove(closed, lagrange, oracle="Lagrange", tol=1e-9)


def test_another_kernel_gives_another_value(rng):
    """The weights matter: with equal ones the fit is not the Shapley value."""
    v = rng.normal(size=64)
    rows = coalitions(6)[1:-1]
    equal = solve_constrained(rows, v[1:-1], np.ones(62), v[0], v[-1])
    assert np.abs(equal - shapley_value(v)).max() > 0.01


@pytest.mark.equation("shapley-paired")
def test_a_pair_is_one_equation(rng, prove):
    """Both rows of each pair in the fit, or their difference alone: the same solution."""
    n, v = 6, rng.normal(size=64)
    first = coalitions(n)[[1, 5, 9, 22, 33, 42, 57]]
    both = np.concatenate([first, ~first])
    number = (both << np.arange(n)).sum(axis=1)
    w = rng.uniform(0.5, 2, len(first))
    whole = solve_constrained(both, v[number], np.tile(w, 2), v[0], v[-1])
    share = (v[-1] - v[0]) / n
    centred = first - first.mean(axis=1, keepdims=True)
    d = (v[number[:7]] - v[number[7:]] - (2 * first.sum(axis=1) - n) * share) / 2
    root = np.sqrt(w)
    psi = np.linalg.lstsq(root[:, None] * centred, root * d, rcond=None)[0]
    prove(whole, psi + share, oracle="numpy lstsq", tol=1e-9)


@pytest.mark.equation("shapley-kernel-error")
def test_leaving_one_pair_out(rng, prove):
    """The move of the solution, by solving again without each drawn pair; and their root sum."""
    v, _ = plain_game()
    game = game_of(v)
    masks, w, drawn = plan(8, 120, np.random.default_rng(0))
    phi, error, _ = estimate(game, 120, np.random.default_rng(0))
    number = (np.concatenate([masks, ~masks]) << np.arange(8)).sum(axis=1)
    share = (v[-1] - v[0]) / 8
    Z = masks - masks.mean(axis=1, keepdims=True)
    half = len(masks)
    d = (v[number[:half]] - v[number[half:]] - (2 * masks.sum(axis=1) - 8) * share) / 2

    def solve(keep):
        root = np.sqrt(w[keep])
        return np.linalg.lstsq(root[:, None] * Z[keep], root * d[keep], rcond=None)[0]

    everyone = np.arange(half)
    psi = solve(everyone)
    inverse = np.linalg.pinv(Z.T @ (w[:, None] * Z))
    moves, formula = [], []
    for k in everyone[-drawn:]:
        moves.append(psi - solve(np.delete(everyone, k)))
        h = w[k] * Z[k] @ inverse @ Z[k]
        formula.append(w[k] * (d[k] - Z[k] @ psi) / (1 - h) * inverse @ Z[k])
    prove(np.array(formula), np.array(moves), oracle="solved again", tol=1e-8)
    prove(error, np.sqrt((np.array(moves) ** 2).sum(axis=0)), oracle="solved again", tol=1e-8)
    prove(phi, psi + share, oracle="numpy lstsq", tol=1e-9)


@pytest.mark.equation("shapley-pairs-exact")
def test_a_walk_and_its_reverse_are_exact_without_triples(rng, prove):
    v = pairwise(7, rng)
    order = rng.permutation(7)[None]
    ends = (float(v[0]), float(v[-1]))
    game = game_of(v)
    both = (marginals(game, order, ends) + marginals(game, order[:, ::-1], ends)) / 2
    prove(both[0], shapley_value(v), oracle="enumeration", tol=1e-10)
    assert np.abs(marginals(game, order, ends)[0] - shapley_value(v)).max() > 0.1
    # KernelSHAP's pairs likewise leave nothing to chance.
    paired, error, _ = estimate(game, 40, np.random.default_rng(0))
    assert np.abs(paired - shapley_value(v)).max() < 1e-10 and error.max() < 1e-10


@pytest.mark.equation("shapley-antithetic", "shapley-standard-error")
def test_variance_of_single_walks_and_of_pairs(prove):
    """Over all 5040 orders: the variance of a pair's mean, by the correlation of its two halves."""
    v = plain_game()[0][:128]
    truth = shapley_value(v)
    game, ends = game_of(v), (float(v[0]), float(v[-1]))
    orders = np.array(list(itertools.permutations(range(7))))
    m, reverse = marginals(game, orders, ends), marginals(game, orders[:, ::-1], ends)
    sigma = m.std(axis=0)
    rho = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(m.T, reverse.T)])
    prove(((m + reverse) / 2).var(axis=0), sigma**2 / 2 * (1 + rho), oracle="all orders", tol=1e-9)
    # The mean of R walks scatters by σ/√R: 600 repetitions of R = 8.
    rng = np.random.default_rng(0)
    drawn = m[rng.integers(0, len(m), (600, 8))].mean(axis=1)
    scatter = np.sqrt(((drawn - truth) ** 2).mean(axis=0))
    prove(scatter, sigma / np.sqrt(8), oracle="repetition", tol=0.1)


@pytest.mark.parametrize("explain", ["permutation", "kernel", "kernel unpaired", "single walks"])
def test_the_stated_error_is_the_error(explain):
    """Over 120 seeds: unbiased, and the scatter is what the standard error says."""
    v, truth = plain_game()
    game = game_of(v)
    scores = []
    for seed in range(120):
        if explain.startswith("kernel"):
            rng = np.random.default_rng(seed)
            phi, error, _ = estimate(game, 80, rng, paired=explain == "kernel")
        else:
            found = permutation_shapley(
                game.f, np.ones((1, 8)), seed=seed, permutations=60,
                antithetic=explain == "permutation",
            )  # fmt: skip
            phi, error = found.values[0], found.standard_error[0]
        scores.append((phi - truth) / error)
    scores = np.array(scores)
    assert abs(scores.mean()) < 0.12
    # 30 units each: Student's distribution is a little wider than the normal.
    assert 0.85 < scores.std() < 1.2
    assert 0.91 < (np.abs(scores) < 1.96).mean() < 0.98


def test_the_error_falls_with_the_root_of_the_samples():
    """Slope −½ on a log-log plot, from measured errors against enumeration."""
    v, truth = plain_game()
    game = game_of(v)
    sizes = np.array([16, 32, 64, 128, 256])
    rms = []
    for many in sizes:
        errors = [
            permutation_shapley(game.f, np.ones((1, 8)), permutations=int(many), seed=s).values[0]
            - truth
            for s in range(40)
        ]
        rms.append(np.sqrt(np.mean(np.square(errors))))
    slope = np.polyfit(np.log(sizes), np.log(rms), 1)[0]
    assert abs(slope + 0.5) < 0.08


def test_sums_are_exact_and_seeds_repeat():
    v, _ = plain_game()
    f, x = game_of(v).f, np.ones((2, 8))
    for explain, more in (
        (permutation_shapley, {"permutations": 6}),
        (kernel_shap, {"samples": 60}),
    ):
        first, again = (explain(f, x, seed=4, **more) for _ in range(2))
        assert np.array_equal(first.values, again.values) and first.seed == 4
        assert np.abs(first.gap).max() < 1e-12
        assert not np.array_equal(first.values, explain(f, x, seed=5, **more).values)
        # Two like examples in one batch are drawn for separately.
        assert not np.array_equal(first.values[0], first.values[1])


@pytest.mark.parametrize("paired", [True, False])
def test_with_enough_samples_nothing_is_drawn(paired):
    v, truth = plain_game()
    found = kernel_shap(game_of(v).f, np.ones((1, 8)), samples=254, paired=paired)
    assert np.abs(found.values[0] - truth).max() < 1e-10
    assert not found.standard_error.any()


def test_the_plan_spends_what_it_may_and_weighs_all_sizes():
    for n, samples in ((8, 60), (9, 100), (49, 2146), (30, 120)):
        for paired in (True, False):
            masks, w, drawn = plan(n, samples, np.random.default_rng(0), paired)
            assert samples - 1 <= len(masks) * (1 + paired) <= samples
            whole = masks[: len(masks) - drawn]
            assert len(np.unique(whole, axis=0)) == len(whole), "each once"
            total = sum((n - 1) / (s * (n - s)) for s in range(1, n))
            assert abs(w.sum() - total) < 1e-9 * total
            assert 0 < drawn <= len(masks)
            sizes = masks.sum(axis=1)
            assert sizes.min() >= 1 and sizes.max() <= n - 1


def test_one_and_two_players():
    one = kernel_shap(lambda z: 3 * z[:, 0] + 1, np.array([[2.0]]))
    assert one.values.tolist() == [[6.0]] and one.standard_error.tolist() == [[0.0]]
    two = kernel_shap(lambda z: z[:, 0] * z[:, 1], np.array([[2.0, 3.0]]))
    assert np.allclose(two.values, 3.0)
    walked = permutation_shapley(lambda z: z[:, 0] * z[:, 1], np.array([[2.0, 3.0]]))
    assert np.allclose(walked.values, 3.0)


@pytest.mark.parametrize(
    ("explain", "change", "match"),
    [
        (permutation_shapley, {"seed": -1}, "`seed` has the value -1"),
        (kernel_shap, {"seed": "a"}, "`seed` has the value 'a'; expected a whole number >= 0"),
        (permutation_shapley, {"permutations": 5}, "an even number"),
        (permutation_shapley, {"permutations": 2}, "a whole number >= 4"),
        (permutation_shapley, {"permutations": 1, "antithetic": False}, ">= 2"),
        (permutation_shapley, {"permutations": 10.0}, "whole number"),
        (kernel_shap, {"samples": 1}, ">= 2"),
        (kernel_shap, {"samples": 12}, r"12 coalitions for 8 players.*at least 16"),
    ],
)
def test_what_cannot_be_sampled_is_refused(explain, change, match):
    with pytest.raises(ArgumentError, match=match):
        explain(game_of(plain_game()[0]).f, np.ones((1, 8)), **change)


def test_coalitions_that_do_not_tell_players_apart_are_refused():
    rows = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]], bool)
    with pytest.raises(ArgumentError, match="do not tell 4 players apart"):
        solve_constrained(rows, np.ones(3), np.ones(3), 0.0, 1.0)


def test_within_the_stated_error_of_shap_on_a_picture():
    """49 patches of a picture of clothes: KernelExplainer with as many samples."""
    shap = pytest.importorskip("shap")
    fashion = fashion_model("numpy")
    x, players = fashion.x[:1], patches((1, 28, 28), 4)
    ours = kernel_shap(fashion, x, players=players, baseline=fashion.black, samples=1000)
    target = int(ours.target[0])
    game = Game(
        lambda rows: np.asarray(fashion(rows)),
        x[0], target, players.reshape(-1), np.full_like(x, fashion.black),
    )  # fmt: skip
    np.random.seed(0)  # noqa: NPY002  shap draws from it
    peer = shap.KernelExplainer(lambda z: game(z > 0.5), np.zeros((1, 49))).shap_values(
        np.ones((1, 49)), nsamples=1000, l1_reg=0, silent=True
    )[0]
    error = ours.settings["player_errors"][0]
    # shap draws and pairs as we do, so its error is as large as ours.
    scores = (ours.settings["player_values"][0] - peer) / (math.sqrt(2) * error)
    assert 0.5 < scores.std() < 1.35 and np.abs(scores).max() < 4
    # And where both enumerate there is nothing to state.
    few = patches((1, 28, 28), 10)
    whole = kernel_shap(fashion, x, target, players=few, baseline=fashion.black)
    exact = exact_shapley(fashion, x, target, players=few, baseline=fashion.black)
    assert np.abs(whole.values - exact.values).max() < 1e-6


def test_walks_and_fits_agree_on_a_picture(engine):
    """Two estimators of one number, on every engine: apart by their errors, no more."""
    fashion = fashion_model(engine)
    given = {"players": patches((1, 28, 28), 7), "baseline": fashion.black}
    fit = kernel_shap(fashion, fashion.x[:1], samples=400, **given)
    walk = permutation_shapley(fashion, fashion.x[:1], permutations=40, **given)
    a, b = fit.settings, walk.settings
    scale = np.hypot(a["player_errors"][0], b["player_errors"][0])
    scores = (a["player_values"][0] - b["player_values"][0]) / scale
    assert np.abs(scores).max() < 4
    assert abs(fit.gap[0]) < 1e-5 and abs(walk.gap[0]) < 1e-5
