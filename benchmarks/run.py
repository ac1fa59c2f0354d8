"""Measure every row beside its peers, in one run, and write ``benchmarks/results.json``.

Every library runs in a process of its own, with two threads. A round times one library after
another on one row, and there are at least seven rounds; the shortest time of each counts, so
that a passing disturbance of the machine hits no one. Before that, every library's results
are compared with ours: a peer that computes something else is refused, not timed.

Our engine runs on a current NumPy, as it does for whoever installs it without MXNet; its times
on the NumPy that MXNet needs stand beside. Chainer and numpy-ml need a yet older one. The
environments for this are made in ``build/`` on first use. A peer that cannot be had is left
out and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import (
    NUMPY_PEERS,
    OLD_PEERS,
    OURS,
    OURS_BESIDE_MXNET,
    PEERS,
    Row,
    all_rows,
)

#: Load above which nothing is measured.
QUIET = 0.5
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
NEW, NEW_PACKAGES = "bench-numpy", ("numpy==2.4.6", "threadpoolctl==3.8.0")
OLD = "bench-peers"
OLD_PACKAGES = ("numpy==1.23.5", "scipy==1.15.3", "chainer==7.8.1", "numpy-ml==0.1.2")
TOLERANCE = 2e-4  # of the largest entry: float32, sums in another order
SLOW = 1000.0  # ms; a library this slow is called in three rounds only
SLOW_ROUNDS = 3


class Worker:
    """One library in its own process."""

    def __init__(self, peer: str, python: str, environment: dict[str, str]) -> None:
        self.peer = peer
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", peer],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=ROOT, env=environment,
        )  # fmt: skip
        self.about = self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"ok": False, "reason": "its process ended"}

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"ok": False, "reason": "its process ended"}
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def environment_with(name: str, packages: tuple[str, ...]) -> str | None:
    """The Python of an environment under ``build/``, made when it is not there."""
    folder = ROOT / "build" / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists() or ready.read_text() != " ".join(packages):
        print(f"==> {folder.relative_to(ROOT)}: {' '.join(packages)}", flush=True)
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            if name == OLD:  # chainer's setup script
                subprocess.run([*install, "setuptools<60", "wheel"], check=True)
            subprocess.run([*install, *packages], check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"    not to be had here: {error}")
            return None
        ready.write_text(" ".join(packages))
    return str(python)


def python_of(peer: str) -> str | None:
    """The Python that runs this peer; None when it cannot be had."""
    if peer == OURS:
        return environment_with(NEW, NEW_PACKAGES) or sys.executable
    if peer in OLD_PEERS:
        return environment_with(OLD, OLD_PACKAGES)
    return sys.executable


def environment(threads: int) -> dict[str, str]:
    """Two threads for everyone, and no forced BLAS kernel (it slows a current NumPy)."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        kept[f"{name}_NUM_THREADS"] = str(threads)
    kept["PYTHONPATH"] = str(ROOT)
    kept["PYTHONWARNINGS"] = "ignore"
    return kept


def start(peers: list[str], threads: int) -> tuple[dict[str, Worker], dict[str, str]]:
    """The workers that came up, and why the others did not."""
    workers: dict[str, Worker] = {}
    absent: dict[str, str] = {}
    for peer in peers:
        python = python_of(peer)
        if python is None:
            absent[peer] = "its environment could not be made"
            continue
        worker = Worker(peer, python, environment(threads))
        if worker.about["ok"]:
            workers[peer] = worker
        else:
            absent[peer] = worker.about["reason"]
    return workers, absent


def disagreement(ours: Path, theirs: Path) -> str:
    """Empty when two result files hold the same numbers; else the worst difference."""
    with np.load(ours) as a, np.load(theirs) as b:
        if set(a) != set(b):
            return f"results {sorted(b)} instead of {sorted(a)}"
        for name in a:
            if a[name].shape != b[name].shape:
                return f"{name} has shape {b[name].shape} instead of {a[name].shape}"
            off = np.abs(a[name] - b[name]).max(initial=0) / np.abs(a[name]).max(initial=1e-30)
            if not off <= TOLERANCE:
                return f"{name} differs from ours by {off:.1e} of its largest entry"
    return ""


def prepare(
    row: Row, index: int, workers: dict[str, Worker], folder: Path
) -> tuple[list[str], dict[str, str]]:
    """Peers that do this row and compute what we compute; and why the others do not."""
    able, refused = [], {}
    for peer, worker in workers.items():
        if row.builder(peer) is None:
            refused[peer] = "does not do this"
            continue
        path = folder / f"{index}-{peer}.npz"
        reply = worker.ask(do="prepare", row=index, path=str(path))
        if not reply["ok"]:
            refused[peer] = reply["reason"]
        elif why := disagreement(folder / f"{index}-{OURS}.npz", path):
            refused[peer] = f"computes something else: {why}"
        else:
            able.append(peer)
    return able, refused


