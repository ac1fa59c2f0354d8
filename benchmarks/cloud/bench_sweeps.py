"""Sweeps of short notebooks beside plain papermill, in one run: ``make bench-sweeps``.

The notebook's own cells take under 50 ms, so what is measured is everything else: starting
kernels, talking to them, storing results. Writes ``benchmarks/sweeps.json``, which the performance
page shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from benchmarks.run import cpu_name, refuse_when_busy
from lepton_ref.cloud.sweeps.runs import Outcome, Task

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "sweeps.json"
RUNS, RESUMED = 64, 200
#: What the book demands of itself.
BARS = {"sequential": 8.0, "parallel": 4.0, "ray_overhead": 0.15, "resume": 2.0}
PLAIN = """
import sys, tempfile, logging
logging.getLogger("papermill").setLevel(logging.ERROR)
import papermill
first, last = int(sys.argv[2]), int(sys.argv[3])
with tempfile.TemporaryDirectory() as folder:
    for seed in range(first, last):
        papermill.execute_notebook(
            sys.argv[1], f"{folder}/{seed}.ipynb", parameters={"seed": seed},
            kernel_name="python3", progress_bar=False,
        )
"""


def trivial(folder: Path) -> Path:
    """A notebook with a parameter, an import, a little arithmetic and a record."""
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    for source in ("seed = 0", "import numpy as np\nx = np.arange(1000) * seed", "print(x.sum())"):
        made.cells.append(nbformat.v4.new_code_cell(source))
    made.cells[0].metadata["tags"] = ["parameters"]
    path = folder / "trivial.ipynb"
    nbformat.write(made, path)
    return path


def timed(commands: list[list[str]]) -> float:
    """Seconds until all of some commands, started together, have ended well."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    began = time.perf_counter()
    running = [
        subprocess.Popen(c, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    for process in running:
        _, told = process.communicate(timeout=1800)
        if process.returncode:
            raise RuntimeError(f"{process.args} failed:\n{told[-2000:]}")
    return time.perf_counter() - began


def plain(notebook: Path, first: int, last: int) -> list[str]:
    return [sys.executable, "-c", PLAIN, str(notebook), str(first), str(last)]


def sweep(notebook: Path, store: Path, runs: int, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "lepton_ref.cli", "sweep", str(notebook), "--grid", f"seed=0:{runs}",
        "--output", str(store), *more,
    ]  # fmt: skip


def task(notebook: Path, seed: int, warm: bool) -> Task:
    return Task(
        f"{seed:020x}", 0, notebook.read_text(), notebook.name, {"seed": seed}, warm=warm
    )


def finished(outcome: Outcome) -> None:
    if outcome.status != "finished":
        raise RuntimeError(str(outcome.error))


def attempt_seconds_per_run(notebook: Path, runs: int, warm: bool) -> float:
    """Seconds per run of the attempt that a worker makes, made here and without Ray."""
    from lepton_ref.cloud.sweeps.worker import attempt

    def go(count: int, first: int) -> float:
        began = time.perf_counter()
        for seed in range(first, first + count):
            finished(attempt(task(notebook, seed, warm)))
        return (time.perf_counter() - began) / count

    go(2, 10_000)
    return go(runs, 0)


def ray_seconds_per_run(notebook: Path, runs: int, warm: bool) -> float:
    """Seconds per run through one worker of a Ray cluster that is up and has run before."""
    from lepton_ref.cloud.sweeps.backends.ray import RayBackend

    backend = RayBackend(workers=1)

    def go(count: int, first: int) -> float:
        began = time.perf_counter()
        for seed in range(first, first + count):
            backend.submit(task(notebook, seed, warm))
        done = 0
        while done < count:
            for outcome in backend.wait(5.0):
                finished(outcome)
                done += 1
        return (time.perf_counter() - began) / count

    backend.start()
    try:
        go(2, 10_000)
        return go(runs, 0)
    finally:
        backend.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cloud.bench_sweeps")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--resumed", type=int, default=RESUMED)
    parser.add_argument("--loaded", action="store_true", help="measure on a busy machine too")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    load = refuse_when_busy(given.loaded)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook = trivial(folder)
        half = given.runs // 2
        rows: dict[str, Any] = {
            "one papermill process": timed([plain(notebook, 0, given.runs)]),
            "two papermill processes": timed(
                [plain(notebook, 0, half), plain(notebook, half, given.runs)]
            ),
            "lepton-ref sweep, cold kernels": timed(
                [sweep(notebook, folder / "cold", given.runs, "--workers", "2", "--cold")]
            ),
            "lepton-ref sweep": timed(
                [sweep(notebook, folder / "warm", given.runs, "--workers", "2")]
            ),
        }
        for label, seconds in rows.items():
            print(f"{label:<34} {seconds:7.1f} s", flush=True)
        each = rows["one papermill process"] / given.runs
        ray_cold = ray_seconds_per_run(notebook, 16, warm=False)
        bare_cold = attempt_seconds_per_run(notebook, 16, warm=False)
        ray_warm = ray_seconds_per_run(notebook, 32, warm=True)
        timed([sweep(notebook, folder / "warm", given.resumed, "--workers", "2")])
        resume = min(
            timed([sweep(notebook, folder / "warm", given.resumed, "--workers", "2")])
            for _ in range(3)
        )
    ours = rows["lepton-ref sweep"]
    figures = {
        "sequential": round(rows["one papermill process"] / ours, 1),
        "parallel": round(rows["two papermill processes"] / ours, 1),
        "ray_overhead": round(ray_cold - bare_cold, 3),
        "ray_warm_per_run": round(ray_warm, 3),
        "papermill_per_run": round(each, 3),
        "resume": round(resume, 2),
    }
    print(json.dumps(figures, indent=1))
    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "cpu": cpu_name(),
        "cores": os.cpu_count(), "runs": given.runs, "resumed": given.resumed,
        "load_before": round(load, 2),
    }  # fmt: skip
    seconds = {label: round(value, 2) for label, value in rows.items()}
    given.output.write_text(
        json.dumps({"environment": about, "seconds": seconds, "figures": figures, "bars": BARS},
                   indent=1) + "\n"
    )  # fmt: skip
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
