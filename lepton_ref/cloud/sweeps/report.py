"""The report of a sweep: one HTML file that needs nothing else, to read, to print, to mail.

Everything that came from a run (parameters, recorded strings, errors, alternative texts) passes
through Jinja's autoescaping or :func:`.charts.svg.el`. Besides, the page carries a content
security policy: only the script whose hash it names runs, and nothing is fetched from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd

from lepton_ref.cloud.sweeps import analysis
from lepton_ref.cloud.sweeps import figures as pictures
from lepton_ref.cloud.sweeps.analysis import Parameter, duration, label, number
from lepton_ref.cloud.sweeps.charts import Panel, panels
from lepton_ref.cloud.sweeps.errors import SweepError, did_you_mean
from lepton_ref.cloud.sweeps.results import CSV, FIXED, PARQUET, decode
from lepton_ref.cloud.sweeps.runs import COMPLETE, PRUNED

_TEMPLATES = Path(__file__).parent / "templates"
#: Metrics that are drawn unless the caller names them.
MOST_METRICS = 12
#: Parameters that are drawn.
MOST_PARAMETERS = 12
_STATUSES = (
    "finished", "below_bounds", "pruned", "failed", "timed_out", "too_much_output",
    "leaked_secret", "system_fault", "cancelled",
)  # fmt: skip


@dataclass(frozen=True)
class Search:
    """What a search looked for.

    Attributes
    ----------
    metric : str
        Name of the recorded value.
    direction : str
        ``"maximize"`` or ``"minimize"``.
    """

    metric: str
    direction: str

    def __post_init__(self) -> None:
        if self.direction not in ("maximize", "minimize"):
            raise SweepError(
                f"Search: direction is {self.direction!r}; accepted are 'maximize' and 'minimize'"
            )


@dataclass(frozen=True)
class About:
    """What was run, for the head of the report; everything is optional.

    Attributes
    ----------
    notebook : str
        Path of the notebook that was swept.
    command : str
        What one types to run the sweep again.
    backend : str
        ``"local, 2 workers"``.
    planned : int, optional
        Runs of the whole sweep, when some of them are not in the table yet.
    wall_seconds : float, optional
        From start to end; by default from the first start to the last end.
    cost : str
        ``"0.42 USD (spot prices of 2026-11-01)"``.
    interrupted : bool
        Whether the sweep was stopped before its end.
    details : mapping
        Further lines: ``{"commit": "5df37cc"}``.
    """

    notebook: str = ""
    command: str = ""
    backend: str = ""
    planned: int | None = None
    wall_seconds: float | None = None
    cost: str = ""
    interrupted: bool = False
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Cell:
    """Of the table: what it shows, by what it sorts (None for its text), whether a number."""

    text: str
    sort: float | None = None
    full: str = ""


@dataclass
class _Row:
    place: int
    id: str
    status: str
    cells: list[_Cell]
    link: str
    error: str
    error_cell: int | None
    given: list[tuple[str, str]]


def report_html(
    name: str,
    frame: pd.DataFrame,
    *,
    notebooks: Callable[[str], str | None] | None = None,
    figures: pictures.Gallery | pictures.Limits | None = None,
    metrics: Sequence[str] | None = None,
    search: Search | None = None,
    about: About | None = None,
) -> str:
    """One self-contained page about a sweep.

    Parameters
    ----------
    name : str
        Of the sweep.
    frame : pandas.DataFrame
        From :func:`.results.table`.
    notebooks : callable, optional
        Gives the text of the executed notebook at a path inside the store (column
        ``notebook``), or None; figures come out of these. Without it there is no gallery.
    figures : Gallery or Limits, optional
        A gallery that was collected before, or how large it may get.
    metrics : sequence of str, optional
        Names of the recorded values to draw, the first one shown first; by default those that
        vary, at most 12.
    search : Search, optional
        Adds the best run and the curve of the best so far.
    about : About, optional

    Returns
    -------
    str
        HTML; the same arguments give the same text.
    """
    if not isinstance(name, str) or not name.strip():
        raise SweepError(f"report_html: name is {name!r}; expected is the name of the sweep")
    if not isinstance(frame, pd.DataFrame) or not set(FIXED) <= set(frame.columns):
        raise SweepError(
            f"report_html: frame is a {type(frame).__name__} that lacks columns of a table of "
            "runs; expected is what results.table() returns"
        )
    about = about or About()
    frame = frame.reset_index(drop=True)
    varied, constant = analysis.parameters(frame)
    columns = _chosen(frame, metrics, search)
    rows, head = _table(frame, varied)
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    return _environment().get_template("report.html.j2").render(
        name=name,
        about=about,
        counts=_counts(frame),
        facts=_facts(frame, about),
        times=_times(frame, about),
        constant=constant,
        complete=int(frame["status"].isin(COMPLETE).sum()),
        total=len(frame),
        sections=_sections(frame, varied, columns, search),
        undrawn=max(0, len(varied) - MOST_PARAMETERS),
        best=_best(rows, frame, search),
        failures=_failures(rows),
        errors=any(row.error for row in rows),
        slots=_slots(rows, frame, notebooks, figures, columns, search),
        head=head,
        rows=rows,
        tables=(PARQUET, CSV),
        script=script,
        policy=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )  # fmt: skip


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda status: str(status).replace("_", " ")
    environment.filters["icon"] = lambda status: status if status in _STATUSES else "other"
    return environment


def _chosen(frame: pd.DataFrame, metrics: Sequence[str] | None, search: Search | None) -> list[str]:
    """Columns to draw: what the search looked at first, the run time last."""
    held = analysis.metrics(frame)
    if metrics is not None:
        known = [c[2:] for c in frame.columns if c.startswith("r.")]
        unknown = [m for m in metrics if m not in known]
        if unknown and held:  # where no run came to an end, no metric is known
            raise SweepError(
                f"report_html: metrics names {unknown[0]!r}, which no run recorded; recorded were "
                f"{', '.join(known)}.{did_you_mean(unknown[0], known)}"
            )
        held = [f"r.{m}" for m in metrics if f"r.{m}" in held]
    else:
        held.sort(key=lambda column: frame[column].nunique() < 2)  # stable: those that vary first
    if search and f"r.{search.metric}" in held:
        held.remove(f"r.{search.metric}")
        held.insert(0, f"r.{search.metric}")
    held = held[:MOST_METRICS]
    return [*held, "seconds"] if held or frame["status"].isin(COMPLETE).any() else []


def _sections(
    frame: pd.DataFrame, varied: list[Parameter], columns: list[str], search: Search | None
) -> list[tuple[str, list[Panel]]]:
    found = []
    for column in columns:
        sought = search is not None and column == f"r.{search.metric}"
        maximize = search.direction == "maximize" if search and sought else None
        drawn = panels(frame, varied[:MOST_PARAMETERS], column, maximize)
        if drawn:
            found.append((analysis.metric_label(column), drawn))
    return found


def _counts(frame: pd.DataFrame) -> list[tuple[str, int]]:
    counts = frame["status"].value_counts()
    known = [status for status in _STATUSES if status in counts]
    return [(s, int(counts[s])) for s in [*known, *sorted(set(counts.index) - set(known))]]


def _times(frame: pd.DataFrame, about: About) -> list[tuple[str, str]]:
    """When, how long, what it cost."""
    started = frame["started"].dropna()
    ended = (frame["started"] + pd.to_timedelta(frame["seconds"], unit="s")).dropna()
    wall = about.wall_seconds
    if wall is None and len(started):
        wall = (ended.max() - started.min()).total_seconds()
    found = []
    if len(started):
        found.append(("started", f"{started.min():%Y-%m-%d %H:%M} UTC"))
    if wall is not None:
        found.append(("from start to end", duration(wall)))
    if len(frame):
        found.append(("all runs together", duration(float(frame["seconds"].sum()))))
        again = int(frame["attempts"].sum()) - len(frame)
        if again:
            found.append(("repeated attempts", str(again)))
    found.append(("cost", about.cost or "not priced"))
    return found


def _facts(frame: pd.DataFrame, about: About) -> list[tuple[str, str]]:
    """Where it ran, and with what; several values are listed."""
    found = [("notebook", about.notebook), ("command", about.command), ("backend", about.backend)]
    for column in ["engine", "device", "host", *(c for c in frame.columns if c[:2] == "v.")]:
        values = list(dict.fromkeys(frame[column].dropna()))
        more = f" and {len(values) - 4} more" if len(values) > 4 else ""
        found.append((column.removeprefix("v."), ", ".join(map(str, values[:4])) + more))
    found += [(str(key), str(value)) for key, value in about.details.items()]
    return [(key, value) for key, value in found if value]


def _link(path: Any) -> str:
    """Address of a notebook relative to the report, which lies at the root of the store."""
    if pd.isna(path) or not path:
        return ""
    # A colon is quoted and a slash at the start dropped: it cannot name a scheme or a host.
    return quote(str(path).lstrip("/\\"), safe="/")


def _table(
    frame: pd.DataFrame, varied: list[Parameter]
) -> tuple[list[_Row], list[tuple[str, str, str]]]:
    """Rows of the table, and its head: (name to filter by, words, CSS class)."""
    several = [
        (column, column)
        for column in ("engine", "device", "host")
        if frame[column].nunique(dropna=False) > 1
    ]
    recorded = [(c, c[2:]) for c in frame.columns if c.startswith("r.")]
    shown = [*recorded, ("seconds", "seconds"), ("attempts", "attempts"), *several]
    values = [p.values for p in varied] + [decode(frame, column) for column, _ in shown]
    head = [(p.name, p.name, "parameter") for p in varied]
    head += [(w, w, "result" if c[:2] == "r." else "about") for c, w in shown]
    links = [_link(path) for path in frame["notebook"]]
    errors = ["" if pd.isna(error) else str(error) for error in frame["error"]]
    places = [None if cell is pd.NA else cell for cell in decode(frame, "error_cell")]
    rows = [
        _Row(
            place=i + 1, id=str(id_), status=str(status), link=links[i], error=errors[i],
            error_cell=places[i], cells=[_cell(column[i]) for column in values],
            given=[(p.name, label(p.values[i])) for p in varied if p.given(i)],
        )
        for i, (id_, status) in enumerate(zip(frame["id"], frame["status"]))
    ]  # fmt: skip
    number_like = [any(row.cells[k].sort is not None for row in rows) for k in range(len(head))]
    head = [(k, w, f + " n" * right) for (k, w, f), right in zip(head, number_like)]
    return rows, head


def _cell(value: Any) -> _Cell:
    if value is pd.NA:
        return _Cell("")
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = label(value)
        cut = text if len(text) <= 60 else text[:59] + "…"
        return _Cell(cut, full=text[:2000] if cut != text else "")
    return _Cell(number(float(value)) if isinstance(value, float) else str(value), float(value))


def _best(
    rows: list[_Row], frame: pd.DataFrame, search: Search | None
) -> tuple[_Row, str, str] | None:
    """The best run of a search, its value, and what was sought."""
    order = _ranked(frame, search)
    if search is None or not order:
        return None
    value = number(float(frame[f"r.{search.metric}"][order[0]]))
    return rows[order[0]], value, search.metric


def _ranked(frame: pd.DataFrame, search: Search | None) -> list[int]:
    """Rows with a value of what was sought, the best first; pruned runs do not compete."""
    column = f"r.{search.metric}" if search else ""
    if search is None or column not in analysis.metrics(frame):
        return []
    competes = frame["status"].isin(COMPLETE - {PRUNED}) & frame[column].notna()
    values = frame.loc[competes, column].astype(float)
    ascending = search.direction == "minimize"
    return [int(i) for i in values.sort_values(ascending=ascending, kind="stable").index]


def _failures(rows: list[_Row]) -> list[tuple[_Row, list[_Row]]]:
    """Runs without a result, those with the same fate together, the most frequent first."""
    groups: dict[tuple[str, str, int | None], list[_Row]] = {}
    for row in rows:
        if row.status not in COMPLETE:
            groups.setdefault((row.status, row.error, row.error_cell), []).append(row)
    return [(group[0], group) for group in sorted(groups.values(), key=len, reverse=True)]


@dataclass
class _Slot:
    """Figures of one place in the notebook, of several runs, side by side."""

    alt: str
    cell: int
    shown: list[tuple[pictures.Figure, _Row, str]]


def _slots(
    rows: list[_Row],
    frame: pd.DataFrame,
    notebooks: Callable[[str], str | None] | None,
    figures: pictures.Gallery | pictures.Limits | None,
    columns: list[str],
    search: Search | None,
) -> tuple[list[_Slot], int, int]:
    """The gallery: its slots, figures that found no room, notebooks that were not opened."""
    gallery = figures if isinstance(figures, pictures.Gallery) else pictures.Gallery()
    if notebooks is not None and not isinstance(figures, pictures.Gallery):
        done = [i for i, row in enumerate(rows) if row.status in COMPLETE]
        most = figures.figures if figures else pictures.Limits().figures
        # The best of a search; else runs from all over the sweep, evenly apart.
        apart = done[:: -(-len(done) // max(most, 1)) or 1]
        order = dict.fromkeys([*_ranked(frame, search), *apart, *done])
        stored = frame["notebook"].tolist()
        paths = [(rows[i].id, str(stored[i])) for i in order if rows[i].link]
        gallery = pictures.collect(paths, notebooks, figures)
    known = {row.id: row for row in rows}
    metric = columns[0] if columns else ""
    values = decode(frame, metric) if metric else []
    slots: dict[int, _Slot] = {}
    for figure in gallery.figures:
        row = known.get(figure.run)
        if row is None:
            continue
        value = values[row.place - 1] if metric.startswith("r.") else pd.NA
        said = "" if pd.isna(value) else f"{metric[2:]} {number(float(value))}"
        slot = slots.setdefault(figure.slot, _Slot(figure.alt, figure.cell, []))
        slot.shown.append((figure, row, said))
    return [slots[key] for key in sorted(slots)], gallery.left_out, gallery.unread
