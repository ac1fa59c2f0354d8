"""What a sweep leaves behind: one table, one report, and a list of what failed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.plan import Plan
from lepton_ref.cloud.sweeps.state import SweepResult
from lepton_ref.cloud.sweeps.storage import Store

REPORT = "report.html"


def finish(plan: Plan, result: SweepResult, store: Store, **about: Any) -> Any:
    """Write ``results.parquet``, ``results.csv`` and ``report.html``; the table.

    Parameters
    ----------
    plan : Plan
    result : SweepResult
    store : Store
    **about
        Fields of :class:`.report.About`.

    Returns
    -------
    pandas.DataFrame
    """
    from lepton_ref.cloud.sweeps.report import About, Search, report_html
    from lepton_ref.cloud.sweeps.results import table, write_tables

    frame = table(result.outcomes.values(), attempts=result.attempts, order=list(result.outcomes))
    write_tables(store, frame)
    wanted = plan.spec.search
    search = Search(wanted.metric, wanted.direction) if wanted else None
    page = report_html(
        plan.title,
        frame,
        notebooks=reader(store),
        search=search,
        about=About(
            notebook=plan.name,
            planned=result.state.total,
            interrupted=bool(result.interrupted),
            **about,
        ),
    )
    store.write_text(REPORT, page)
    return frame


def up_to_date(result: SweepResult, store: Store) -> bool:
    """Whether nothing ran, and what :func:`finish` writes is there and holds these runs."""
    files = ("results.parquet", "results.csv", REPORT)
    if result.state.executed or not all(store.exists(path) for path in files):
        return False
    try:
        rows = list(csv.DictReader(io.StringIO(store.read_text("results.csv"), newline="")))
    except csv.Error:  # a field beyond the reader's limit: write anew
        return False
    written = {row.get("id"): row.get("status") for row in rows}
    return written == {key: outcome.status for key, outcome in result.outcomes.items()}


def reader(store: Store) -> Callable[[str], str | None]:
    """Reads executed notebooks of a store; None for one that is gone."""

    def read(path: str) -> str | None:
        try:
            return store.read_text(path) if path else None
        except StoreError:
            return None

    return read
