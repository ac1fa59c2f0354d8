"""The drawings of a report: statistics, scales, and which drawing a sweep gets."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from markupsafe import Markup

from lepton_ref.cloud.sweeps import analysis
from lepton_ref.cloud.sweeps.charts import Panel, panels, svg
from lepton_ref.cloud.sweeps.charts.svg import Dot, Scale
from lepton_ref.cloud.sweeps.results import table
from lepton_ref.cloud.sweeps.runs import FAILED, FINISHED, PRUNED, Outcome
from tests.cloud.sweeps.report_runs import grid, run, search


def drawn(outcomes: list[Outcome], column: str, maximize: bool | None = None) -> dict[str, Panel]:
    frame = table(outcomes)
    varied, _ = analysis.parameters(frame)
    return {panel.title: panel for panel in panels(frame, varied, column, maximize)}


def numbers(path: str) -> list[tuple[float, float]]:
    """The points of a path of lines."""
    return [tuple(map(float, point.split())) for point in re.split("[ML]", path) if point]  # type: ignore[misc]


def paths(panel: Panel, kind: str) -> list[str]:
    return re.findall(rf'<path[^>]* d="([^"]*)" class="{kind}"', panel.svg)


@pytest.mark.parametrize("df", [1, 2, 3, 10, 30, 31, 60, 1000])
def test_quantiles_of_student(df: int) -> None:
    assert analysis.student(df) == pytest.approx(scipy.stats.t.ppf(0.975, df), rel=2e-5)


def test_the_interval_holds_the_mean_in_95_of_100(rng: np.random.Generator) -> None:
    inside = 0
    for _ in range(2000):
        mean = analysis.mean_of(list(rng.normal(3.0, 2.0, size=4)))
        assert mean.half is not None
        inside += abs(mean.mean - 3.0) <= mean.half
    assert abs(inside / 2000 - 0.95) < 0.02
    assert analysis.mean_of([1.0]).half is None
    assert analysis.mean_of([1.0, 2.0], sampled=False).half is None


def test_what_varied_is_told_from_what_did_not() -> None:
    varied, constant = analysis.parameters(table([
        run(0, {"lr": 0.1, "seed": 0, "mixed": 1, "flag": True, "same": [1], "only": 2}),
        run(1, {"lr": 1, "seed": 1, "mixed": "1", "flag": False, "same": [1]}),
    ]))  # fmt: skip
    assert [(p.name, p.numeric, p.replicate) for p in varied] == [
        ("lr", True, False), ("seed", True, True), ("mixed", False, False),
        ("flag", False, False), ("only", True, False),
    ]  # fmt: skip
    assert constant == {"same": "[1]"}
    assert varied[4].distinct([0, 1]) == [2, pd.NA] and not varied[4].given(1)
    for name in ("data_seed", "random_state", "fold", "Seed", "repeats"):
        assert analysis.Parameter(name, [], True).replicate, name
    for name in ("seedling", "folder", "speed", "unfolded"):
        assert not analysis.Parameter(name, [], True).replicate, name


def test_numbers_and_durations_are_short() -> None:
    shown = {0.1: "0.1", 1e-5: "1e-5", 0.912345: "0.9123", 12.0: "12", 1.5e12: "1.5e12",
             -0.25: "-0.25", 999999.0: "999999", 1e-10: "1e-10", 12345.67: "1.235e4"}  # fmt: skip
    assert {value: analysis.number(value) for value in shown} == shown
    assert analysis.number(math.inf) == "inf"
    times = {0.84: "0.8 s", 42.4: "42 s", 720: "12 min", 11100: "3 h 5 min", -1: "unknown"}
    assert {value: analysis.duration(value) for value in times} == times
    assert analysis.label(None) == "null" and analysis.label(pd.NA) == "not given"


def test_a_scale_is_logarithmic_from_a_factor_of_100() -> None:
    assert Scale([0.001, 0.01, 0.1], 0, 100).log
    assert not Scale([0.0011, 0.1], 0, 100).log
    assert not Scale([0.0, 1.0, 1000.0], 0, 100).log and not Scale([-1.0, 1000.0], 0, 100).log
    scale = Scale([1e-4, 1e-2, 1.0], 0.0, 100.0)
    assert scale(1e-2) == pytest.approx(50.0)
    assert scale(1e-3) - scale(1e-4) == pytest.approx(scale(1.0) - scale(0.1))
    assert scale(0.0) == 0.0 and scale(1e9) == 100.0  # what does not fit ends at the edge
    assert [words for _, words in scale.ticks()] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert len(Scale([1e-30, 1e30], 0.0, 100.0).ticks()) <= 7


@pytest.mark.parametrize("values", [[0.0, 1.0], [3.0, 3.0], [0.0], [], [-7e-9, 1e-8], [90, 110.5]])
def test_linear_ticks_are_round_and_inside(values: list[float]) -> None:
    ticks = Scale(values, 0.0, 100.0, log=False).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(0 <= at <= 100 for at, _ in ticks)
    assert len({words for _, words in ticks}) == len(ticks)
    gaps = np.diff([at for at, _ in ticks])
    assert np.allclose(gaps, gaps[0])


def test_a_grid_with_seeds_gets_curve_strips_heat_map_and_parallel_coordinates() -> None:
    found = drawn(grid(), "r.accuracy")
    assert list(found) == [
        "accuracy against lr", "accuracy by optimizer", "accuracy over lr and optimizer",
        "accuracy, all parameters at once",
    ]  # fmt: skip
    curve = found["accuracy against lr"]
    assert curve.legend == [("s0", "optimizer = sgd"), ("s1", "optimizer = adam")]
    assert "Line: mean over seed; bars: its 95\N{NO-BREAK SPACE}% interval" in curve.caption
    assert "lr (log)" in curve.svg and "failed" not in curve.svg
    assert (
        curve.svg.count("<circle") == 20 and "run 4: lr=0.001, optimizer=adam, seed=0" in curve.svg
    )
    # Means, one by one: adam at lr 0.01 is 0.88 + {0, .003, .006}.
    assert curve.numbers[0] == ["optimizer, lr", "runs", "mean", "± 95\N{NO-BREAK SPACE}%"]
    half = scipy.stats.t.ppf(0.975, 2) * 0.003 / math.sqrt(3)
    assert ["adam, 0.01", "3", "0.883", analysis.number(half)] in curve.numbers
    assert ["sgd, 0.001", "2", "0.8215"] in [row[:3] for row in curve.numbers]  # one timed out
    assert [len(numbers(d)) for d in paths(curve, "mean s[01]")] == [4, 3]  # adam failed at 1.0


def test_a_mean_over_other_parameters_has_no_interval() -> None:
    strip = drawn(grid(), "r.accuracy")["accuracy by optimizer"]
    assert "lr varies too" in strip.caption and "Stroke: mean of all runs there." in strip.caption
    assert "interval" not in strip.caption and not paths(strip, "bar s0")
    assert {row[3] for row in strip.numbers[1:]} == {""}


def test_the_curve_stands_where_the_values_are() -> None:
    outcomes = [
        run(i, {"x": x}, recorded={"m": m}) for i, (x, m) in enumerate([(3, 30), (1, 10), (2, 20)])
    ]
    curve = drawn(outcomes, "r.m")["m against x"]
    ((a, b, c),) = [numbers(d) for d in paths(curve, "mean s0")]
    assert a[0] < b[0] < c[0] and a[1] > b[1] > c[1]  # rising, and SVG counts downwards
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.11)
    assert curve.numbers == [] and "mean" not in curve.caption  # single runs are no means
    assert "Lowest in run 2: x=1 → 10" in curve.svg


def test_the_heat_map_holds_the_means() -> None:
    heat = drawn(grid(), "r.accuracy")["accuracy over lr and optimizer"]
    assert heat.svg.count('class="cell ramp"') == 7 and heat.svg.count('class="cell none"') == 1
    assert "lr=0.01, optimizer=adam: 0.883 (mean of 3 runs)" in heat.svg
    assert heat.ramp == ("0.8215", "0.903")
    assert {"--t:0%", "--t:100%"} <= set(re.findall(r"--t:\d+%", heat.svg))


def test_two_ranges_get_coloured_dots() -> None:
    outcomes = [
        run(i, {"a": 1.1**i, "b": float(i * 7 % 20)}, recorded={"m": i / 20}) for i in range(20)
    ]
    field = drawn(outcomes, "r.m")["m over a and b"]
    assert field.svg.count("<circle") == 20 and "its colour is m" in field.caption
    mixed = [run(i, {"a": float(i), "b": "xy"[i % 2]}, recorded={"m": 1}) for i in range(20)]
    assert list(drawn(mixed, "r.m")) == ["m against a", "m by b"]


def test_seeds_alone_get_one_strip_with_an_interval() -> None:
    outcomes = [run(i, {"seed": i}, recorded={"m": float(i)}) for i in range(5)]
    (strip,) = drawn(outcomes, "r.m").values()
    assert strip.title == "m, every run" and "mean over seed" in strip.caption
    assert len(paths(strip, "bar s0")) == 1
    assert strip.numbers[1][:3] == ["all runs", "5", "2"]


def test_a_search_shows_the_best_so_far_and_what_was_pruned() -> None:
    outcomes = search()
    found = drawn(outcomes, "r.score", maximize=True)
    assert list(found) == [
        "score, best so far", "score against lr", "score against decay", "score against width",
        "score by activation", "score by layers", "score, all parameters at once",
    ]  # fmt: skip
    best = found["score, best so far"]
    heights = [y for _, y in numbers(paths(best, "mean s1")[0])]
    assert heights == sorted(heights, reverse=True)  # never worse
    pruned = sum(o.status == PRUNED for o in outcomes)
    assert 0 < pruned == best.svg.count("hollow") == found["score against lr"].svg.count("hollow")
    top = max(o.recorded["score"] for o in outcomes if o.status == FINISHED)
    assert f"more is better. It reached {analysis.number(top)}." in best.caption
    assert "Hollow: pruned" in best.caption
    assert "null" in found["score by layers"].svg and "[64, 64]" in found["score by layers"].svg
    assert found["score, all parameters at once"].svg.count('class="run ramp"') == len(outcomes)


def test_best_so_far() -> None:
    held = [None, 3.0, 1.0, None, 2.0, 5.0]
    assert analysis.best_so_far(held, True) == [None, 3.0, 3.0, 3.0, 3.0, 5.0]
    assert analysis.best_so_far(held, False) == [None, 3.0, 1.0, 1.0, 1.0, 1.0]


def test_runs_that_failed_or_lack_the_value_are_not_drawn() -> None:
    outcomes = [
        run(0, {"x": 1}, recorded={"m": 1.0}), run(1, {"x": 2}, FAILED, recorded={"m": 99.0}),
        run(2, {"x": 3}), run(3, {}, recorded={"m": 2.0}),
        run(4, {"x": 5}, recorded={"m": math.inf}),
        run(5, {"x": 4}, recorded={"m": 3.0}),
    ]  # fmt: skip
    curve = drawn(outcomes, "r.m")["m against x"]
    assert curve.svg.count("<circle") == 2 and "99" not in curve.svg
    assert drawn(outcomes[1:2], "r.m") == {}
    # A parameter that only runs without a value were given has no drawing.
    given = [
        run(0, {"x": 1}),
        run(1, {"y": 1}, recorded={"m": 1}),
        run(2, {"y": 2}, recorded={"m": 2}),
    ]
    assert "m against y" in drawn(given, "r.m") and "m against x" not in drawn(given, "r.m")


def test_many_runs_are_drawn_small() -> None:
    outcomes = [
        run(i, {"x": i % 10, "y": i % 7, "z": i % 3}, recorded={"m": float(i % 113)})
        for i in range(1200)
    ]
    found = drawn(outcomes, "r.m")
    assert found["m against x"].svg.count("h0") == 1200
    assert "One in 3 of the 1200 runs is drawn" in found["m, all parameters at once"].caption
    assert len(found["m against x"].svg) < 40_000
    coarse = svg.dots([Dot(1.0, 1.0, "", share=i / 999) for i in range(1000)])
    assert len(coarse) == 11


def test_more_categories_than_fit_are_told() -> None:
    outcomes = [run(i, {"x": f"v{i}"}, recorded={"m": i}) for i in range(40)]
    strip = drawn(outcomes, "r.m")["m by x"]
    assert "The first 24 of 40 values are drawn." in strip.caption


def test_elements_escape_what_they_are_given() -> None:
    made = svg.el("text", "<b>&", svg.el("title", '"'), x=1.0, aria_label='"<', class_=None)
    assert made == Markup(
        '<text x="1" aria-label="&#34;&lt;">&lt;b&gt;&amp;<title>&#34;</title></text>'
    )
    assert "<script>" not in svg.text(0, 0, "<script>" * 20, most=20)
    assert svg.short("a  b\nc", 40) == "a b c" and svg.short("abcdef", 4) == "abc…"


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [5.0, 5.0], [1.0, 1000.0]])
def test_shares_of_the_colour_ramp(values: Sequence[float]) -> None:
    from lepton_ref.cloud.sweeps.charts.panel import shares

    share = shares(values)
    ends = (share(min(values)), share(max(values)))
    assert ends == pytest.approx((0.5, 0.5) if min(values) == max(values) else (0.0, 1.0))
