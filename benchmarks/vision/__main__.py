"""Image filters beside scikit-image: ``make bench-vision``.

Writes ``benchmarks/vision/results.json``, which the performance page shows.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers import rows_of, write
from benchmarks.vision import bench_images

if __name__ == "__main__":
    write(
        "benchmarks.vision", Path(__file__).with_name("results.json"),
        lambda: rows_of(bench_images.measure()), ("numpy", "numba", "scikit-image"),
    )  # fmt: skip
