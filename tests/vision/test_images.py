"""Every equation of the page vision/images, against loops and closed forms that follow it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import lepton_ref
from lepton_ref.vision import images
from lepton_ref.vision.images.analysis import between_variance
from lepton_ref.vision.images.enhancement import clip_histogram
from lepton_ref.vision.images.windows import correlate, separable, window_sums
from tests.numeric import numerical_gradient
from tests.vision.pictures import ramp


@pytest.fixture(scope="module")
def camera():
    return lepton_ref.load("photographs").camera / 255


def on_every_pixel(picture, size, function, mode="symmetric"):
    """Apply a function of a window to each window, one after the other."""
    r = size // 2
    padded = np.pad(picture, r, mode=mode)
    result = np.empty_like(picture)
    for i, j in np.ndindex(*picture.shape):
        result[i, j] = function(padded[i : i + size, j : j + size])
    return result


@pytest.mark.equation("images-shot-noise")
def test_variance_of_a_pixel_is_linear_in_its_mean(prove):
    full, read = 40.0, 0.03
    for light in (0.1, 0.5, 0.9):
        # Both moments summed over all counts, with the probability of each.
        counts = np.arange(200)
        logs = counts * math.log(light * full) - light * full
        p = np.exp(logs - np.array([math.lgamma(n + 1) for n in counts]))
        mean = (p * counts / full).sum()
        variance = (p * (counts / full) ** 2).sum() - mean**2 + read**2
        formula = np.array([light, light / full + read**2])
        prove(formula, np.array([mean, variance]), oracle="sum over all counts", tol=1e-9)
    # The code draws from that distribution: 90,000 pixels are within four standard errors.
    noisy = images.sense(np.full((300, 300), 0.5), full, read, np.random.default_rng(0), clip=False)
    expected = 0.5 / full + read**2
    assert abs(noisy.mean() - 0.5) < 4 * math.sqrt(expected / noisy.size)
    assert abs(noisy.var() / expected - 1) < 4 * math.sqrt(2 / noisy.size)


def test_the_curve_of_srgb_by_its_two_branches():
    for value in (0.0, 0.02, 0.04045, 0.0405, 0.5, 1.0):
        light = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        assert abs(images.to_linear(np.array([[value]]))[0, 0] - light) < 1e-15
        assert abs(images.to_srgb(np.array([[light]]))[0, 0] - value) < 1e-6


def test_correlation_letter_by_letter(rng):
    picture, kernel = rng.random((7, 9)), rng.normal(size=(3, 5))
    padded = np.pad(picture, ((1, 1), (2, 2)), mode="reflect")
    slow = np.zeros_like(picture)
    for i, j, u, v in itertools.product(range(7), range(9), range(3), range(5)):
        slow[i, j] += kernel[u, v] * padded[i + u, j + v]
    np.testing.assert_allclose(images.filter_picture(picture, kernel, "reflect"), slow, atol=1e-14)
    colours = np.stack([picture, picture.T[:7, :7].repeat(2, 1)[:, :9], picture**2], axis=2)
    each = [images.filter_picture(colours[..., c], kernel) for c in range(3)]
    np.testing.assert_allclose(images.filter_picture(colours, kernel), np.stack(each, 2))


@pytest.mark.equation("images-separable")
def test_an_outer_product_is_two_passes(rng, prove):
    picture, down, along = rng.random((11, 8)), rng.normal(size=5), rng.normal(size=3)
    whole = correlate(picture, np.outer(down, along), "edge")
    prove(separable(picture, down, along, "edge"), whole, oracle="the whole kernel", tol=1e-13)


@pytest.mark.equation("images-noise-left")
def test_the_share_of_noise_that_a_filter_leaves(prove):
    """The filter as a matrix M: noise of covariance I comes out with M Mᵀ."""
    size, middle = 11, 5
    basis = np.eye(size * size).reshape(-1, size, size)
    shares = []
    for function in (lambda x: images.mean_filter(x, 5), lambda x: images.gaussian_filter(x, 0.9)):
        row = np.array([function(e)[middle, middle] for e in basis])
        shares.append(row @ row)
    w = images.gaussian_weights(0.9)
    formula = [(np.full((5, 5), 1 / 25) ** 2).sum(), (np.outer(w, w) ** 2).sum()]
    prove(np.array(formula), np.array(shares), oracle="covariance", tol=1e-12)
    assert abs(formula[0] - 1 / 25) < 1e-15


@pytest.mark.equation("images-window-sums")
def test_running_totals_give_the_sums_of_windows(rng, prove):
    picture = rng.random((9, 12))
    slow = np.array([[picture[i : i + 4, j : j + 4].sum() for j in range(9)] for i in range(6)])
    prove(window_sums(picture, 4), slow, oracle="each window added up", tol=1e-13)


@pytest.mark.equation("images-median-optimal", "images-mean-optimal")
def test_what_median_and_mean_make_least(rng, prove):
    picture = rng.random((6, 7))
    grid = np.linspace(0, 1, 2001)

    def best(window, power):
        losses = (np.abs(window.ravel()[:, None] - grid) ** power).sum(axis=0)
        return grid[losses.argmin()]

    for power, function in ((1, images.median_filter), (2, images.mean_filter)):
        searched = on_every_pixel(picture, 3, lambda w, p=power: best(w, p))
        prove(function(picture, 3), searched, oracle="search over a grid", tol=1e-3)
    np.testing.assert_array_equal(
        images.median_filter(picture, 5), on_every_pixel(picture, 5, np.median)
    )


def bilateral_by_loops(picture, sigma_color, sigma_space, size):
    u = np.arange(size) - size // 2

    def one(window):
        middle = window[size // 2, size // 2]
        near = np.exp(-(u[:, None] ** 2 + u**2) / (2 * sigma_space**2))
        weights = near * np.exp(-((window - middle) ** 2) / (2 * sigma_color**2))
        return (weights * window).sum() / weights.sum()

    return on_every_pixel(picture, size, one)


@pytest.mark.equation("images-bilateral-limit")
def test_a_bilateral_filter_that_sees_no_difference_is_a_gaussian(rng, prove):
    picture = rng.random((9, 8))
    for sigma_color in (0.05, 0.3):
        slow = bilateral_by_loops(picture, sigma_color, 1.2, 7)
        fast = images.bilateral_filter(picture, sigma_color, 1.2, 7)
        np.testing.assert_allclose(fast, slow, atol=1e-14)
    w = np.exp(-0.5 * (np.arange(-4, 5) / 1.2) ** 2)
    plain = separable(picture, w / w.sum(), w / w.sum())
    blind = images.bilateral_filter(picture, 1e5, 1.2)
    prove(blind, plain, oracle="Gaussian filter", tol=1e-9)
    sharp = images.bilateral_filter(picture, 1e-5, 1.2)
    np.testing.assert_allclose(sharp, picture, atol=1e-12)


@pytest.mark.parametrize("patch", [3, 4])
def test_non_local_means_letter_by_letter(rng, patch):
    picture, far, h, sigma = rng.random((7, 6)), 2, 0.4, 0.1
    r = far + patch
    padded = np.pad(picture, r, mode="reflect")
    before = (patch - 1) // 2

    def around(i, j):
        top, left = i + r - before, j + r - before
        return padded[top : top + patch, left : left + patch]

    slow = np.empty_like(picture)
    for i, j in np.ndindex(*picture.shape):
        total = weights = 0.0
        for a, b in itertools.product(range(-far, far + 1), repeat=2):
            d = ((around(i, j) - around(i + a, j + b)) ** 2).mean() - 2 * sigma**2
            w = math.exp(-max(d, 0) / h**2) if max(d, 0) / h**2 <= 5 else 0.0
            weights, total = weights + w, total + w * padded[i + a + r, j + b + r]
        slow[i, j] = total / weights
    fast = images.non_local_means(picture, patch, far, h, sigma)
    np.testing.assert_allclose(fast, slow, atol=1e-13)


@pytest.mark.equation("images-patch-noise")
def test_noise_puts_two_patches_apart_by_twice_its_variance(rng, prove):
    """All 2^m signs of a noise of two values, for patches that share pixels."""
    row, sigma = rng.random(5), 0.2
    signs = np.array(list(itertools.product((-sigma, sigma), repeat=5)))
    noisy = row + signs
    measured = ((noisy[:, 0:3] - noisy[:, 2:5]) ** 2).mean()
    formula = ((row[0:3] - row[2:5]) ** 2).mean() + 2 * sigma**2
    prove(formula, measured, oracle="all signs of the noise", tol=1e-13)


@pytest.mark.equation("images-homography-rows")
def test_four_points_fix_the_map(rng, prove):
    source = np.array([[10, 20], [200, 30], [180, 150], [30, 170.0]])
    target = source + rng.normal(0, 15, (4, 2))
    # Eight equations for eight unknowns, written out one by one, the ninth entry set to 1.
    A, y = [], []
    for (x, v), (p, q) in zip(source, target):
        A += [[x, v, 1, 0, 0, 0, -p * x, -p * v], [0, 0, 0, x, v, 1, -q * x, -q * v]]
        y += [p, q]
    matrix = np.append(np.linalg.solve(A, y), 1).reshape(3, 3)
    found = images.homography(source, target)
    prove(found, matrix, oracle="eight equations", tol=1e-8)
    np.testing.assert_allclose(images.apply_map(found, source), target)


@pytest.mark.equation("images-bilinear")
def test_between_four_pixels_stands_the_one_surface_through_them(rng, prove):
    picture = rng.random((2, 2))
    corner = [[1, i, j, i * j] for i, j in itertools.product((0, 1), repeat=2)]
    a, b, c, d = np.linalg.solve(corner, picture.ravel())
    r, s = 0.3, 0.85
    moved = images.warp(picture, [[1, 0, s], [0, 1, r], [0, 0, 1]])[0, 0]
    prove(moved, a + b * r + c * s + d * r * s, oracle="linear system", tol=1e-12)
    # A plane has no d: bilinear interpolation is exact on it, at any place inside.
    plane = ramp((20, 30))
    turned = images.warp(plane, images.rotation(plane.shape, 20), fill=0.0)[5:15, 8:22]
    inside = images.apply_map(
        images.rotation(plane.shape, 20), np.argwhere(np.ones((20, 30)))[:, ::-1]
    ).reshape(20, 30, 2)[5:15, 8:22]
    np.testing.assert_allclose(turned, 0.1 + 0.01 * inside[..., 1] + 0.02 * inside[..., 0])


@pytest.mark.equation("images-flat-field")
def test_uneven_light_is_divided_out(camera, prove):
    scene = 0.6 * camera[100:140, 200:260]
    light = 0.4 + ramp(scene.shape, 0.005, 0.004)
    seen = scene * light
    flat = images.flatten_light(seen, light)
    prove(flat, scene * light.mean(), oracle="the scene itself", tol=1e-12)


@pytest.mark.equation("images-grey-world")
def test_the_mean_of_the_world_is_grey(prove):
    light = 0.15 * images.to_linear(lepton_ref.load("photographs").coffee[::8, ::8])
    means = images.grey_world(light).mean(axis=(0, 1))
    wanted = np.full(3, light.mean())
    assert images.grey_world(light).max() < 1  # nothing was cut
    prove(means, wanted, oracle="the common mean", tol=1e-12)
    absent = light * [1.0, 1.0, 0.0]
    assert not images.grey_world(absent)[..., 2].any()


@pytest.mark.equation("images-equalise")
def test_shares_are_spread_evenly(rng, prove):
    picture = rng.random((16, 16)) ** 3  # 256 different values
    levels = (np.argsort(np.argsort(picture.ravel())) % 256).astype(np.uint8).reshape(16, 16)
    flat = np.sort(images.equalise(levels), axis=None)
    prove(flat, np.arange(1, 257) / 256, oracle="the uniform distribution", tol=1e-14)
    # With levels that many pixels share: each value is the share of pixels not above it.
    coarse = rng.integers(0, 6, (9, 9), dtype=np.uint8)
    for value in np.unique(coarse):
        share = (coarse <= value).mean()
        assert np.allclose(images.equalise(coarse)[coarse == value], share)


@pytest.mark.equation("images-clahe-slope")
def test_the_limit_bounds_the_gain_of_contrast(rng, prove):
    bins, limit, pixels = 64, 0.05, 2000
    counts = rng.multinomial(pixels, np.r_[0.7, 0.2, np.full(62, 0.1 / 62)])
    cut = clip_histogram(counts, int(limit * pixels))
    assert (cut >= np.minimum(counts, int(limit * pixels))).all() and cut.sum() >= pixels
    steepest = np.diff(np.cumsum(cut) / pixels, prepend=0).max() / (1 / bins)
    prove(limit * bins, steepest, oracle="the steepest step of the map", tol=1e-12)
    assert np.diff(np.cumsum(counts) / pixels, prepend=0).max() * bins > 40


@pytest.mark.equation("images-sobel")
def test_slopes_of_a_plane_are_exact(rng, prove):
    down, along = 0.013, -0.007
    plane = 0.5 + ramp((9, 12), down, along) - 0.1
    slopes = images.gradient(plane)
    inside = np.stack([slopes.down, slopes.along])[:, 1:-1, 1:-1]
    wanted = np.broadcast_to([[[down]], [[along]]], inside.shape)
    prove(inside, wanted, oracle="the slopes of the plane", tol=1e-11)
    picture = rng.random((5, 6))
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    np.testing.assert_allclose(
        images.gradient(picture).along, images.filter_picture(picture, kernel), atol=1e-15
    )


@pytest.mark.equation("images-structure-tensor")
def test_moving_a_window_over_a_plane(rng, prove):
    plane, d = 0.5 + ramp((21, 21), 0.004, -0.009), np.array([2.0, -1.0])
    w = images.gaussian_weights(1.0)
    weights, r = np.outer(w, w), len(w) // 2
    here = plane[10 - r : 11 + r, 10 - r : 11 + r]
    there = plane[12 - r : 13 + r, 9 - r : 10 + r]
    dd, da, aa = (entry[10, 10] for entry in images.structure_tensor(plane, 1.0))
    form = d @ np.array([[dd, da], [da, aa]]) @ d
    prove(form, (weights * (there - here) ** 2).sum(), oracle="the window, moved", tol=1e-10)


@pytest.mark.equation("images-harris")
def test_harris_by_the_eigenvalues(camera, prove):
    part = camera[100:130, 200:240]
    dd, da, aa = images.structure_tensor(part)
    tensor = np.stack([np.stack([dd, da], -1), np.stack([da, aa], -1)], -1)
    first, second = np.moveaxis(np.linalg.eigvalsh(tensor), -1, 0)
    response = first * second - 0.05 * (first + second) ** 2
    prove(images.harris(part), response, oracle="eigenvalues", tol=1e-10)


@pytest.mark.equation("images-hog-light")
def test_descriptors_do_not_see_the_light(camera, prove):
    part = camera[90:154, 200:264]
    dim = 0.4 * part + 0.3
    prove(images.hog(dim), images.hog(part), oracle="the same scene, dimmer", tol=2e-5)


@pytest.mark.equation("images-otsu")
def test_variance_is_within_and_between(rng, prove):
    counts, centres = rng.integers(1, 50, 20), np.sort(rng.random(20))
    values = np.repeat(centres, counts)
    within = []
    for k in range(19):
        halves = np.split(values, [counts[: k + 1].sum()])
        within.append(sum(len(half) * half.var() for half in halves) / len(values))
    between = between_variance(counts, centres)
    prove(values.var() - between, np.array(within), oracle="both halves by themselves", tol=1e-10)
    assert between.argmax() == np.argmin(within)


@pytest.mark.equation("images-components")
@pytest.mark.parametrize("neighbours", [4, 8])
def test_components_are_what_can_be_reached(rng, prove, neighbours):
    steps = [s for s in itertools.product((-1, 0, 1), repeat=2) if any(s)]
    if neighbours == 4:
        steps = [s for s in steps if 0 in s]
    mask = rng.random((12, 15)) < 0.35
    reached, count = np.zeros(mask.shape, int), 0
    for start in np.argwhere(mask):
        if reached[tuple(start)]:
            continue
        count += 1
        waiting = [tuple(start)]
        while waiting:  # pour paint in and let it run
            i, j = waiting.pop()
            if 0 <= i < 12 and 0 <= j < 15 and mask[i, j] and not reached[i, j]:
                reached[i, j] = count
                waiting += [(i + a, j + b) for a, b in steps]
    labels, number = images.label(mask, neighbours)
    assert number == count > 5
    prove(labels.astype(float), reached.astype(float), oracle="flood fill", tol=0.0)


@pytest.mark.equation("images-normal-equations", "images-residual")
def test_the_kernel_of_least_error(rng, prove):
    x = rng.random((2, 9, 8))
    y = np.stack([images.filter_picture(p, rng.normal(size=(3, 3))) for p in x])  # two filters
    moments = images.filter_moments(x, y)

    def loss(w):
        made = np.stack([correlate(p, w)[1:-1, 1:-1] for p in x])
        return ((made - y[:, 1:-1, 1:-1]) ** 2).mean()

    kernel = images.fit_filter(x, y)
    at = rng.normal(size=(3, 3))
    slope = 2 * (moments.inner @ at.ravel() - moments.cross).reshape(3, 3)
    prove(slope, numerical_gradient(loss, at), oracle="finite differences", tol=1e-7)
    assert np.abs(numerical_gradient(loss, kernel)).max() < 1e-8
    least = moments.power - kernel.ravel() @ moments.cross
    prove(least, loss(kernel), oracle="the loss itself", tol=1e-9)
    assert abs(moments.loss(at) - loss(at)) < 1e-12 and loss(kernel) > 1e-3


@pytest.mark.equation("images-descent")
def test_descent_shrinks_the_error_by_a_matrix(engine, rng, prove):
    x, true = rng.random((3, 9, 8)), rng.normal(size=(3, 3))
    y = np.stack([correlate(p, true) for p in x])
    inner = images.filter_moments(x, y).inner
    found = images.descend_filter(x, y, steps=25, learning_rate=0.1, engine=engine)
    shrink = np.linalg.matrix_power(np.eye(9) - 0.2 * inner, 25)
    formula = true.ravel() - shrink @ true.ravel()
    prove(found.kernel.ravel(), formula, oracle="power of the matrix", tol=2e-5)
    assert found.losses[-1] < found.losses[0] and len(found.losses) == 25


def test_the_fast_exponential_is_within_four_percent():
    from lepton_ref.vision.images.similarity import schraudolph_exp

    x = np.linspace(-5, 0, 10_001)
    error = schraudolph_exp(x) / np.exp(x) - 1
    assert -0.04 < error.min() < -0.03 and 0.015 < error.max() < 0.04
