"""What a sweep would do and cost, said before it does or costs anything."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lepton_ref.cloud.sweeps import secrets
from lepton_ref.cloud.sweeps.backends.local import runs_on_this_machine
from lepton_ref.cloud.sweeps.driver import committed
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.plan import Plan
from lepton_ref.cloud.sweeps.progress import shown
from lepton_ref.cloud.sweeps.spec import SweepSpec
from lepton_ref.cloud.sweeps.storage import Store

if TYPE_CHECKING:
    from lepton_ref.cloud.sweeps.backends.kubernetes_pods import Cluster

#: Runs at a time of a sweep that sets no limit of its own.
MOST = 1_000_000


@dataclasses.dataclass(frozen=True)
class Rate:
    """What runs cost on the machine that the sweep names."""

    price: Any
    cost_per_run_second: float
    currency: str
    words: str
    warnings: list[str]


def machine_rate(plan: Plan, prices: str | None) -> Rate | None:
    """The rate of the sweep's machine, shared by the runs that fit on it."""
    spec = plan.spec
    if not spec.machine:
        if prices or spec.spot:
            raise SweepError("`machine` is missing: which entry of the price file?")
        return None
    from lepton_ref.cloud.sweeps.prices import load_prices, runs_at_a_time

    book = load_prices(prices)
    price = book.machine(spec.machine)
    hourly = price.hourly(spec.spot)
    slots = runs_at_a_time(price, spec.limits)
    kind = "spot" if spec.spot else "on demand"
    dated = f"price of {price.as_of}" if price.as_of else "a price without a date"
    words = f"{price.currency} ({price.name}, {kind}, {dated})"
    return Rate(
        price, hourly / 3600 / slots, price.currency, words, book.warnings(price, spec.spot)
    )


def price_it(
    plan: Plan,
    store: Store,
    price: Rate | None,
    console: Console,
    seconds_per_run: float,
) -> None:
    """Say what the sweep would do and cost."""
    spec = plan.spec
    stored = committed(store)
    total = spec.search.n if spec.search else len(plan.runs)
    left = total if spec.search else sum(run.id not in stored for run in plan.runs)
    lines = Table(show_header=False, box=None, pad_edge=False)
    lines.add_row("notebook", escape(plan.name))
    lines.add_row("varied", ", ".join(plan.varied) or "nothing")
    lines.add_row("runs", f"{total}, of which {total - left} are in the store")
    mine = [o.seconds for o in stored.values() if o.seconds]
    each = seconds_per_run or (sum(mine) / len(mine) if mine else 0.0)
    slots = runs_together(spec)
    if each:
        source = "given" if seconds_per_run else f"mean of {len(mine)} earlier runs"
        lines.add_row("one run", f"{each:.3g} s ({source})")
        together = f"with {slots} at a time" if slots else "of one run at a time; say --workers"
        lines.add_row("time", f"{shown(left * each / (slots or 1))} {together}")
    else:
        lines.add_row("one run", "unknown; say --seconds-per-run, or run a few first")
    if price and each:
        from lepton_ref.cloud.sweeps.prices import estimate, runs_at_a_time

        at_a_time = slots or runs_at_a_time(price.price, spec.limits)
        found = estimate(left, each, price.price, at_a_time, spec.spot, limits=spec.limits)
        where = "" if slots else " on one machine"
        lines.add_row("cost", f"about {found.cost:.2f} {price.words}{where}")
    console.print(lines, highlight=False)


def runs_together(spec: SweepSpec) -> int | None:
    """How many runs a sweep has at a time; None where only its cluster could say."""
    if spec.backend == "kubernetes":
        cluster = cluster_of(spec)
        return min(spec.workers or MOST, cluster.max_workers * cluster.slots)
    if spec.address:
        return spec.workers or None
    return spec.workers or runs_on_this_machine(spec.limits.cpus)


def cluster_of(spec: SweepSpec) -> Cluster:
    """The Kubernetes cluster that the options of a sweep describe.

    Raises
    ------
    SweepError
        For an option that is unknown, missing or cannot be meant.
    """
    from lepton_ref.cloud.sweeps.backends.kubernetes_pods import Cluster

    options = {k: v for k, v in spec.options.items() if k not in ("follow", "manifest_only")}
    known = {f.name for f in dataclasses.fields(Cluster)}
    for key in options:
        if key not in known:
            raise SweepError(f"options: unknown key `{key}`; accepted: {', '.join(sorted(known))}")
    named = secrets.named(spec.parameters).values()
    options["secrets"] = tuple(options.get("secrets", ())) or tuple(dict.fromkeys(named))
    if "image" not in options:
        raise SweepError("options: `image` is missing: a container image with an exact tag")
    return Cluster(**options)
