"""The drawings of a report: which ones a table of runs calls for."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lepton_ref.cloud.sweeps.analysis import Parameter, metric_label
from lepton_ref.cloud.sweeps.charts.panel import Panel, runs_of
from lepton_ref.cloud.sweeps.charts.several import pair, parallel
from lepton_ref.cloud.sweeps.charts.single import best, curve, strip

__all__ = ["Panel", "panels"]


def panels(
    frame: pd.DataFrame, varied: Sequence[Parameter], column: str, maximize: bool | None = None
) -> list[Panel]:
    """Every drawing for one metric.

    Parameters
    ----------
    frame : pandas.DataFrame
        From ``results.table``.
    varied : sequence of Parameter
        Those that vary.
    column : str
        Of the metric.
    maximize : bool, optional
        Given when the sweep searched by this metric: whether more of it is better.
    """
    runs = runs_of(frame, varied, column)
    if not runs:
        return []
    name = metric_label(column)
    factors = [p for p in varied if not p.replicate]
    replicates = [p for p in varied if p.replicate]
    found: list[Panel] = []
    if maximize is not None:
        found.append(best(runs, len(frame), name, maximize))
    if not factors and len(runs) > 1:
        found.append(strip(runs, None, replicates, [], name))
    for factor in factors:
        others = [p for p in factors if p is not factor]
        if not factor.numeric:
            found.append(strip(runs, factor, replicates, others, name))
        elif any(factor.given(run.row) for run in runs):
            found.append(curve(runs, factor, replicates, others, name))
    both = pair(runs, factors[0], factors[1], name) if len(factors) == 2 else None
    if both:
        found.append(both)
    if len(varied) >= 3:
        found.append(parallel(runs, varied, name))
    return found
