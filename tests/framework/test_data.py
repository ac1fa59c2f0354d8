"""Proofs of the page Data: scaling, splitting, hashing and augmentation."""

import itertools

import numpy as np
import pytest
import sympy
from scipy import ndimage, stats

from lepton_ref.framework import data
from lepton_ref.framework.data import Standardizer


def every_choice(n, m):
    """All ways to put m of n rows into a part, as rows of indices."""
    return np.array(list(itertools.combinations(range(n), m)))


@pytest.mark.equation("data-standardize")
def test_standardised_data_have_mean_0_and_variance_1(rng, prove):
    x = rng.gamma(2.0, size=(500, 7)) * rng.uniform(0.01, 100, 7) + 5
    z = Standardizer().fit(x).transform(x)
    got = np.stack([z.mean(0), np.mean(z * z, 0)])
    prove(got, np.stack([np.zeros(7), np.ones(7)]), oracle="closed form", tol=1e-12)


@pytest.mark.equation("data-affine")
def test_units_cancel_up_to_the_sign(rng, prove):
    x = rng.standard_normal((200, 3))
    a, c = np.array([1.8, -0.01, 300.0]), np.array([32.0, 4.0, -7.0])
    z = Standardizer().fit(x).transform(x)
    z_of_unit = Standardizer().fit(a * x + c).transform(a * x + c)
    prove(z_of_unit, np.sign(a) * z, oracle="closed form", tol=1e-12)


@pytest.mark.equation("data-merge")
@pytest.mark.parametrize("sizes", [(1, 1, 1), (200, 1, 7), (50, 5000, 300)])
def test_merged_moments_are_those_of_all_rows(rng, prove, sizes):
    chunks = [rng.standard_normal((n, 4)) * 3 + 100 for n in sizes]
    scaler = Standardizer()
    for chunk in chunks:
        scaler.partial_fit(chunk)
    whole = np.concatenate(chunks)
    assert scaler.count == len(whole)
    prove(
        (scaler.mean, scaler.std**2), (whole.mean(0), whole.var(0)), "published implementation",
        tol=1e-10,
    )  # fmt: skip


@pytest.mark.equation("data-merge")
def test_merge_is_the_definition_symbol_by_symbol(prove):
    values = sympy.symbols("x0:5")

    def exactly(part):
        mean = sympy.Add(*part) / len(part)
        return sympy.Integer(len(part)), mean, sympy.Add(*((v - mean) ** 2 for v in part))

    _, mean, squares = data.merge(exactly(values[:2]), exactly(values[2:]))
    _, mean_all, squares_all = exactly(values)
    assert sympy.expand(mean - mean_all) == 0 and sympy.expand(squares - squares_all) == 0
    coefficients = [sympy.Poly(e, *values).coeffs() for e in (squares, squares_all)]
    prove(*(np.array(c, dtype=float) for c in coefficients), oracle="sympy", tol=1e-15)


@pytest.mark.equation("data-second-moment")
def test_second_moment_is_covariance_plus_mean_mean(rng, prove):
    x = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6)) + rng.uniform(2, 9, 6)
    mu = x.mean(0)
    prove(np.cov(x.T, bias=True) + np.outer(mu, mu), x.T @ x / len(x), "published implementation")


@pytest.mark.equation("data-cyclical")
def test_distance_on_the_clock(prove):
    hours = np.arange(0, 48, 0.75)
    code = data.cyclical(hours, 24)
    distance = np.linalg.norm(code[:, None] - code[None], axis=-1)
    turned = np.abs(np.sin(np.pi * (hours[:, None] - hours) / 24))
    prove(distance, 2 * turned, oracle="closed form", tol=1e-12)


@pytest.mark.equation("data-simhash")
def test_signs_agree_as_the_angle_says(prove):
    """P(both > 0) + P(both < 0) of two normals of correlation rho, by SciPy's integral."""
    rho = np.array([-0.9, -0.3, 0.0, 0.5, 0.9, 0.997])
    both = [stats.multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf([0, 0]) for r in rho]
    prove(1 - np.arccos(rho) / np.pi, 2 * np.array(both), oracle="SciPy's bivariate normal")


@pytest.mark.equation("data-lsh")
def test_candidates_by_counting_every_outcome(prove):
    """All 2^(b L) patterns of agreeing bits, each with its probability."""
    bits, tables = 3, 3
    theta = np.array([0.05, 0.4, 1.0])
    p = 1 - theta / np.pi
    agree = np.array(list(itertools.product([0, 1], repeat=bits * tables)), dtype=bool)
    weight = np.prod(np.where(agree[None], p[:, None, None], 1 - p[:, None, None]), -1)
    met = agree.reshape(-1, tables, bits).all(-1).any(-1)
    prove(1 - (1 - p**bits) ** tables, weight[:, met].sum(1), oracle="enumeration", tol=1e-12)