def measure(
    index: int, able: list[str], workers: dict[str, Worker], rounds: int, seconds: float
) -> dict[str, float]:
    """Shortest time in ms of each library, in alternating rounds."""
    best: dict[str, float] = {}
    for turn in range(rounds):
        order = able if turn % 2 == 0 else able[::-1]
        for peer in order:
            if turn >= SLOW_ROUNDS and best[peer] > SLOW:
                continue
            reply = workers[peer].ask(do="time", row=index, seconds=seconds)
            if not reply["ok"]:
                raise RuntimeError(f"{peer} failed while it was timed: {reply['reason']}")
            best[peer] = min(best.get(peer, float("inf")), reply["ms"])
    return best


def refuse_when_busy(loaded: bool) -> float:
    """Load of the machine (runnable processes, mean of a minute); ends the program above 0.5.

    Raises
    ------
    SystemExit
        On a busy machine, unless it is to be measured ``loaded``.
    """
    load = os.getloadavg()[0]
    if load > QUIET and not loaded:
        sys.exit(
            f"the machine is busy (load {load:.2f}, over {QUIET}): wait until it is idle, or say "
            "--loaded to measure it as it is"
        )
    return load


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def figures(ms: dict[str, float], bar: float | None) -> dict[str, Any]:
    """The ratios of a row, and whether it stands below its bar."""
    ours = ms[OURS]
    ratio = ours / ms["torch"] if "torch" in ms else None
    older = ms[OURS_BESIDE_MXNET] / ms["torch"] if {OURS_BESIDE_MXNET, "torch"} <= set(ms) else None
    others = {p: t / ours for p, t in ms.items() if p in NUMPY_PEERS}
    return {
        "ratio_to_torch": None if ratio is None else round(ratio, 2),
        "ratio_to_torch_numpy_1.26": None if older is None else round(older, 2),
        "bar": bar,
        "within_bar": None if ratio is None or bar is None else ratio <= bar,
        "times_faster_than": {p: round(t, 1) for p, t in others.items()},
    }


def show(row: dict[str, Any]) -> None:
    ratio, bar = row["ratio_to_torch"], row["bar"]
    times = " · ".join(f"{p} {t:.2f}" for p, t in row["peer_ms"].items())
    older = row["ratio_to_torch_numpy_1.26"]
    verdict = "" if ratio is None else f"  ratio {ratio:.2f} (bar {bar}; NumPy 1.26: {older})"
    print(f"{row['group']}: {row['name']}\n    {times} ms{verdict}", flush=True)
    for peer, why in row["absent"].items():
        if why != "does not do this":
            print(f"    without {peer}: {why}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds, at least 7")
    parser.add_argument("--seconds", type=float, default=0.25, help="per library and round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--only", default="", help="rows whose name or group contains this")
    parser.add_argument("--output", type=Path, help=f"default {RESULTS.relative_to(ROOT)}; "
                        "a partial run writes only where this says")  # fmt: skip
    options = parser.parse_args()
    peers = [OURS, *(p for p in options.peers if p != OURS)]
    load_before = os.getloadavg()[0]
    workers, absent = start(peers, options.threads)
    if OURS not in workers:
        sys.exit(f"our own engine does not start: {absent[OURS]}")

    table = []
    with tempfile.TemporaryDirectory() as folder:
        for index, row in enumerate(all_rows()):
            if options.only not in f"{row.group}: {row.name}":
                continue
            able, refused = prepare(row, index, workers, Path(folder))
            if OURS not in able:
                sys.exit(f"{row.name}: {refused[OURS]}")
            ms = measure(index, able, workers, options.rounds, options.seconds)
            for worker in workers.values():
                worker.ask(do="forget", row=index)
            table.append({
                "name": row.name, "group": row.group, "note": row.note,
                "peer_ms": {p: round(t, 3) for p, t in ms.items()},
                **figures(ms, row.bar), "absent": {**absent, **refused},
            })  # fmt: skip
            show(table[-1])
    for worker in workers.values():
        worker.close()

    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": cpu_name(), "cores": os.cpu_count(), "threads": options.threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {p: w.about["version"] for p, w in workers.items()},
        "blas": {p: w.about["blas"] for p, w in workers.items() if p.startswith("numpy")},
        "rounds": options.rounds, "seconds_per_round": options.seconds,
        "load_before": round(load_before, 2), "load_after": round(os.getloadavg()[0], 2),
        "absent": absent,
    }  # fmt: skip
    whole = options.rounds >= 7 and not options.only
    target = options.output or (RESULTS if whole else None)
    if target is not None:
        target.write_text(json.dumps({"environment": about, "rows": table}, indent=2) + "\n")
        print(f"wrote {target}")
    over = [r["name"] for r in table if r["within_bar"] is False]
    if over:
        print("above their bar: " + "; ".join(over))


if __name__ == "__main__":
    main()
