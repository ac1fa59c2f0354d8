"""Image filters beside scikit-image at a megapixel: ``python -m benchmarks.vision.bench_images``.

Writes ``benchmarks/vision/images.json``. Both sides get the same picture in one process, on one
thread; their results are compared before anything is timed; rounds alternate, and the shortest time
of each counts. Where scikit-image computes something else (``tests/vision/test_images_parity.py``
says what), the arguments make both compute the same.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import lepton_ref
from benchmarks.run import cpu_name, refuse_when_busy
from lepton_ref.vision import images

RESULTS = Path(__file__).with_name("images.json")
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


def measure_case(case: Case, rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Milliseconds of both, their ratio, and the largest difference of the results."""
    ours, theirs = case
    gap = float(np.abs(np.asarray(ours()) - np.asarray(theirs())).max())
    mine, other = [], []
    for _ in range(rounds):
        mine.append(timed(ours, clock))
        other.append(timed(theirs, clock))
    seconds, peer = min(mine), min(other)
    return {
        "peer": "scikit-image", "ours_ms": round(1e3 * seconds, 1), "peer_ms": round(1e3 * peer, 1),
        "ratio": round(seconds / peer, 2), "bar": BAR, "difference": gap,
    }  # fmt: skip


def timed(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    before = clock()
    call()
    return clock() - before


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vision.bench_images")
    parser.add_argument("--loaded", action="store_true", help="measure on a busy machine too")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    load = refuse_when_busy(given.loaded)
    # Each side has one thread: on a busy machine its own seconds tell more than the wall.
    clock = time.process_time if given.loaded else time.perf_counter
    rows = []
    with threadpool_limits(1):
        for name, case in cases().items():
            row = measure_case(case, given.rounds, clock)
            assert row["difference"] < TOLERANCE, f"{name}: results differ by {row['difference']}"
            rows.append({"what": name, "threads": 1, **row})
            print(f"{name:<24} {row['ratio']:.2f}  {row['difference']:.0e}", flush=True)
    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "cpu": cpu_name(),
        "cores": os.cpu_count(), "load_before": round(load, 2), "picture": "1024 x 1024",
        "clock": clock.__name__,
        "numpy": np.__version__, "scikit-image": metadata.version("scikit-image"),
    }  # fmt: skip
    RESULTS.write_text(json.dumps({"environment": about, "rows": rows}, indent=1) + "\n")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
