"""From a plan to its end: the backend chosen, the sweep run, its results told."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lepton_ref.cloud.sweeps import finish as finishing
from lepton_ref.cloud.sweeps import secrets
from lepton_ref.cloud.sweeps.backends.base import Backend
from lepton_ref.cloud.sweeps.driver import committed, run_sweep
from lepton_ref.cloud.sweeps.dry_run import cluster_of, machine_rate, price_it
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.plan import Plan, open_sweep
from lepton_ref.cloud.sweeps.progress import Bar, given, shown
from lepton_ref.cloud.sweeps.runs import BELOW_BOUNDS, Outcome
from lepton_ref.cloud.sweeps.state import SweepResult
from lepton_ref.cloud.sweeps.storage import Store
from lepton_ref.cloud.sweeps.yaml_file import load_spec


def launch(
    plan: Plan,
    console: Console,
    errors: Console,
    *,
    source: str = "",
    prices: str | None = None,
    dry_run: bool = False,
    seconds_per_run: float = 0.0,
) -> int:
    """Run a sweep as the command line does; the exit code.

    0: every run complete; 1: runs failed; 128 + signal: interrupted.

    Raises
    ------
    SweepError, StoreError, BackendError
        When it cannot start.
    """
    spec = plan.spec
    store = Store(spec.output)
    built = _for_kubernetes(plan, source) if spec.backend == "kubernetes" else None
    if built is not None and not dry_run:
        return _on_kubernetes(built, console)
    price = machine_rate(plan, prices)
    for warning in price.warnings if price else ():
        errors.print(f"[yellow]price:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    if plan.repeated:
        console.print(
            f"{plan.repeated} runs are asked for more than once; each is executed once",
            highlight=False,
        )
    if dry_run:
        price_it(plan, store, price, console, seconds_per_run)
        return 0
    backend = make_backend(plan)
    _check_secrets(plan)
    began = time.perf_counter()
    rate = price.cost_per_run_second if price else None
    bar = Bar(console, plan.title, rate, price.currency if price else "USD")
    result = run_sweep(plan, backend, store, bar)
    took = time.perf_counter() - began
    cost = ""
    if price and result.state.executed:
        cost = f"{result.state.busy_seconds * price.cost_per_run_second:.4f} {price.words}"
    if not finishing.up_to_date(result, store):
        slots = getattr(backend, "slots", spec.workers)
        finishing.finish(
            plan, result, store,
            backend=f"{spec.backend}, {slots} at a time" if slots else spec.backend,
            wall_seconds=took if result.state.executed else None, cost=cost,
            command=shlex.join(["lepton-ref", *sys.argv[1:]]) if source else "",
        )  # fmt: skip
    return _tell(plan, result, store, console, errors, took)


def make_backend(plan: Plan) -> Backend:
    """The backend that a sweep names, not yet started."""
    spec = plan.spec
    if spec.backend == "ray":
        from lepton_ref.cloud.sweeps.backends.ray import RayBackend

        return RayBackend(spec.address, spec.workers or None, spec.limits)
    from lepton_ref.cloud.sweeps.backends.local import LocalBackend

    return LocalBackend(spec.workers or None, spec.limits)


def _check_secrets(plan: Plan) -> None:
    """On this machine, a secret that is not set fails before any run does."""
    if plan.spec.on_this_machine:
        for parameters in [plan.spec.parameters, *(run.parameters for run in plan.runs)]:
            for name in secrets.named(parameters).values():
                secrets.secret(name)


def _tell(
    plan: Plan, result: SweepResult, store: Store, console: Console, errors: Console, took: float
) -> int:
    """Say how it ended; the exit code."""
    state = result.state
    strict = plan.spec.below_bounds == "fail"
    failures = result.failures(strict)
    fine = len(result.outcomes) - len(failures)
    executed = "nothing was executed" if not state.executed else f"{state.executed} attempts"
    console.print(
        f"{fine} of {state.total} runs are complete ({executed}, {shown(took)}); "
        f"results.parquet, results.csv and report.html in {escape(store.url)}",
        highlight=False,
        soft_wrap=True,
    )
    if result.earlier:
        console.print(
            f"the store also holds {result.earlier} runs of other code or parameters, which are "
            "not in the table",
            highlight=False,
        )
    _failures(failures, errors)
    if result.interrupted:
        errors.print(
            f"interrupted with {result.missing} runs to go; the same command goes on from here",
            highlight=False,
        )
        return 128 + result.interrupted
    return 1 if failures or result.missing else 0


def _failures(failures: list[Outcome], errors: Console) -> None:
    """A table of what failed and why."""
    if not failures:
        return
    lines = Table(title=f"{len(failures)} runs are not as they should be", title_justify="left")
    for head in ("run", "parameters", "what", "why"):
        lines.add_column(head, overflow="fold")
    for outcome in failures[:50]:
        error = outcome.error or {}
        cell = f" (cell {error['cell']})" if error.get("cell") else ""
        why = f"{error.get('name', '')}: {str(error.get('value', '')).partition(chr(10))[0][:160]}"
        word = "below bounds" if outcome.status == BELOW_BOUNDS else outcome.status
        lines.add_row(
            outcome.id[:8], escape(given(outcome)), word.replace("_", " ") + cell, escape(why)
        )
    errors.print(lines, highlight=False)
    if len(failures) > 50:
        errors.print(f"and {len(failures) - 50} more; the report lists all of them")


@dataclasses.dataclass(frozen=True)
class _Built:
    """What is sent to Kubernetes, and how."""

    documents: list[dict[str, Any]]
    follow: bool
    manifest_only: bool


def _for_kubernetes(plan: Plan, source: str) -> _Built:
    """The documents of a sweep on Kubernetes.

    Raises
    ------
    SweepError
        For a sweep without a file, a file that says another sweep, options that cannot be meant.
    """
    from lepton_ref.cloud.sweeps.backends import kubernetes

    spec = plan.spec
    if not source.endswith((".yaml", ".yml")):
        raise SweepError("a sweep on Kubernetes needs a sweep file: lepton-ref sweep X.yaml")
    _check_file_says_all(source, plan)
    files = {Path(source).name: _portable(source, plan)}
    if "://" not in spec.notebook:
        files[plan.name] = plan.text
    cluster = cluster_of(spec)
    documents = kubernetes.documents(
        plan.title, files, Path(source).name, spec.output, cluster, spec.limits
    )
    follow = bool(spec.options.get("follow", True))
    return _Built(documents, follow, bool(spec.options.get("manifest_only", False)))


def _on_kubernetes(built: _Built, console: Console) -> int:
    """Hand the whole sweep to a cluster, and look on."""
    from lepton_ref.cloud.sweeps.backends import kubernetes

    if built.manifest_only:
        text = kubernetes.to_yaml(built.documents)
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return 0
    told: list[str] = []

    def progress(now: Any) -> None:
        done = "" if now.committed is None else f", {now.committed} runs stored"
        line = f"{now.deployment or 'sent'} {now.job}{done} {now.note}".strip()
        if told[-1:] != [line]:
            told.append(line)
            console.print(line, highlight=False, markup=False)

    result = kubernetes.submit_sweep(built.documents, follow=built.follow, on_progress=progress)
    console.print(result.message, highlight=False, markup=False, soft_wrap=True)
    if result.state == "running":  # Ctrl-C left it to itself
        return 128 + signal.SIGINT
    return 0 if result.ok or result.state == "submitted" else 1


#: Fields of a sweep that the command line may change without the file, for another one reads it.
_NOT_IN_THE_FILE = {"notebook", "output", "backend", "address", "options", "machine", "spot"}


def _check_file_says_all(source: str, plan: Plan) -> None:
    """Refuse a command line that asks for another sweep than the file, which is what is sent."""
    known = {"output": plan.spec.output, "backend": plan.spec.backend}
    sent = open_sweep(load_spec(source, known)).spec
    changed = [
        f.name
        for f in dataclasses.fields(sent)
        if f.name not in _NOT_IN_THE_FILE and getattr(sent, f.name) != getattr(plan.spec, f.name)
    ]
    if changed:
        raise SweepError(
            f"the cluster reads {Path(source).name}, and the command line changes its "
            f"{', '.join(changed)}: write that into the file"
        )


def _portable(source: str, plan: Plan) -> str:
    """The sweep file as it reads inside the cluster: its notebook lies beside it."""
    import yaml

    data = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
    if "://" not in plan.spec.notebook:
        data["notebook"] = plan.name
    for key in ("backend", "address", "options"):
        data.pop(key, None)
    return yaml.safe_dump(data, sort_keys=False)


def report_again(url: str, to: str = "") -> int:
    """Write tables and report of a store anew, over all complete and failed runs that it holds.

    Returns
    -------
    int
        Runs in the table.
    """
    from lepton_ref.cloud.sweeps.report import About, report_html
    from lepton_ref.cloud.sweeps.results import table, write_tables

    store = Store(url, create=False)
    outcomes = list(committed(store).values())
    for path in store.list("failed"):
        if path.endswith("/run.json"):
            outcomes.append(Outcome.from_json(store.read_json(path)))
    if not outcomes:
        raise SweepError(f"the store {store.url} holds no run")
    about: dict[str, Any] = {}
    name = "sweep"
    if store.exists("sweep.json"):
        sweep = store.read_json("sweep.json")
        name, about = sweep["name"], {"notebook": sweep["notebook"], "backend": sweep["backend"]}
    frame = table(outcomes)
    page = report_html(name, frame, notebooks=finishing.reader(store), about=About(**about))
    if to:
        Path(to).write_text(page, encoding="utf-8")
    else:
        write_tables(store, frame)
        store.write_text(finishing.REPORT, page)
    return len(frame)
