"""Explainers beside Captum and shap: ``make bench-explain``.

Writes ``benchmarks/explain/results.json``, which the performance page shows.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.explain import bench_gradients, bench_perturbation, bench_shapley
from benchmarks.peers import Rows, rows_of, write


def measure() -> Rows:
    rows: Rows = []
    for module in (bench_gradients, bench_perturbation, bench_shapley):
        rows += rows_of(module.measure())
    return rows


if __name__ == "__main__":
    write(
        "benchmarks.explain", Path(__file__).with_name("results.json"), measure,
        ("numpy", "torch", "captum", "shap"),
    )  # fmt: skip
