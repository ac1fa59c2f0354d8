"""Measured beside other people's libraries in one process: how a chapter's table is made.

A module ``bench_<page>`` has ``measure() -> {what: row}``; a row holds ``peer``, ``ours_ms``,
``peer_ms``, ``ratio`` and ``bar`` (None where there is none).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.run import cpu_name, refuse_when_busy

Rows = list[dict[str, Any]]


def rows_of(table: Mapping[str, Mapping[str, Any]], **more: Any) -> Rows:
    """The rows of a table with their names in them, shown as they come."""
    rows = [{"what": what, **more, **row} for what, row in table.items()]
    for row in rows:
        print(f"{row['what']:<58} {row['ratio']:.2f} of {row['peer']}", flush=True)
    return rows


def best_of(calls: dict[str, Callable[[], Any]], rounds: int = 7) -> dict[str, float]:
    """Shortest time of each in milliseconds, the rounds alternating."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            before = time.perf_counter()
            calls[name]()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - before))
    return best


def write(module: str, path: Path, measure: Callable[[], Rows], packages: tuple[str, ...]) -> None:
    """Measure, unless the machine is busy, and keep the rows with what they were measured on.

    Parameters
    ----------
    module : str
        For the usage message.
    path : Path
        The JSON file that the performance page reads.
    measure : callable
    packages : tuple of str
        Distributions whose versions matter.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--loaded", action="store_true", help="measure on a busy machine too")
    given = parser.parse_args()
    load = refuse_when_busy(given.loaded)
    rows = measure()
    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "cpu": cpu_name(),
        "cores": os.cpu_count(), "load_before": round(load, 2),
        "versions": {name: metadata.version(name) for name in packages},
    }  # fmt: skip
    path.write_text(json.dumps({"environment": about, "rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")
