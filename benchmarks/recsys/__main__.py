"""Recommenders beside implicit and Surprise: ``make bench-recsys``.

Writes ``benchmarks/recsys/results.json``, which the performance page shows. Both sides get the same
data and as many threads; results are compared before anything is timed.
"""

from __future__ import annotations

from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.peers import Rows, rows_of, write
from benchmarks.recsys import bench_factorization, bench_neighbours
from lepton_ref.framework.parallel import threads


def measure() -> Rows:
    rows: Rows = []
    for many in sorted({1, threads()}):
        with threadpool_limits(many):
            table = bench_factorization.measure(many)
            if many == 1:  # Surprise has no threads
                table |= bench_neighbours.measure()
        kept = {k: row for k, row in table.items() if many == 1 or row["peer"] == "implicit"}
        rows += rows_of(kept, threads=many)
    return rows


if __name__ == "__main__":
    write(
        "benchmarks.recsys", Path(__file__).with_name("results.json"), measure,
        ("implicit", "scikit-surprise"),
    )  # fmt: skip
