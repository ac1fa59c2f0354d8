"""Drawings over one parameter: curve, strips, and the best so far of a search."""

from __future__ import annotations

from collections.abc import Sequence

from lepton_ref.cloud.sweeps.analysis import (
    Mean,
    Parameter,
    best_so_far,
    grouped,
    label,
    mean_of,
    number,
)
from lepton_ref.cloud.sweeps.charts import svg
from lepton_ref.cloud.sweeps.charts.panel import (
    Panel,
    Run,
    described,
    intervals,
    listed,
    mean_words,
    numbers_of,
    words,
)
from lepton_ref.cloud.sweeps.charts.svg import Canvas, Dot, Scale, el, px, text

_SERIES = 6  # colours that one can tell apart
_LEVELS = 30  # values of a parameter that a line still joins
_STRIPS = 24  # categories of one strip plot
_ROW = 30.0  # pixels


def curve(
    runs: Sequence[Run], factor: Parameter, replicates: Sequence[Parameter],
    others: Sequence[Parameter], name: str,
) -> Panel:  # fmt: skip
    """Metric against a numeric parameter.

    Parameters
    ----------
    runs : sequence of Run
    factor : Parameter
    replicates : sequence of Parameter
        Those that repeat a run: the mean is taken over them.
    others : sequence of Parameter
        What else varies. If it is one with few values, colours show it.
    name : str
        Of the metric.
    """
    runs = [run for run in runs if factor.given(run.row)]
    xs = [float(factor.values[run.row]) for run in runs]
    split, order = None, [""]
    if len(others) == 1:
        levels = others[0].distinct([run.row for run in runs])
        if len(levels) <= _SERIES:
            split, order = others[0], [repr(v) for v in levels]
    keys = [repr(split.values[run.row]) if split else "" for run in runs]
    names = [label(v) for v in levels] if split else [""]
    alone = not others or split is not None

    counted = [i for i, run in enumerate(runs) if run.counted]
    repeated = len({xs[i] for i in counted}) < len(counted)
    lines: list[list[tuple[float, Mean]]] = [[] for _ in order]
    if len(set(xs)) <= _LEVELS and (alone or repeated):
        for series, key in enumerate(order):
            mine = [i for i in counted if keys[i] == key]
            groups = grouped([xs[i] for i in mine], [runs[i].value for i in mine])
            lines[series] = [(at, mean_of(groups[at], alone)) for at in sorted(groups)]
    means = [m for one in lines for _, m in one]

    canvas = Canvas()
    y = Scale.holding([run.value for run in runs], intervals(means), canvas.bottom, svg.TOP)
    x = Scale(xs, svg.LEFT, canvas.right)
    canvas.y_axis(y, name)
    canvas.x_axis(x, factor.name)
    rows: list[tuple[str, Mean]] = []
    for series, one in enumerate(lines):
        if len(one) > 1:
            canvas.add(svg.line([(x(at), y(m.mean)) for at, m in one], f"mean s{series}"))
        for at, m in one:
            if m.half is not None:
                low, high = y(m.mean - m.half), y(m.mean + m.half)
                canvas.add(svg.bar(x(at), low, high, f"bar s{series}"))
            rows.append(((f"{names[series]}, " if split else "") + number(at), m))
    canvas.add(*svg.dots([
        Dot(x(at), y(run.value), run.tells, order.index(key), not run.counted)
        for at, run, key in zip(xs, runs, keys)
    ]))  # fmt: skip
    return Panel(
        f"{name} against {factor.name}",
        canvas.svg(described(name, factor.name, runs)),
        words(runs, others, split, mean_words(replicates, alone, means, "Line")),
        [(f"s{i}", f"{split.name} = {one}") for i, one in enumerate(names)] if split else [],
        numbers=numbers_of(f"{split.name}, {factor.name}" if split else factor.name, rows),
    )


