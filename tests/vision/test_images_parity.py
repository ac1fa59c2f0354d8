"""The page vision/images beside scikit-image, on real photographs, to 1e-6 and mostly to rounding.

Where the two differ on purpose, the test says how and takes scikit-image's way by arguments.
"""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref.vision import images
from lepton_ref.vision.images.analysis import _label
from tests.vision.pictures import ramp

pytest.importorskip("skimage")
from skimage import color, exposure, feature, filters, measure, restoration, transform, util
from skimage.restoration._denoise import _compute_spatial_lut

BAR = 1e-6


@pytest.fixture(scope="module")
def photographs():
    return lepton_ref.load("photographs")


@pytest.fixture(scope="module", params=["uint8", "float64", "float32"])
def camera(request, photographs):
    """A part of the photograph with the head and the camera, as each kind of picture."""
    part = photographs.camera[60:190, 160:310]
    return part if request.param == "uint8" else (part / 255).astype(request.param)


@pytest.fixture(scope="module")
def coffee(photographs):
    return photographs.coffee[100:220, 150:310]


def near(ours, theirs, tolerance=BAR):
    assert ours.dtype == np.float64 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def double(picture):
    """scikit-image computes float32 in float32; its float64 is the oracle."""
    return picture if picture.dtype == np.uint8 else picture.astype(np.float64)


def test_colour(coffee, photographs):
    near(images.grey(coffee), color.rgb2gray(coffee), 1e-12)
    near(images.luminance(coffee), color.rgb2xyz(coffee)[..., 1], 1e-12)
    near(images.to_srgb(images.to_linear(coffee)), coffee / 255, 1e-6)


def test_noise(camera):
    for seed in (0, 1):
        ours = images.sense(camera, np.inf, 0.1, np.random.default_rng(seed))
        near(ours, util.random_noise(double(camera), rng=np.random.default_rng(seed)), 1e-12)


def test_shot_noise(coffee):
    """scikit-image counts as many electrons as the picture has levels, rounded up to 2^n."""
    full = 2.0 ** np.ceil(np.log2(len(np.unique(coffee))))
    ours = images.sense(coffee, full, rng=np.random.default_rng(3))
    near(ours, util.random_noise(coffee, "poisson", rng=np.random.default_rng(3)), 1e-12)


def floats(picture):
    """The same from 0 to 1, where scikit-image keeps the levels of uint8 as they are."""
    return picture / 255 if picture.dtype == np.uint8 else double(picture)


@pytest.mark.parametrize("size", [3, 5, 15])
def test_mean(camera, size):
    theirs = filters.threshold_local(floats(camera), size, "mean")
    near(images.mean_filter(camera, size), theirs, 1e-12)
    near(images.local_threshold(camera, size, 0.03), theirs - 0.03, 1e-12)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 1, 3.3])
def test_gaussian(camera, coffee, sigma):
    theirs = filters.gaussian(double(camera), sigma)
    near(images.gaussian_filter(camera, sigma, "edge"), theirs, 1e-12)
    theirs = filters.gaussian(coffee, sigma, channel_axis=-1, mode="mirror")
    near(images.gaussian_filter(coffee, sigma, "reflect"), theirs, 1e-12)


@pytest.mark.parametrize("size", [3, 5])
def test_median(camera, coffee, size):
    window = np.ones((size, size))
    scale = 255 if camera.dtype == np.uint8 else 1
    near(
        images.median_filter(camera, size, "edge"),
        filters.median(double(camera), window) / scale,
        1e-12,
    )
    theirs = np.stack([filters.median(c, window) for c in np.moveaxis(coffee, 2, 0)], 2)
    near(images.median_filter(coffee, size, "edge"), theirs / 255, 1e-12)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_bilateral_with_the_spatial_table_of_scikit_image(camera, coffee, sigma):
    """0.26.0 reads its (k + 1)×(k + 1) table of distances as if it had k columns; see the next one.

    Its weights of colour come from a table, too; with 10 million entries it is finer than the bar,
    but not for uint8, where it reaches to 255 while the values reach to 1: so it gets floats.
    """
    kernel = _compute_spatial_lut(5, sigma)[:25].reshape(5, 5)
    options = {"win_size": 5, "sigma_color": 0.1, "sigma_spatial": sigma, "bins": 10**7}
    theirs = restoration.denoise_bilateral(floats(camera), **options)
    near(images.bilateral_filter(camera, 0.1, kernel=kernel, border="constant"), theirs)
    theirs = restoration.denoise_bilateral(floats(camera), mode="symmetric", **options)
    near(images.bilateral_filter(camera, 0.1, kernel=kernel), theirs)
    # It divides the distance of two colours by their number.
    theirs = restoration.denoise_bilateral(coffee / 255, channel_axis=-1, mode="edge", **options)
    near(images.bilateral_filter(coffee, 0.3, kernel=kernel, border="edge"), theirs)


