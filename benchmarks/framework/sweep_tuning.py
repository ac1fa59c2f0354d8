"""Four searches over one notebook at equal budget: ``python -m benchmarks.framework.sweep_tuning``.

Each is a sweep of ``lepton_ref/cloud/sweeps/examples/trial.ipynb``, a network trained on real
pictures, and may spend the epochs of 27 full runs. Leaves the table that the page
`framework/tuning` quotes (``book/results/framework/tuning.sweeps.numpy.json``) and the report of
the first repetition (``book/_static/reports/tuning.html``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import environment
from lepton_ref.cloud.sweeps import Store, SweepSpec, open_sweep, run_sweep
from lepton_ref.cloud.sweeps.backends.local import LocalBackend
from lepton_ref.cloud.sweeps.examples import TRIAL
from lepton_ref.cloud.sweeps.plan import Plan
from lepton_ref.cloud.sweeps.report import About, report_html
from lepton_ref.cloud.sweeps.results import table
from lepton_ref.cloud.sweeps.runs import PRUNED, Outcome
from lepton_ref.cloud.sweeps.spec import Random, Range, Search

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, RUNS = 9, 27
#: Trials that halving gets for about the epochs of 27 full runs: a run hears that it is to stop an
#: epoch or two late.
HALVING = 66
METRIC = "validation_accuracy"
SPACE = {"learning_rate": Range(1e-4, 1.0, log=True), "hidden_size": (16, 64, 256)}


def plans(seed: int, store: str) -> dict[str, Plan]:
    """The four searches, each with a seed of its own."""
    fixed = {"epochs": EPOCHS, "rows": 5000, "seed": seed}

    def plan(name: str, **what: Any) -> Plan:
        spec = SweepSpec(
            str(TRIAL), f"{store}/{name}-{seed}", name=f"Tuning: {name}", parameters=fixed,
            below_bounds="accept", **what,
        )  # fmt: skip
        return open_sweep(spec)

    rates = tuple(float(r) for r in np.geomspace(1e-4, 1.0, RUNS // 3))
    return {
        "grid": plan("grid", grid={"learning_rate": rates, "hidden_size": (16, 64, 256)}),
        "random": plan("random", random=Random(RUNS, SPACE, seed)),
        "tpe": plan("tpe", search=Search(RUNS, METRIC, SPACE, seed=seed)),
        "halving": plan(
            "halving",
            search=Search(HALVING, METRIC, SPACE, sampler="random", pruner="halving", seed=seed),
        ),
    }


def epochs_of(outcome: Outcome) -> int:
    """Epochs that a run was trained for."""
    if outcome.status == PRUNED and outcome.last_report:
        return int(outcome.last_report["step"])
    return EPOCHS if outcome.recorded else 0


def account(outcomes: list[Outcome]) -> dict[str, Any]:
    """What a search found, and what it spent."""
    trained = [o for o in outcomes if METRIC in o.recorded]
    best = max(trained, key=lambda o: o.recorded[METRIC])
    return {
        "runs": len(outcomes),
        "epochs": sum(epochs_of(o) for o in outcomes),
        "best": best.recorded[METRIC],
        "test": best.recorded["test_accuracy"],
        "rates": len({o.parameters["learning_rate"] for o in outcomes}),
        "core_minutes": round(sum(o.seconds for o in outcomes) / 60, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.framework.sweep_tuning")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    shown: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            for name, plan in plans(seed, folder).items():
                backend = LocalBackend(given.workers, plan.spec.limits)
                result = run_sweep(plan, backend, Store(plan.spec.output))
                outcomes = list(result.outcomes.values())
                for outcome in outcomes:
                    outcome.parameters = {"search": name, **outcome.parameters}
                    outcome.artifact = outcome.host = ""
                found.setdefault(name, []).append(account(outcomes))
                shown += outcomes if seed == 0 else []
                print(seed, name, found[name][-1], flush=True)
    records: dict[str, Any] = {"budget": RUNS * EPOCHS, "epochs_each": EPOCHS}
    records["repetitions"] = given.seeds
    for name, accounts in found.items():
        for key in accounts[0]:
            values = [account[key] for account in accounts]
            mean = round(float(np.mean(values)), 4)
            whole = all(isinstance(value, int) for value in values) and mean.is_integer()
            records[f"{name}_{key}"] = int(mean) if whole else mean
    target = ROOT / "book/results/framework/tuning.sweeps.numpy.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        json.dumps(
            {
                "page": "framework/tuning", "parameters": {"profile": "sweeps", "engine": "numpy"},
                "records": records, "environment": environment(),
                "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
            },
            indent=1,
        ) + "\n"
    )  # fmt: skip
    page = report_html(
        "Four searches at equal budget", table(shown),
        metrics=[METRIC, "test_accuracy"],
        about=About(notebook=TRIAL.name, backend=f"local, {given.workers} at a time"),
    )  # fmt: skip
    report = ROOT / "book/_static/reports/tuning.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(page, encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)} and {report.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
