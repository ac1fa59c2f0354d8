"""Recommenders beside implicit and Surprise: ``make bench-recsys``.

Writes ``benchmarks/recsys/results.json``, which the performance page shows. Both sides get the same
data and as many threads; results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.recsys import bench_factorization, bench_neighbours
from benchmarks.run import cpu_name, refuse_when_busy
from lepton_ref.framework.parallel import threads

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recsys")
    parser.add_argument("--loaded", action="store_true", help="measure on a busy machine too")
    given = parser.parse_args()
    load = refuse_when_busy(given.loaded)
    rows = []
    for many in sorted({1, threads()}):
        with threadpool_limits(many):
            table = bench_factorization.measure(many)
            if many == 1:  # Surprise has no threads
                table |= bench_neighbours.measure()
        for name, row in table.items():
            if many == 1 or row["peer"] == "implicit":
                rows.append({"what": name, "threads": many, **row})
                print(f"{name:<34} {many} threads  {row['ratio']:.2f} of {row['peer']}", flush=True)
    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "cpu": cpu_name(),
        "cores": os.cpu_count(), "load_before": round(load, 2),
        "implicit": metadata.version("implicit"), "surprise": metadata.version("scikit-surprise"),
    }  # fmt: skip
    RESULTS.write_text(json.dumps({"environment": about, "rows": rows}, indent=1) + "\n")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
