"""What every drawing of a report is made of: a panel, the runs in it, their words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from lepton_ref.cloud.sweeps.analysis import COUNTED, DRAWN, Mean, Parameter, label, number
from lepton_ref.cloud.sweeps.charts.svg import Scale, short
from lepton_ref.cloud.sweeps.results import decode


@dataclass
class Panel:
    """One drawing.

    Attributes
    ----------
    title : str
    svg : Markup
    caption : str
    legend : list of (CSS class, words)
    ramp : pair of str, optional
        Words at the two ends of the colour ramp.
    numbers : list of rows
        The means behind it, with a head row; empty for none.
    span : int
        Columns of the page that it takes, from 1 to 3.
    """

    title: str
    svg: Markup
    caption: str
    legend: list[tuple[str, str]] = field(default_factory=list)
    ramp: tuple[str, str] | None = None
    numbers: list[list[str]] = field(default_factory=list)
    span: int = 1


@dataclass
class Run:
    """A run that is drawn: its place in the table, its value of the metric, its words."""

    row: int
    value: float
    counted: bool
    tells: str


def runs_of(frame: pd.DataFrame, varied: Sequence[Parameter], column: str) -> list[Run]:
    """The runs that have a value and are drawn."""
    found = []
    for row, (value, status) in enumerate(zip(decode(frame, column), frame["status"])):
        if value is pd.NA or not math.isfinite(value) or status not in DRAWN:
            continue
        given = ", ".join(f"{p.name}={short(label(p.values[row]), 30)}" for p in varied)
        tells = f"run {row + 1}: {given} → {number(float(value))}"
        found.append(Run(row, float(value), status in COUNTED, tells))
    return found


def shares(values: Sequence[float]) -> Callable[[float], float]:
    """Places along the colour ramp: the lowest value at 0, the highest at 1."""
    scale = Scale(values, 0.0, 1.0)
    low, high = scale(min(values)), scale(max(values))
    return lambda value: 0.5 if high == low else (scale(value) - low) / (high - low)


def words(
    runs: Sequence[Run],
    others: Sequence[Parameter],
    split: Parameter | None,
    mean: str,
) -> str:
    """Says what the dots, colours, lines and bars are.

    Parameters
    ----------
    runs : sequence of Run
    others : sequence of Parameter
        What else varies, besides replicates.
    split : Parameter or None
        The one of them that the colours show.
    mean : str
        Sentence on the line and the bars; empty without.
    """
    said = ["Each dot is a run."]
    if split:
        said.append(f"One colour for each {split.name}.")
    elif others:
        vary = "varies" if len(others) == 1 else "vary"
        said.append(f"{listed([p.name for p in others])} {vary} too.")
    said.append(mean)
    if not all(run.counted for run in runs):
        said.append("Hollow: pruned, not in the mean." if mean else "Hollow: pruned.")
    return " ".join(filter(None, said))


def mean_words(
    replicates: Sequence[Parameter], alone: bool, means: Sequence[Mean], mark: str
) -> str:
    """Says what the mean is taken over, and whether an interval is drawn.

    Parameters
    ----------
    replicates : sequence of Parameter
    alone : bool
        Whether nothing but replicates differs among the runs of one mean.
    means : sequence of Mean
    mark : str
        ``"Line"`` or ``"Stroke"``.
    """
    if all(m.n == 1 for m in means):
        return ""
    if not alone:
        return f"{mark}: mean of all runs there."
    over = listed([p.name for p in replicates]) or "the runs"
    return f"{mark}: mean over {over}; bars: its 95\N{NO-BREAK SPACE}% interval."


def intervals(means: Sequence[Mean]) -> list[float]:
    """Ends of the intervals, which must fit into the drawing."""
    return [e for m in means if m.half is not None for e in (m.mean - m.half, m.mean + m.half)]


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def numbers_of(head: str, rows: Sequence[tuple[str, Mean]]) -> list[list[str]]:
    """The means behind a drawing; nothing where every mean is a single run."""
    if not rows or all(mean.n == 1 for _, mean in rows):
        return []
    table = [[head, "runs", "mean", "± 95\N{NO-BREAK SPACE}%"]]
    for words, mean in rows[:60]:
        half = "" if mean.half is None else number(mean.half)
        table.append([words, str(mean.n), number(mean.mean), half])
    return table


def described(name: str, against: str, runs: Sequence[Run]) -> str:
    """A drawing in words."""
    low, high = min(runs, key=lambda r: r.value), max(runs, key=lambda r: r.value)
    return (
        f"{name} against {against} for {len(runs)} runs. Lowest in {low.tells}; "
        f"highest in {high.tells}."
    )
