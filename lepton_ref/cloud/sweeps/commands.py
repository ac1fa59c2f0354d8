"""The commands ``run``, ``sweep`` and ``report`` (typer)."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.errors import StoreError, SweepError
from lepton_ref.cloud.sweeps.plan import open_sweep
from lepton_ref.cloud.sweeps.spec import SweepSpec
from lepton_ref.cloud.sweeps.storage import Store

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run a notebook with other parameters: once, or hundreds of times on a cluster.",
)
console = Console()
errors = Console(stderr=True)

#: Exit codes: runs failed; the sweep could not start; it was interrupted (128 + signal).
FAILED, REFUSED = 1, 2

Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME VALUE", help="A parameter of every run."),
]


def _refuse(error: Exception) -> typer.Exit:
    errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return typer.Exit(REFUSED)


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="Path or address of a notebook.")],
    parameter: Parameters = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Path or address of the executed notebook.")
    ] = "",
    timeout: Annotated[float | None, typer.Option(help="Seconds for the whole notebook.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the numerical libraries.")] = 0,
) -> None:
    """Run a notebook once, with your parameters checked first."""
    from lepton_ref.cloud.sweeps.backends.local import available_cores
    from lepton_ref.cloud.sweeps.options import given_parameters
    from lepton_ref.cloud.sweeps.progress import shown
    from lepton_ref.cloud.sweeps.runs import COMPLETE, FINISHED
    from lepton_ref.cloud.sweeps.yaml_file import limits

    target = output or f"{Path(notebook).stem}.run.ipynb"
    try:
        if target == notebook or Path(target).resolve() == Path(notebook).resolve():
            raise SweepError("`output` is the notebook itself; give another path")
        spec = SweepSpec(notebook, target, warm=False, cwd="notebook")
        spec = dataclasses.replace(
            spec,
            parameters=given_parameters(spec, parameter or []),
            limits=limits(timeout=timeout, threads=threads or available_cores()),
        )
        plan = open_sweep(spec)
        folder, _, name = target.rpartition("/")
        store = Store(folder or ".")
        store.check_writable()
    except (SweepError, StoreError) as error:
        raise _refuse(error) from None
    from lepton_ref.cloud.sweeps.execution import attempt

    with console.status(f"{plan.name} is running"):
        outcome = attempt(plan.task(plan.runs[0], 0))
    if outcome.content is not None:
        store.write_text(name, outcome.content)
    for name, value in outcome.recorded.items():
        console.print(f"{name} = {value}", highlight=False)
    if outcome.status != FINISHED:
        why = outcome.error or {}
        where = f" in cell {why['cell']}" if why.get("cell") else ""
        errors.print(
            f"[red]{outcome.status.replace('_', ' ')}[/]{where}: "
            + escape(f"{why.get('name')}: {why.get('value')}"),
            highlight=False,
            soft_wrap=True,
        )
    if outcome.content is not None:
        kept = "" if outcome.status in COMPLETE else "as far as it came: "
        console.print(f"{kept}{target} ({shown(outcome.seconds)})", highlight=False)
    if outcome.status != FINISHED:
        raise typer.Exit(FAILED)


@app.command()
def sweep(
    source: Annotated[str, typer.Argument(help="A sweep file (YAML), or a notebook.")],
    parameter: Parameters = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=A,B", help="Every combination: lr=0.1,0.01 or seed=0:5."),
    ] = None,
    random: Annotated[
        int, typer.Option(metavar="N", help="N points drawn at random from --space.")
    ] = 0,
    search: Annotated[
        int, typer.Option(metavar="N", help="N trials proposed by Optuna from --space.")
    ] = 0,
    space: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DOMAIN", help="lr=1e-4..0.1:log, size=32..256, kind=a,b."),
    ] = None,
    metric: Annotated[str, typer.Option(help="The recorded value that a search improves.")] = "",
    minimize: Annotated[bool, typer.Option("--minimize", help="Small values are good.")] = False,
    pruner: Annotated[str, typer.Option(help="none, median, halving or hyperband.")] = "none",
    draw_seed: Annotated[int, typer.Option(help="Seeds --random and --search.")] = 0,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The store: a folder, s3://, abfs://, ...")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="local, ray or kubernetes.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster: auto, host:port or ray://host:port.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at a time.")] = None,
    cpus: Annotated[float | None, typer.Option(help="Cores for each run.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs for each run (Ray).")] = None,
    memory_mb: Annotated[float | None, typer.Option(help="Memory for each run (Ray).")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the numerical libraries in each run.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for each whole notebook.")] = None,
    output_mb: Annotated[float | None, typer.Option(help="Most output of a run.")] = None,
    system_retries: Annotated[
        int | None, typer.Option(help="Tries after faults of the machine, for each run.")
    ] = None,
    error_retries: Annotated[
        int | None, typer.Option(help="Tries after the notebook's own errors, for each run.")
    ] = None,
    warm: Annotated[
        bool | None, typer.Option("--warm/--cold", help="Fork kernels, or start each anew.")
    ] = None,
    accept_below_bounds: Annotated[
        bool, typer.Option(help="Results below a notebook's own bound are no failure.")
    ] = False,
    machine: Annotated[
        str | None, typer.Option(help="An entry of the price file, for the estimated cost.")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="At the spot price.")] = False,
    prices: Annotated[str, typer.Option(help="A price file of your own.")] = "",
    seconds_per_run: Annotated[
        float, typer.Option(help="For --dry-run; the store's earlier runs tell otherwise.")
    ] = 0.0,
    lock: Annotated[str, typer.Option(help="A lock file that is part of each run's name.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count and price; run nothing.")
    ] = False,
) -> None:
    """Run a notebook under many parameters, and put every result into one table."""
    from lepton_ref.cloud.sweeps import options, yaml_file
    from lepton_ref.cloud.sweeps.launch import launch

    try:
        overrides: dict[str, Any] = {
            "backend": backend, "address": address, "workers": workers, "warm": warm,
            "output": output, "machine": machine,
            "below_bounds": "accept" if accept_below_bounds else None,
            "spot": spot or None,
        }  # fmt: skip
        overrides = {key: value for key, value in overrides.items() if value is not None}
        varied = options.Varied(
            parameter or [], grid or [], space or [], random, search, metric,
            "minimize" if minimize else "maximize", pruner, draw_seed,
        )  # fmt: skip
        if source.endswith((".yaml", ".yml")):
            spec = yaml_file.load_spec(source, overrides)
        else:
            spec = SweepSpec(notebook=source, **({"output": ""} | overrides))
        spec = options.vary(spec, varied)
        spec = options.limit(
            spec, timeout=timeout, output_mb=output_mb, cpus=cpus, gpus=gpus, memory_mb=memory_mb,
            threads=threads, system=system_retries, error=error_retries,
        )  # fmt: skip
        plan = open_sweep(spec, lock or None)
        code = launch(
            plan, console, errors, source=source, prices=prices or None, dry_run=dry_run,
            seconds_per_run=seconds_per_run,
        )  # fmt: skip
    except (SweepError, StoreError, BackendError) as error:
        raise _refuse(error) from None
    if code:
        raise typer.Exit(code)


@app.command()
def report(
    store: Annotated[str, typer.Argument(help="The store of a sweep.")],
    to: Annotated[str, typer.Option("--to", help="A local file, instead of into the store.")] = "",
) -> None:
    """Write the tables and the report of a store again, from the runs that it holds."""
    from lepton_ref.cloud.sweeps.launch import report_again

    began = time.perf_counter()
    try:
        count = report_again(store, to)
    except (SweepError, StoreError) as error:
        raise _refuse(error) from None
    took = time.perf_counter() - began
    console.print(f"{count} runs; {to or 'report.html in the store'} ({took:.1f} s)")


