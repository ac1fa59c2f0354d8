"""What a report says about a table of runs: what varied, and what followed from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any

import pandas as pd

from lepton_ref.cloud.sweeps.results import decode, kinds
from lepton_ref.cloud.sweeps.runs import BELOW_BOUNDS, FINISHED, PRUNED

#: Runs whose values count in means: they were executed to their end.
COUNTED = (FINISHED, BELOW_BOUNDS)
#: Runs that are drawn.
DRAWN = (*COUNTED, PRUNED)
#: A logarithmic axis when the largest value is at least this many times the smallest.
LOG_SPAN = 100.0

# Parameters that repeat a run rather than change it.
_REPLICATE = re.compile(r"(.*_)?(seed|random_state|replicate|repeat|repetition|fold)s?")
# Quantile 0.975 of Student's t for 1, 2, ... 30 degrees of freedom.
_STUDENT = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One parameter of the sweep.

    Attributes
    ----------
    name : str
    values : list
        Of every run, as Python's own; ``pandas.NA`` where a run was not given it.
    numeric : bool
        Every value is a finite number.
    """

    name: str
    values: list[Any]
    numeric: bool

    @property
    def replicate(self) -> bool:
        """Whether it repeats a run, as a seed does, rather than changes it."""
        return bool(_REPLICATE.fullmatch(self.name.lower()))

    def given(self, row: int) -> bool:
        """Whether a run was given it."""
        return self.values[row] is not pd.NA

    def distinct(self, rows: Iterable[int]) -> list[Any]:
        """Its values among some runs: ascending where numeric, else in order of appearance."""
        held = {repr(self.values[row]): self.values[row] for row in rows}
        absent = [value for value in held.values() if value is pd.NA]
        present = [value for value in held.values() if value is not pd.NA]
        return (sorted(present) if self.numeric else present) + absent


def label(value: Any) -> str:
    """A value in a few characters; numbers with four significant digits, text as it is."""
    if value is pd.NA:
        return "not given"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """``0.0001``, ``0.9123``, ``12350``, ``1.2e-5``: short."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{value:.4g}")


def duration(seconds: float) -> str:
    """``0.8 s``, ``42 s``, ``12 min``, ``3 h 5 min``."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def parameters(frame: pd.DataFrame) -> tuple[list[Parameter], dict[str, str]]:
    """The parameters that vary, and those that do not with their one value."""
    varied: list[Parameter] = []
    constant: dict[str, str] = {}
    for column in frame.columns:
        if not column.startswith("p."):
            continue
        values = decode(frame, column)
        present = [value for value in values if value is not pd.NA]
        numeric = bool(present) and all(_is_number(value) for value in present)
        found = Parameter(column[2:], values, numeric)
        if len(set(map(repr, values))) > 1:
            varied.append(found)
        elif values:
            constant[found.name] = label(values[0])
    return varied, constant


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def metrics(frame: pd.DataFrame) -> list[str]:
    """Columns of recorded numbers that some run which is drawn has."""
    drawn = frame[frame["status"].isin(DRAWN)]
    held = kinds(frame)
    return [
        column
        for column in frame.columns
        if column.startswith("r.") and held[column] in ("int", "float")
        if drawn[column].notna().any()
    ]


def metric_label(column: str) -> str:
    """The name of a metric, as a report writes it."""
    return "run time in seconds" if column == "seconds" else column.removeprefix("r.")


@dataclass(frozen=True)
class Mean:
    """Mean of replicates.

    Attributes
    ----------
    n : int
    mean : float
    half : float or None
        Half the width of the 95 % interval of the mean; None where there is none.
    """

    n: int
    mean: float
    half: float | None


def student(df: int) -> float:
    """Quantile 0.975 of Student's t (Cornish and Fisher's series above 30 degrees)."""
    if df <= len(_STUDENT):
        return _STUDENT[df - 1]
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / (4 * df),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3),
    )
    return z + sum(terms)


def mean_of(values: Sequence[float], sampled: bool = True) -> Mean:
    """Mean and, of replicates, its 95 % interval.

    Parameters
    ----------
    values : sequence of float
    sampled : bool
        Whether they are replicates, normal and independent, so that an interval means
        something; not so when another parameter differs among them.
    """
    n = len(values)
    half = student(n - 1) * stdev(values) / math.sqrt(n) if sampled and n > 1 else None
    return Mean(n, fmean(values), half)


def grouped(keys: Iterable[Any], values: Iterable[float]) -> dict[Any, list[float]]:
    """Values by key, in order of first appearance."""
    groups: dict[Any, list[float]] = {}
    for key, value in zip(keys, values):
        groups.setdefault(key, []).append(value)
    return groups


def logarithmic(values: Iterable[float]) -> bool:
    """Whether the values are better shown on a logarithmic axis."""
    held = list(values)
    # The slack is for 0.1 / 0.001, which need not be 100 in floating point.
    return bool(held) and min(held) > 0 and max(held) / min(held) >= LOG_SPAN * (1 - 1e-9)


def best_so_far(values: Sequence[float | None], maximize: bool) -> list[float | None]:
    """The best value up to each place; None before the first."""
    best: float | None = None
    found: list[float | None] = []
    for value in values:
        if value is not None and (best is None or (value > best if maximize else value < best)):
            best = value
        found.append(best)
    return found