@pytest.mark.equation("data-lsh", "data-simhash")
def test_the_search_finds_the_share_that_the_equation_says(rng, prove):
    """Pairs at one angle, searched with 40 draws of the planes: within sampling error."""
    pairs, dim, rho, bits, tables = 300, 200, 0.9, 12, 3
    share = []
    for _ in range(40):
        u = data.normalise_content(rng.standard_normal((pairs, dim)))
        v = data.normalise_content(rng.standard_normal((pairs, dim)))
        v = v - np.sum(u * v, 1, keepdims=True) * u
        v = rho * u + np.sqrt(1 - rho**2) * v / np.linalg.norm(v, axis=1, keepdims=True)
        found, similarity = data.near_duplicates(np.concatenate([u, v]), 0.88, rng, bits, tables)
        assert np.array_equal(found[:, 1] - found[:, 0], np.full(len(found), pairs))
        assert np.all(similarity >= 0.88)
        share.append(len(found) / pairs)
    p = 1 - np.arccos(rho) / np.pi
    expected = 1 - (1 - p**bits) ** tables
    prove(np.mean(share), expected, oracle="the search itself", tol=0.03)


@pytest.mark.equation("data-split-mean")
@pytest.mark.parametrize("m", [1, 3, 7])
def test_mean_of_a_part_over_every_split(rng, prove, m):
    x = rng.standard_normal(8) + 2
    means = x[every_choice(8, m)].mean(1)
    variance = x.var() / m * (8 - m) / 7
    prove((means.mean(), means.var()), (x.mean(), variance), oracle="enumeration", tol=1e-12)


@pytest.mark.equation("data-stratified-variance")
def test_mean_of_a_stratified_part_over_every_split(rng, prove):
    a, b = rng.standard_normal(6), rng.standard_normal(4) + 10
    of_a, of_b = a[every_choice(6, 3)].mean(1), b[every_choice(4, 2)].mean(1)
    means = 0.6 * of_a[:, None] + 0.4 * of_b
    variance = 0.36 * a.var() / 3 * 3 / 5 + 0.16 * b.var() / 2 * 2 / 3
    prove(means.var(), variance, oracle="enumeration", tol=1e-12)
    assert variance < np.concatenate([a, b]).var() / 5 * 5 / 9  # less than without classes


@pytest.mark.equation("data-split-pair")
def test_a_pair_is_separated_as_often_as_counted(prove):
    counted, said = [], []
    for n, m in [(5, 1), (7, 3), (10, 5)]:
        parts = every_choice(n, m)
        counted.append(np.mean((parts == 0).any(1) != (parts == 1).any(1)))
        said.append(2 * m * (n - m) / (n * (n - 1)))
    prove(np.array(said), np.array(counted), oracle="enumeration", tol=1e-12)


@pytest.mark.equation("data-k-fold")
@pytest.mark.parametrize("k", [2, 3, 7])
def test_weighted_fold_means_give_the_mean(rng, prove, k):
    x = rng.standard_normal((23, 2)) + 1
    folds = list(data.k_fold(23, k, rng))
    together = sum(len(v) / 23 * x[v].mean(0) for _, v in folds)
    prove(together, x.mean(0), oracle="closed form", tol=1e-12)
    assert np.array_equal(np.sort(np.concatenate([v for _, v in folds])), np.arange(23))
    assert all(not set(t) & set(v) and len(t) + len(v) == 23 for t, v in folds)
    assert np.ptp([len(v) for _, v in folds]) <= 1


class EveryShift:
    """Stands in for a generator: hands out all shifts once."""

    def integers(self, low, high, size):
        shifts = np.array(list(itertools.product(range(low, high), repeat=2)))
        assert shifts.shape == size
        return shifts


@pytest.mark.equation("data-augmented-loss")
def test_shifting_is_blurring_plus_a_penalty(rng, prove):
    picture, w, y = rng.random((9, 8)), rng.standard_normal((9, 8)), 0.4
    shifted = data.random_shift(np.repeat(picture[None], 25, 0), EveryShift(), 2)
    loss = np.mean((np.sum(w * shifted, (1, 2)) - y) ** 2)
    blurred = ndimage.uniform_filter(picture, 5, mode="constant")
    covariance = np.cov(shifted.reshape(25, -1).T, bias=True)
    penalty = w.ravel() @ covariance @ w.ravel()
    prove(np.sum(w * blurred) - y, np.sum(w * shifted.mean(0)) - y, "SciPy's box filter", tol=1e-10)
    prove((np.sum(w * blurred) - y) ** 2 + penalty, loss, "enumeration", tol=1e-10)