def strip(
    runs: Sequence[Run], factor: Parameter | None, replicates: Sequence[Parameter],
    others: Sequence[Parameter], name: str,
) -> Panel:  # fmt: skip
    """Metric for each category, one below the other; all runs in one strip without a factor."""
    levels: list[tuple[str, str]] = [("", "all runs")]
    if factor:
        distinct = factor.distinct([run.row for run in runs])
        levels = [(repr(v), label(v)) for v in distinct]
    keys = [repr(factor.values[run.row]) if factor else "" for run in runs]
    cut = levels[:_STRIPS]
    groups = grouped(
        [k for k, r in zip(keys, runs) if r.counted], [r.value for r in runs if r.counted]
    )
    means = {key: mean_of(values, not others) for key, values in groups.items()}
    shown = [means[key] for key, _ in cut if key in means]

    left = min(140.0, 16.0 + 8.0 * max(len(svg.short(words, 16)) for _, words in cut))
    canvas = Canvas(height=svg.TOP + svg.BOTTOM + _ROW * len(cut))
    x = Scale.holding([run.value for run in runs], intervals(shown), left, canvas.right)
    canvas.x_axis(x, name, grid=True)
    canvas.add(text(4, 14, factor.name if factor else "", "name", 40))
    marks: list[Dot] = []
    for place, (key, called) in enumerate(cut):
        at = svg.TOP + _ROW * (place + 0.5)
        canvas.add(text(left - 8, at + 4, called, "end", 16))
        mine = [run for run, k in zip(runs, keys) if k == key]
        # Five fixed heights keep runs of equal value apart.
        marks += [
            Dot(x(run.value), at + (i * 2 % 5 - 2) * 2.6, run.tells, 0, not run.counted)
            for i, run in enumerate(mine)
        ]
        if key in means and means[key].n > 1:
            m = means[key]
            if m.half is not None:
                ends = x(m.mean - m.half), x(m.mean + m.half)
                canvas.add(svg.bar(at, *ends, "bar s0", across=True))
            canvas.add(el("path", d=f"M{px(x(m.mean))} {px(at - 10)}v20", class_="mean s0"))
    canvas.add(*svg.dots(marks))
    caption = words(runs, others, None, mean_words(replicates, not others, shown, "Stroke"))
    if len(levels) > len(cut):
        caption += f" The first {len(cut)} of {len(levels)} values are drawn."
    against = factor.name if factor else listed([p.name for p in replicates])
    return Panel(
        f"{name} by {factor.name}" if factor else f"{name}, every run",
        canvas.svg(described(name, against, runs)),
        caption,
        numbers=numbers_of(
            factor.name if factor else "", [(w, means[k]) for k, w in cut if k in means]
        ),
    )


def best(runs: Sequence[Run], total: int, name: str, maximize: bool) -> Panel:
    """What the search had found after each run."""
    held: list[float | None] = [None] * total
    for run in runs:
        if run.counted:
            held[run.row] = run.value
    reach = best_so_far(held, maximize)
    canvas = Canvas()
    x = Scale([1.0, float(max(total, 2))], svg.LEFT, canvas.right, log=False)
    y = Scale([run.value for run in runs], canvas.bottom, svg.TOP)
    canvas.y_axis(y, name)
    canvas.x_axis(x, "run, in the order of the search")
    steps: list[tuple[float, float]] = []
    for place, value in enumerate(reach):
        if value is not None:
            if steps:
                steps.append((x(place + 1.0), steps[-1][1]))
            steps.append((x(place + 1.0), y(value)))
    if steps:
        canvas.add(svg.line(steps, "mean s1"))
    canvas.add(*svg.dots(
        [Dot(x(r.row + 1.0), y(r.value), r.tells, 0, not r.counted) for r in runs]
    ))  # fmt: skip
    last = next((v for v in reversed(reach) if v is not None), None)
    reached = "" if last is None else f" It reached {number(last)}."
    caption = f"Line: the best so far; {'more' if maximize else 'less'} is better.{reached}"
    if not all(run.counted for run in runs):
        caption += " Hollow: pruned."
    return Panel(f"{name}, best so far", canvas.svg(described(name, "the search", runs) + reached),
                 caption, [("s0", "one run"), ("s1", "best so far")])  # fmt: skip
