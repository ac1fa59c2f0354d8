"""Image filters beside scikit-image at a megapixel.

Both sides get the same picture in one process, on one thread; their results are compared before
anything is timed; rounds alternate, and the shortest time of each counts. Where scikit-image
computes something else (``tests/vision/test_images_parity.py`` says what), the arguments make both
compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import lepton_ref
from benchmarks.peers import best_of
from lepton_ref.vision import images

BAR = 3.0
TOLERANCE = 1e-6
Case = tuple[Callable[[], Any], Callable[[], Any]]


def megapixel() -> tuple[np.ndarray, np.ndarray]:
    """The man with the camera four times, mirrored so that no seam shows; as levels and floats."""
    camera = lepton_ref.load("photographs").camera
    picture = np.pad(camera, ((0, 512), (0, 512)), mode="symmetric")
    return picture, picture / 255


def cases() -> dict[str, Case]:
    """Name -> ours and scikit-image's, which give the same numbers."""
    from skimage import color, exposure, feature, filters, measure, restoration, transform, util
    from skimage.restoration._denoise import _compute_spatial_lut

    levels, x = megapixel()
    rgb = np.stack([x, x[::-1], x[:, ::-1]], axis=2)
    skewed = _compute_spatial_lut(5, 1.0)[:25].reshape(5, 5)
    tilt = np.array([[1, 0.1, 5], [0.05, 0.9, 3], [1e-5, 2e-5, 1]])
    response = images.harris(x)
    mask = x > images.otsu(x)
    labels = images.label(mask)[0]
    names = ("area", "centroid", "bbox")

    def generator() -> np.random.Generator:
        return np.random.default_rng(0)

    def measured() -> np.ndarray:
        found = images.regions(labels)
        return np.column_stack([found.area, found.centroid, found.box])

    def theirs() -> np.ndarray:
        return np.column_stack([*measure.regionprops_table(labels, properties=names).values()])

    def ordered(places: np.ndarray) -> np.ndarray:
        return places[np.lexsort(places.T)]

    options = {"min_distance": 5, "threshold_rel": 0.01}
    bilateral = {"win_size": 5, "sigma_color": 0.1, "sigma_spatial": 1, "bins": 10**7}
    return {
        "noise": (
            lambda: images.sense(x, np.inf, 0.1, generator()),
            lambda: util.random_noise(x, rng=generator()),
        ),
        "grey": (lambda: images.grey(rgb), lambda: color.rgb2gray(rgb)),
        "luminance": (lambda: images.luminance(rgb), lambda: color.rgb2xyz(rgb)[..., 1]),
        "mean, 15 x 15": (
            lambda: images.mean_filter(x, 15),
            lambda: filters.threshold_local(x, 15, "mean"),
        ),
        "Gaussian, sigma 1": (
            lambda: images.gaussian_filter(x, 1, "edge"),
            lambda: filters.gaussian(x, 1),
        ),
        "Gaussian, sigma 3": (
            lambda: images.gaussian_filter(x, 3, "edge"),
            lambda: filters.gaussian(x, 3),
        ),
        "median, 3 x 3": (
            lambda: images.median_filter(x, 3, "edge"),
            lambda: filters.median(x, np.ones((3, 3))),
        ),
        "median, 5 x 5": (
            lambda: images.median_filter(x, 5, "edge"),
            lambda: filters.median(x, np.ones((5, 5))),
        ),
        "bilateral, 5 x 5": (
            lambda: images.bilateral_filter(x, 0.1, kernel=skewed, border="constant"),
            lambda: restoration.denoise_bilateral(x, **bilateral),
        ),
        "non-local means": (
            lambda: images.non_local_means(x, 4, 6, 0.125, exponential="schraudolph"),
            lambda: restoration.denoise_nl_means(x, 5, 6, 0.1),
        ),
        "gamma": (lambda: images.gamma(x, 2.2), lambda: exposure.adjust_gamma(x, 2.2)),
        "stretch": (
            lambda: images.stretch(x, 0.1, 0.9),
            lambda: exposure.rescale_intensity(x, (0.1, 0.9), (0, 1)),
        ),
        "warp": (lambda: images.warp(x, tilt), lambda: transform.warp(x, tilt, order=1)),
        "rotate": (lambda: images.rotate(x, 10), lambda: transform.rotate(x, 10)),
        "equalise, uint8": (
            lambda: images.equalise(levels),
            lambda: exposure.equalize_hist(levels),
        ),
        "equalise, floats": (lambda: images.equalise(x), lambda: exposure.equalize_hist(x)),
        "CLAHE": (lambda: images.clahe(x), lambda: exposure.equalize_adapthist(x)),
        "gradient": (
            lambda: images.gradient(x).magnitude * np.sqrt(2),
            lambda: filters.sobel(x),
        ),
        "Harris": (
            lambda: 4096 * images.harris(x, border="constant"),
            lambda: feature.corner_harris(x),
        ),
        "corners": (
            lambda: ordered(images.corners(response, 5, 0.01)),
            lambda: ordered(feature.corner_peaks(response, **options)),
        ),
        "HOG": (lambda: images.hog(x).ravel(), lambda: feature.hog(x)),
        "Otsu": (lambda: images.otsu(x), lambda: filters.threshold_otsu(x)),
        "local threshold": (
            lambda: images.local_threshold(x, 35),
            lambda: filters.threshold_local(x, 35, "mean"),
        ),
        "components": (lambda: images.label(mask)[0], lambda: measure.label(mask)),
        "measures of components": (measured, theirs),
    }


def measure_case(case: Case, rounds: int) -> dict[str, Any]:
    """Milliseconds of both, their ratio, and the largest difference of the results."""
    ours, theirs = case
    gap = float(np.abs(np.asarray(ours()) - np.asarray(theirs())).max())
    best = best_of({"ours": ours, "theirs": theirs}, rounds)
    return {
        "peer": "scikit-image", "ours_ms": round(best["ours"], 1),
        "peer_ms": round(best["theirs"], 1), "ratio": round(best["ours"] / best["theirs"], 2),
        "bar": BAR, "difference": gap,
    }  # fmt: skip


def measure(rounds: int = 5) -> dict[str, dict[str, Any]]:
    """Rows by name, on one thread."""
    table = {}
    with threadpool_limits(1):
        for name, case in cases().items():
            table[name] = measure_case(case, rounds)
            gap = table[name]["difference"]
            assert gap < TOLERANCE, f"{name}: results differ by {gap}"
    return table