def test_the_bilateral_table_of_colours_is_coarser_for_levels(photographs):
    """It has `bins` entries up to 255 for uint8, up to 1 for floats: 255 times as many make up."""
    levels = photographs.camera[60:130, 160:240]

    def error(picture, bins):
        options = {"win_size": 5, "sigma_color": 0.1, "sigma_spatial": 1}
        fine = restoration.denoise_bilateral(levels / 255, bins=10**7, **options)
        return np.abs(restoration.denoise_bilateral(picture, bins=bins, **options) - fine).max()

    assert error(levels, 10_000) > 100 * error(levels / 255, 10_000)
    assert 0.5 < error(levels, 255 * 10_000) / error(levels / 255, 10_000) < 2


@pytest.mark.parametrize("size", [5, 7])
def test_bilateral_with_the_right_spatial_table(camera, size, monkeypatch):
    """Given the table that its loop expects, scikit-image agrees with ours at its defaults."""
    from skimage.restoration import _denoise

    def table(win_size, sigma, *, dtype=float):
        u = np.arange(win_size) - win_size // 2
        return np.exp(-(u[:, None] ** 2 + u**2) / (2 * sigma**2)).astype(dtype).ravel()

    broken = _denoise._compute_spatial_lut(size, 1.0)
    assert len(broken) == (size + 1) ** 2 and broken.reshape(size + 1, -1)[-1, 0] < 1
    monkeypatch.setattr(_denoise, "_compute_spatial_lut", table)
    theirs = restoration.denoise_bilateral(
        floats(camera), win_size=size, sigma_color=0.1, sigma_spatial=1, bins=10**7, mode="edge"
    )
    near(images.bilateral_filter(camera, 0.1, 1.0, size, border="edge"), theirs)


@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_non_local_means(camera, coffee, sigma):
    """Its fast mode compares patches one pixel smaller than asked, divided by the size asked for.

    5×5 with h is 4×4 with 5h/4, and the noise counts 16 times of 25.
    """
    options = {"patch_size": 5, "patch_distance": 4, "sigma": sigma}
    ours = {"patch_size": 4, "patch_distance": 4, "sigma": sigma, "exponential": "schraudolph"}
    theirs = restoration.denoise_nl_means(double(camera), h=0.1, **options)
    near(images.non_local_means(camera, h=0.125, **ours), theirs)
    theirs = restoration.denoise_nl_means(coffee[:50, :60], h=0.1, channel_axis=-1, **options)
    near(images.non_local_means(coffee[:50, :60], h=0.125, **ours), theirs)


def test_non_local_means_with_the_exact_exponential_is_near(camera):
    theirs = restoration.denoise_nl_means(double(camera), 5, 4, 0.1)
    ours = images.non_local_means(camera, 4, 4, 0.125)
    assert 1e-4 < np.abs(ours - theirs).max() < 0.02


def test_gamma_and_stretch(camera, coffee):
    for picture in (camera, coffee):
        x = floats(picture)
        near(images.gamma(picture, 2.2, 0.9), exposure.adjust_gamma(x, 2.2, 0.9), 1e-12)
        theirs = exposure.rescale_intensity(x, (0.2, 0.7), (0, 1))
        near(images.stretch(picture, 0.2, 0.7), theirs, 1e-12)
        near(images.stretch(picture), exposure.rescale_intensity(x, "image", (0, 1)), 1e-12)


