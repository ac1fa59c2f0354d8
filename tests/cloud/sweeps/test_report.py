"""The report as text: what it says, what it leaves out, and that nothing gets through."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.figures import Figure, Gallery, Limits, collect, figures_in
from lepton_ref.cloud.sweeps.report import About, Search, report_html
from lepton_ref.cloud.sweeps.results import table
from lepton_ref.cloud.sweeps.runs import (
    BELOW_BOUNDS,
    CANCELLED,
    FAILED,
    FINISHED,
    LEAKED_SECRET,
    SYSTEM_FAULT,
    TOO_MUCH_OUTPUT,
)
from tests.cloud.sweeps.report_runs import HOSTILE, grid, notebook, png, run, search


class Page(HTMLParser):
    """Elements with their attributes, and the text that is shown."""

    VOID = {"meta", "link", "img", "input", "br", "use", "path", "circle", "rect"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id" and value]
        if tag not in {"meta", "link", "img", "input", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(*args: Any, **kwargs: Any) -> Page:
    return Page(report_html(*args, **kwargs))


def frame_of(outcomes: list[Any]) -> pd.DataFrame:
    return table(outcomes)


def test_the_head_says_what_was_run_how_it_went_and_what_it_cost() -> None:
    about = About(
        notebook="notebooks/vision/classification.ipynb", command="lepton-ref sweep s.yaml",
        backend="local, 2 workers", planned=30, cost="0.42 USD (spot, 2026-11-01)",
        interrupted=True, details={"commit": "5df37cc"}, wall_seconds=7500,
    )  # fmt: skip
    text = page("Rates", frame_of(grid()), about=about).text
    assert "24 of 30 planned runs of notebooks/vision/classification.ipynb" in text
    assert "finished 20 failed 3 timed out 1" in text
    assert "from start to end 2 h 5 min" in text and "all runs together 4 min" in text
    assert "cost 0.42 USD (spot, 2026-11-01)" in text and "repeated attempts 1" in text
    assert "started 2026-11-24 05:00 UTC" in text
    assert "stopped before its end" in text and "commit 5df37cc" in text
    assert "batch_size 128" in text  # did not vary
    bare = page("Rates", frame_of(grid())).text
    assert "cost not priced" in bare and "stopped before" not in bare and "24 runs." in bare


def test_the_table_has_a_row_a_run_with_links_and_sort_keys() -> None:
    frame = frame_of(grid())
    html = report_html("Rates", frame)
    found = Page(html)
    rows = [a for a in found.all("tr") if (a.get("id") or "").startswith("run-")]
    assert [a["id"] for a in rows] == [f"run-{i}" for i in frame["id"]]
    heads = [
        a["data-name"] for a in found.all("th") if a.get("scope") == "col" and "data-name" in a
    ]
    assert heads == ["run", "status", "lr", "optimizer", "seed", "accuracy", "loss", "fold",
                     "seconds", "attempts", "error"]  # fmt: skip
    links = {a["href"] for a in found.all("a")}
    assert f"runs/{frame['id'][0]}/notebook.ipynb" in links
    assert "results.parquet" in links and "results.csv" in links
    assert not [link for link in links if "://" in str(link)]
    assert 'data-v="0.9"' in html  # 0.9 at lr=0.1: sorted by its value
    assert len(found.ids) == len(set(found.ids))
    # Links inside the page lead somewhere.
    assert {str(x)[1:] for x in links if str(x).startswith("#")} <= set(found.ids)


def test_failures_of_one_kind_stand_together_with_cell_and_notebook() -> None:
    found = page("Rates", frame_of(grid()))
    assert "failed 3 runs in cell 9 NonFiniteError: loss is nan" in found.text
    assert "timed out 1 run in cell 4 TimeoutError: longer than 60 s" in found.text
    assert found.text.index("3 runs in cell 9") < found.text.index("1 run in cell 4")
    assert "failed/21/n.ipynb" in {a["href"] for a in found.all("a")}


def test_failed_runs_alone_make_a_report_that_says_so() -> None:
    frame = frame_of([r for r in grid() if r.status != FINISHED])
    found = page("Rates", frame, notebooks=lambda path: notebook(([], "x", [png()])),
                 metrics=["accuracy"], search=Search("accuracy", "maximize"))  # fmt: skip
    assert "None of the 4 runs came to its end" in found.text
    assert "NonFiniteError: loss is nan" in found.text
    assert not found.all("img") and "results" not in found.ids and "runs" in found.ids
    assert "Best run" not in found.text


def test_an_empty_sweep_makes_a_report_that_says_so() -> None:
    found = page("Rates", frame_of([]), about=About(planned=8))
    assert "No run has ended yet" in found.text and "nothing to show yet" in found.text
    assert not found.all("table")


def test_runs_without_numbers_or_variation_are_reported() -> None:
    found = page("One", frame_of([run(0, {"lr": 0.1}, recorded={"verdict": "good"})]))
    assert "No parameter varied or no number was recorded" in found.text and "good" in found.text
    many = page("Texts", frame_of([run(i, {"x": i}) for i in range(3)])).text
    assert "run time in seconds against x" in many


def test_every_status_has_its_icon_and_its_word() -> None:
    statuses = [FINISHED, BELOW_BOUNDS, FAILED, TOO_MUCH_OUTPUT, LEAKED_SECRET, SYSTEM_FAULT,
                CANCELLED, "of_a_later_version"]  # fmt: skip
    found = page("All", frame_of([run(i, {"i": i}, s) for i, s in enumerate(statuses)]))
    icons = {a["href"] for a in found.all("use")}
    assert {str(i)[1:] for i in icons} <= set(found.ids)
    assert {"#i-below_bounds", "#i-leaked_secret", "#i-other"} <= icons
    for status in statuses:
        assert status.replace("_", " ") in found.text


def test_nothing_that_a_run_says_becomes_markup() -> None:
    error = {"name": HOSTILE, "value": HOSTILE, "cell": 1}
    held = {"score": 0.5, HOSTILE: HOSTILE, "n" + HOSTILE: 3}
    outcomes = [
        run(i, {HOSTILE: HOSTILE + str(i), "x": i, "mixed": ([HOSTILE], None)[i % 2]},
            FINISHED if i else FAILED, recorded={**held, "score": 0.1 * i}, error=error,
            host=HOSTILE + str(i), engine=HOSTILE, versions={HOSTILE: HOSTILE},
            artifact=f"javascript:alert('{HOSTILE}')" if i % 2 else "//elsewhere.example/n.ipynb")
        for i in range(4)
    ]  # fmt: skip
    html = report_html(
        HOSTILE, frame_of(outcomes),
        notebooks=lambda path: notebook(([], HOSTILE, [png()])),
        search=Search("score", "maximize"),
        about=About(HOSTILE, HOSTILE, HOSTILE, None, None, HOSTILE, False, {HOSTILE: HOSTILE}),
    )  # fmt: skip
    found = Page(html)
    assert len(found.all("script")) == 1 and html.count("<script") == 1
    assert all(str(a.get("src", "")).startswith("data:image/png;base64,") for a in found.all("img"))
    for _, attributes in found.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("href", "src"):
            assert not re.match(r"\s*(javascript:|//|\w+://)", str(attributes.get(key, "")), re.I)
    assert HOSTILE in found.text  # shown as it is
    assert html.count("{{ 7*7 }}") > 20


def test_the_policy_lets_nothing_in_and_only_this_script_run() -> None:
    html = report_html("Rates", frame_of(grid()))
    script = html.split("<script>")[1].split("</script>")[0]
    found = Page(html)
    policy = next(a["content"] for a in found.all("meta") if "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None and f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "img-src data:;" in policy
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//|@import|url\(", html)


def test_the_same_runs_make_the_same_report() -> None:
    assert report_html("Rates", frame_of(grid())) == report_html("Rates", frame_of(grid()[::-1]))


def test_the_gallery_shows_tagged_figures_side_by_side_with_the_parameters() -> None:
    def read(path: str) -> str | None:
        shade = int(path.split("/")[1], 16)
        if shade == 1:
            return None  # gone from the store
        return notebook(
            ([], "not chosen", [png(1)]),
            (["report"], "Falling loss.", [png(shade)]),
            (["report"], "", [png(shade + 100), png(shade + 101)]),
        )

    frame = frame_of(grid())
    found = page("Rates", frame, notebooks=read, metrics=["loss"])
    alts = [a["alt"] for a in found.all("img")]
    ended = int((frame["status"] == FINISHED).sum()) - 1
    assert len(alts) == min(48, 3 * ended) == 48 and "Run 1: Falling loss." in alts
    assert "Run 1: figure without a description" in alts
    assert "Figure 3" in found.text and "run 1 · loss 0.18 lr = 0.001" in found.text
    assert "3 notebooks were not opened" in found.text  # 17 of 20 filled 48 places
    assert {(a["width"], a["height"]) for a in found.all("img")} == {("24", "16")}
    assert not page("Rates", frame, notebooks=read, figures=Limits(figures=0)).all("img")


def test_the_gallery_of_a_search_begins_with_the_best() -> None:
    frame = frame_of(search())
    found = page("Search", frame, search=Search("score", "minimize"), figures=Limits(figures=2),
                 notebooks=lambda path: notebook(([], "A.", [png()])))  # fmt: skip
    ranked = frame[frame["status"] == FINISHED].sort_values("r.score").index + 1
    assert [a["alt"] for a in found.all("img")] == [f"Run {i}: A." for i in ranked[:2]]
    assert f"in run {ranked[0]} ," in found.text or f"in run {ranked[0]}," in found.text


def test_a_gallery_may_be_given() -> None:
    frame = frame_of(grid())
    figures = [
        Figure(frame["id"][3], 0, 1, png(), "A.", 24, 16),
        Figure("gone", 0, 1, png(), "", 1, 1),
    ]
    found = page("Rates", frame, figures=Gallery(figures, left_out=1))
    assert [a["alt"] for a in found.all("img")] == ["Run 4: A."]
    assert "1 figure was left out;" in found.text


def test_figures_are_pictures_chosen_by_tag_or_the_last() -> None:
    text = notebook(([], "first", [png(1)]), ([], "last", [png(2), png(3)]), ([], "", []))
    (only,) = figures_in("a", text)
    assert (only.alt, only.cell, only.png, only.width) == ("last", 2, png(3), 24)
    assert figures_in("a", notebook(([], "", ["bm90IGEgcGljdHVyZQ==", "<script>"]))) == []
    for broken in ("", "[]", "{}", '{"cells": 3}', '{"cells": [3]}', "no JSON"):
        assert figures_in("a", broken) == []
    assert base64.b64decode(only.source.removeprefix("data:image/png;base64,")) == png(3)


def test_a_gallery_stops_at_its_limits() -> None:
    size = len(png())
    text = notebook((["report"], "", [png()] * 3))
    runs = [(str(i), "n") for i in range(4)]
    opened: list[str] = []

    def read(path: str) -> str:
        opened.append(path)
        return text

    few = collect(runs, read, Limits(each=2))
    assert (len(few.figures), few.left_out, few.unread) == (8, 4, 0)
    small = collect(runs, read, Limits(all_bytes=4 * size))
    assert (len(small.figures), small.left_out, small.unread) == (4, 2, 2)
    assert collect(runs, read, Limits(picture_bytes=size - 1)).figures == []
    opened.clear()
    assert len(collect(runs, read, Limits(figures=3)).figures) == 3 and len(opened) == 1


def test_metrics_are_chosen() -> None:
    frame = frame_of(grid())

    def offered(**kwargs: Any) -> list[str]:
        html = report_html("Rates", frame, **kwargs)
        return re.findall(r'<h3 id="h-metric-\d+">(.*?)</h3>', html)

    assert offered() == ["accuracy", "loss", "run time in seconds"]
    assert offered(search=Search("loss", "minimize"))[0] == "loss"
    assert offered(metrics=["loss"]) == ["loss", "run time in seconds"]
    with pytest.raises(SweepError, match="names 'acuracy', which no run recorded.*mean `accuracy`"):
        offered(metrics=["acuracy"])


def test_long_values_are_cut_where_they_would_break_the_page() -> None:
    long = "x" * 5000
    error = {"name": "E", "value": long, "cell": 1}
    outcomes = [run(i, {"p": long + str(i)}, FAILED, error=error) for i in range(2)]
    assert max(map(len, page("Long", frame_of(outcomes)).words)) <= 4000


def test_bad_input_is_named() -> None:
    with pytest.raises(SweepError, match="direction is 'up'; accepted are 'maximize'"):
        Search("score", "up")
    with pytest.raises(SweepError, match="name is '  '"):
        report_html("  ", frame_of([]))
    with pytest.raises(SweepError, match="frame is a dict that lacks columns"):
        report_html("x", {})  # type: ignore[arg-type]
    with pytest.raises(SweepError, match="frame is a DataFrame that lacks columns"):
        report_html("x", pd.DataFrame({"id": []}))
