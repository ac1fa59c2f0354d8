"""How far implicit ALS reaches: time and memory at three sizes, and what they say of a fourth.

    python -m benchmarks.recsys.scale              writes benchmarks/recsys/scale.json
    python -m benchmarks.recsys.scale --sizes 1    a trial of the smallest; writes nothing

Interactions are synthetic: the popularity of items and the activity of users follow power laws, as
they do in shops, and the number of interactions per user is the same at every size. Each size is
measured in a process of its own, so that the largest memory it ever held is its own. The
prediction takes the exponent of the times (1 at least: every entry is visited) on from the largest
size, and draws a line through the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "recsys" / "scale.json"
SIZES = ((10_000, 1_000, 1_000_000), (32_000, 3_200, 3_200_000), (105_000, 10_500, 10_500_000))
TARGET = (1_000_000, 100_000, 100_000_000)
FACTORS = 64
LIMIT_GIB = 16.0


def power_law(rng: np.random.Generator, n: int, size: int, exponent: float) -> np.ndarray:
    """``size`` numbers below ``n``, int64, number j in proportion to (j + 0.01 n)^−exponent."""
    weights = np.cumsum((np.arange(n) + 0.01 * n + 1) ** -exponent)
    return np.searchsorted(weights, rng.random(size) * weights[-1]).astype(np.int64)


def interactions(n_users: int, n_items: int, n: int, seed: int = 0) -> Any:
    """``n`` distinct pairs of users and items as ``Ratings``, values from 1 to 5."""
    from lepton_ref.recsys.evaluation import Ratings

    rng = np.random.default_rng(seed)
    pairs = np.zeros(0, np.int64)
    while len(pairs) < n:
        more = int(1.3 * (n - len(pairs))) + 1000
        users = power_law(rng, n_users, more, 0.6)
        pairs = np.unique(
            np.concatenate([pairs, users * n_items + power_law(rng, n_items, more, 0.9)])
        )
    pairs = np.sort(rng.choice(pairs, n, replace=False))
    users, items = np.divmod(pairs, n_items)
    values = rng.integers(1, 6, n).astype(np.float64)
    return Ratings(users, items, values, None, np.arange(n_users), np.arange(n_items))


def gib() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(n_users: int, n_items: int, n: int) -> dict[str, Any]:
    """Peak memory of fitting, and seconds of an iteration by either solver."""
    from lepton_ref.recsys.factorization import Entries, ImplicitALS, implicit_step

    small = interactions(200, 100, 2_000)  # compiles
    for solver in ("exact", "cg"):
        ImplicitALS(factors=FACTORS, iterations=1, solver=solver, dtype="float32").fit(small)
    data = interactions(n_users, n_items, n)
    before = gib()
    model = ImplicitALS(factors=FACTORS, iterations=1, solver="cg", dtype="float32").fit(data)
    peak = gib()
    del data
    by_user = Entries.of(model.seen, "float32")
    by_item = Entries.of(model.seen.T.tocsr(), "float32")
    found: dict[str, Any] = {"users": n_users, "items": n_items, "interactions": n}
    for solver, steps in (("exact", None), ("cg", 3)):
        times = []
        for _ in range(2):
            began = time.perf_counter()
            implicit_step(by_item, model.user_factors, model.item_factors, model.reg, steps)
            implicit_step(by_user, model.item_factors, model.user_factors, model.reg, steps)
            times.append(time.perf_counter() - began)
        found[f"{solver}_s"] = round(min(times), 3)
    found |= {"peak_gib": round(peak, 3), "peak_before_fit_gib": round(before, 3)}
    return found


def growth(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Exponents of the times, slope of the memory, and both at the target."""
    n = np.array([row["interactions"] for row in rows], float)
    out: dict[str, Any] = dict(zip(("users", "items", "interactions"), TARGET))
    for solver in ("exact", "cg"):
        seconds = np.array([row[f"{solver}_s"] for row in rows])
        slope = float(np.polyfit(np.log(n), np.log(seconds), 1)[0])
        out[f"{solver}_exponent"] = round(slope, 3)
        out[f"{solver}_s"] = round(float(seconds[-1] * (TARGET[2] / n[-1]) ** max(1.0, slope)), 1)
    slope, start = np.polyfit(n, [row["peak_gib"] for row in rows], 1)
    out["bytes_per_interaction"] = round(float(slope) * 2**30, 1)
    out["peak_gib"] = round(float(start + slope * TARGET[2]), 1)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recsys.scale", description=__doc__)
    parser.add_argument("--sizes", type=int, default=len(SIZES), choices=range(1, len(SIZES) + 1))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(*SIZES[options.one])))
        return
    rows, load = [], os.getloadavg()[0]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(os.cpu_count()))
    for size in range(options.sizes):
        command = [sys.executable, "-m", "benchmarks.recsys.scale", "--one", str(size)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | threads, check=True,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    if options.sizes < len(SIZES):
        return
    if rows[-1]["peak_gib"] > LIMIT_GIB:
        sys.exit(f"{rows[-1]['peak_gib']} GiB: more than {LIMIT_GIB}")
    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "factors": FACTORS,
        "threads": os.cpu_count(),
        "dtype": "float32", "cg_steps": 3, "cores": os.cpu_count(),
        "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2),
        "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip
    content = {"environment": about, "sizes": rows, "predicted": growth(rows)}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    print(content["predicted"])


if __name__ == "__main__":
    main()