def test_homography(rng):
    square = np.array([[0, 0], [200, 0], [200, 100], [0, 100.0]])
    for points in (square, rng.uniform(0, 300, (9, 2))):
        moved = points + rng.normal(0, 20, points.shape)
        theirs = transform.ProjectiveTransform.from_estimate(points, moved).params
        np.testing.assert_allclose(images.homography(points, moved), theirs, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(
            images.apply_map(theirs, points), transform.ProjectiveTransform(theirs)(points)
        )


MAPS = {
    "tilted": [[1, 0.1, 5], [0.05, 0.9, 3], [1e-4, 2e-4, 1]],
    "smaller": [[2.5, 0, -30], [0, 2.5, -20], [0, 0, 1]],
    "half a pixel": [[1, 0, 0.5], [0, 1, -0.25], [0, 0, 1]],
    "horizon inside": [[1, 0, 0], [0, 1, 0], [-0.011, 0, 1]],
}


@pytest.mark.parametrize("name", MAPS)
def test_warp(camera, coffee, name):
    matrix = np.array(MAPS[name])
    for picture in (camera, coffee):
        theirs = transform.warp(double(picture), matrix, order=1, output_shape=(97, 160), cval=0.25)
        near(images.warp(picture, matrix, (97, 160), fill=0.25), theirs, 1e-9)


def test_rotate(camera, coffee):
    for degrees in (0, 10, -33.3, 90):
        near(images.rotate(camera, degrees), transform.rotate(double(camera), degrees), 1e-9)
        near(images.rotate(coffee, degrees), transform.rotate(coffee, degrees), 1e-9)


def test_equalise(camera, coffee, photographs):
    for picture in (camera, photographs.coins, ramp((20, 30)), coffee[..., 1]):
        near(images.equalise(picture), exposure.equalize_hist(double(picture)), 1e-12)
    counts, centres = images.histogram(camera)
    theirs, at = exposure.histogram(double(camera))
    scale = 255 if camera.dtype == np.uint8 else 1
    assert np.array_equal(counts, theirs) and np.allclose(centres, at / scale)


@pytest.mark.parametrize("options", [{}, {"clip_limit": 0.03}, {"clip_limit": 1.0, "nbins": 100}])
@pytest.mark.parametrize("tile", [None, 40, (31, 53)])
def test_clahe(camera, coffee, tile, options):
    for picture in (camera, coffee):
        theirs = exposure.equalize_adapthist(double(picture), tile, **options)
        ours = {"bins" if k == "nbins" else k: v for k, v in options.items()}
        near(images.clahe(picture, tile, **ours), theirs, 1e-9)


def test_gradient(camera):
    """scikit-image gives differences over two pixels; ours are per pixel, half of that."""
    x = double(camera)
    near(2 * images.gradient(camera).down, filters.sobel_h(x), 1e-12)
    near(2 * images.gradient(camera).along, filters.sobel_v(x), 1e-12)
    near(2 * images.gradient(camera).magnitude / np.sqrt(2), filters.sobel(x), 1e-12)


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_harris_and_its_corners(camera, sigma):
    theirs = feature.corner_harris(double(camera), k=0.05, sigma=sigma)
    ours = images.harris(camera, sigma, border="constant")
    near(4096 * ours, theirs, 1e-9)
    for distance, threshold in ((1, 0.01), (5, 0.01), (12, 0.1)):
        options = {"min_distance": distance, "threshold_rel": threshold}
        found = feature.corner_peaks(theirs, **options)
        mine = images.corners(ours, distance, threshold)
        assert len(mine) > 3 and {*map(tuple, mine)} == {*map(tuple, found)}


@pytest.mark.parametrize(("orientations", "cell", "block"), [(9, 8, 3), (9, 8, 2), (6, 12, 1)])
def test_hog(camera, coffee, orientations, cell, block):
    """Its sums are float32, so the difference is 1e-7, not 1e-15."""
    names = {"pixels_per_cell": (cell, cell), "cells_per_block": (block, block)}
    for picture, axis in ((camera, None), (coffee, -1)):
        x = floats(picture)
        theirs = feature.hog(x, orientations, feature_vector=False, channel_axis=axis, **names)
        near(images.hog(picture, orientations, cell, block), theirs)


def test_otsu(camera, photographs):
    for picture in (camera, photographs.coins):
        scale = 255 if picture.dtype == np.uint8 else 1
        assert abs(images.otsu(picture) - filters.threshold_otsu(double(picture)) / scale) < 1e-12


@pytest.mark.parametrize("neighbours", [4, 8])
def test_components_and_their_measures(photographs, rng, neighbours):
    coins = photographs.coins > 255 * images.otsu(photographs.coins)
    masks = [coins, rng.random((41, 30)) < 0.5, np.ones((3, 4), bool), np.zeros((2, 2), bool)]
    for mask in masks:
        labels, count = images.label(mask, neighbours)
        theirs = measure.label(mask, connectivity=neighbours // 4)
        assert np.array_equal(labels, theirs) and count == theirs.max()
        table = measure.regionprops_table(theirs, properties=("area", "centroid", "bbox"))
        found = images.regions(labels)
        assert np.array_equal(found.area, table["area"]) and len(found) == count
        for k in range(2):
            np.testing.assert_allclose(found.centroid[:, k], table[f"centroid-{k}"])
        for k in range(4):
            assert np.array_equal(found.box[:, k], table[f"bbox-{k}"])


def test_the_compiled_loop_and_the_readable_one_are_the_same(rng):
    for _ in range(5):
        mask = rng.random((17, 13)) < 0.55
        for eight in (True, False):
            fast, count = _label(mask, eight)
            slow, number = _label.python(mask, eight)
            assert np.array_equal(fast, slow) and count == number > 0
