"""Drawings over several parameters: heat map, coloured dots, parallel coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lepton_ref.cloud.sweeps.analysis import Parameter, grouped, label, mean_of, number
from lepton_ref.cloud.sweeps.charts import svg
from lepton_ref.cloud.sweeps.charts.panel import Panel, Run, described, listed, shares
from lepton_ref.cloud.sweeps.charts.svg import Canvas, Dot, Scale, el, px, text

_CELLS = 14  # rows or columns of a heat map
_LINES = 500  # runs in parallel coordinates


def pair(runs: Sequence[Run], a: Parameter, b: Parameter, name: str) -> Panel | None:
    """Metric over two parameters: a heat map of a grid, coloured dots of two ranges."""
    runs = [r for r in runs if r.counted] or list(runs)
    rows = [r.row for r in runs]
    across, down = (a, b) if len(a.distinct(rows)) >= len(b.distinct(rows)) else (b, a)
    columns, lines = across.distinct(rows), down.distinct(rows)
    sparse = len(columns) * len(lines) > 2 * len(runs)
    both = [r for r in runs if a.given(r.row) and b.given(r.row)]
    if (sparse or len(columns) > _CELLS) and a.numeric and b.numeric and both:
        return _field(both, across, down, name)
    if len(columns) > _CELLS:
        return None
    if down.numeric:
        lines = lines[::-1]  # larger values higher up
    return _heat(runs, across, down, columns, lines, name)


def _heat(
    runs: Sequence[Run], across: Parameter, down: Parameter, columns: list[Any], lines: list[Any],
    name: str,
) -> Panel:  # fmt: skip
    """A cell for each pair of values, with the mean of its runs."""
    keys = [(repr(across.values[r.row]), repr(down.values[r.row])) for r in runs]
    groups = grouped(keys, [r.value for r in runs])
    means = {key: mean_of(values) for key, values in groups.items()}
    share = shares([m.mean for m in means.values()])
    left = min(110.0, 14.0 + 8.0 * max(len(svg.short(label(v), 14)) for v in lines))
    width = max(46.0, (svg.WIDTH - left - svg.RIGHT) / len(columns))
    height = 34.0
    canvas = Canvas(
        left + svg.RIGHT + width * len(columns), svg.TOP + svg.BOTTOM + height * len(lines)
    )
    canvas.add(text(4, 14, down.name, "name", 40))
    canvas.add(text((left + canvas.right) / 2, canvas.height - 6, across.name, "name middle", 40))
    for i, column in enumerate(columns):
        middle = left + (i + 0.5) * width
        canvas.add(
            text(middle, canvas.bottom + 16, label(column), "middle", max(6, int(width / 7)))
        )
    for j, line in enumerate(lines):
        top = svg.TOP + j * height
        canvas.add(text(left - 6, top + height / 2 + 4, label(line), "end", 14))
        for i, column in enumerate(columns):
            m = means.get((repr(column), repr(line)))
            x = left + i * width
            box = {"x": x + 1, "y": top + 1, "width": width - 2, "height": height - 2, "rx": "3"}
            if m is None:
                canvas.add(el("rect", el("title", "no result"), class_="cell none", **box))
                continue
            tells = f"{across.name}={label(column)}, {down.name}={label(line)}: {number(m.mean)}"
            tells += f" (mean of {m.n} runs)" if m.n > 1 else ""
            colour = svg.ramp(share(m.mean))
            canvas.add(el("rect", el("title", tells), class_="cell ramp", style=colour, **box))
            shown = number(m.mean) if len(number(m.mean)) <= 5 else f"{m.mean:.3g}"
            canvas.add(text(x + width / 2, top + height / 2 + 4, shown, "middle on-ramp"))
    values = [m.mean for m in means.values()]
    return Panel(
        _title(name, across, down),
        canvas.svg(described(name, f"{across.name} and {down.name}", runs)),
        "Mean of the runs with these values." if len(runs) > len(means) else "One run a cell.",
        ramp=(number(min(values)), number(max(values))),
        span=1 if len(columns) <= 7 else 2,
    )


def _title(name: str, across: Parameter, down: Parameter) -> str:
    return f"{name} over {across.name} and {down.name}"


def _field(runs: Sequence[Run], across: Parameter, down: Parameter, name: str) -> Panel:
    """Two numeric parameters with many values: where the runs lay, coloured by the metric."""
    canvas = Canvas()
    xs = [float(across.values[run.row]) for run in runs]
    ys = [float(down.values[run.row]) for run in runs]
    x = Scale(xs, svg.LEFT, canvas.right)
    y = Scale(ys, canvas.bottom, svg.TOP)
    values = [run.value for run in runs]
    share = shares(values)
    canvas.y_axis(y, down.name)
    canvas.x_axis(x, across.name)
    canvas.add(*svg.dots([
        Dot(x(at), y(up), run.tells, share=share(run.value)) for at, up, run in zip(xs, ys, runs)
    ]))  # fmt: skip
    return Panel(
        _title(name, across, down),
        canvas.svg(described(name, f"{across.name} and {down.name}", runs)),
        f"Each dot is a run; its colour is {name}.",
        ramp=(number(min(values)), number(max(values))),
    )


def parallel(runs: Sequence[Run], varied: Sequence[Parameter], name: str) -> Panel:
    """Every run as a line through its parameters, coloured by the metric."""
    step = -(-len(runs) // _LINES)
    drawn = sorted(runs, key=lambda r: r.value)[::step]
    top, bottom, gap = 40.0, 236.0, 104.0
    canvas = Canvas(max(svg.WIDTH, gap * len(varied) + 130.0), bottom + 14.0)
    gap = (canvas.width - 130.0) / len(varied)
    places: list[Callable[[Run], float]] = []
    for i, parameter in enumerate(varied):
        at = 30.0 + i * gap
        canvas.add(el("path", d=f"M{px(at)} {px(top)}V{px(bottom)}", class_="axis"))
        canvas.add(text(at - 12, 20, parameter.name, "name", int(gap / 9)))
        place, ticks = _level_axis(parameter, drawn, bottom, top)
        places.append(place)
        canvas.marks += [text(at + 6, y - 4, words, "halo", 12) for y, words in ticks]
    metric = Scale([r.value for r in drawn], bottom, top)
    end = 30.0 + len(varied) * gap
    canvas.add(el("path", d=f"M{px(end)} {px(top)}V{px(bottom)}", class_="axis"))
    canvas.add(text(end - 12, 20, name, "name", 16))
    canvas.marks += [text(end + 6, y + 4, words) for y, words in metric.ticks(4)]
    share = shares([r.value for r in drawn])
    lines = []
    for run in drawn:
        points = [(30.0 + i * gap, place(run)) for i, place in enumerate(places)]
        d = "M" + "L".join(f"{px(a)} {px(b)}" for a, b in [*points, (end, metric(run.value))])
        lines.append(el("path", el("title", run.tells), d=d, class_="run ramp",
                        style=svg.ramp(share(run.value))))  # fmt: skip
    canvas.marks[:0] = lines  # under the words
    caption = "Each line is a run; its colour is the value at the right."
    if step > 1:
        caption += f" One in {step} of the {len(runs)} runs is drawn."
    ends = number(drawn[0].value), number(drawn[-1].value)
    return Panel(f"{name}, all parameters at once",
                 canvas.svg(described(name, listed([p.name for p in varied]), runs)),
                 caption, ramp=ends, span=2 if len(varied) <= 5 else 3)  # fmt: skip


def _level_axis(
    parameter: Parameter, runs: Sequence[Run], bottom: float, top: float
) -> tuple[Callable[[Run], float], list[tuple[float, str]]]:
    """Where a run crosses the axis of a parameter, and the axis' words."""
    values = parameter.distinct([run.row for run in runs])
    if parameter.numeric and all(parameter.given(run.row) for run in runs):
        scale = Scale([float(v) for v in values], bottom, top)
        if len(values) <= 6:
            ticks = [(scale(float(v)), label(v)) for v in values]
        else:
            ticks = scale.ticks(4)
        return lambda run: scale(float(parameter.values[run.row])), ticks
    even = Scale([0.0, float(max(1, len(values) - 1))], bottom, top, log=False)
    spot = {repr(v): even(float(i)) for i, v in enumerate(values)}
    shown = values if len(values) <= 8 else [values[0], values[-1]]
    return lambda run: spot[repr(parameter.values[run.row])], [
        (spot[repr(v)], label(v)) for v in shown
    ]
