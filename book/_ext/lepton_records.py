"""Numbers on a page come from recorded runs, never from a keyboard.

``{recorded}`vision/classification:test_accuracy|.3f` ``
    the value that ``record("test_accuracy", ...)`` left in the committed notebook.
``{result}`vision/classification:test_accuracy@full-numpy|.1%` ``
    the value in ``book/results/vision/classification.full.numpy.json``.
``{results-table}``
    ours · published · source, one YAML item per row.
``{benchmark-table}``
    the rows of ``benchmarks/results.json``.

A value that is missing is a warning, so a build with ``-W`` fails.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from lepton_site import table
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)
MIME = "application/papermill.record/text/plain"
TARGET = re.compile(
    r"(?P<page>[\w/-]+):(?P<name>[\w.-]+)(?P<keys>(?:\[[^\]]+\])*)"
    r"(?:@(?P<profile>\w+)-(?P<engine>\w+))?(?:\|(?P<format>.+))?"
)  # fmt: skip
PEERS = ("torch", "mxnet", "autograd", "chainer", "numpy-ml")


class Missing(LookupError):
    """A quoted value that no run recorded."""


@cache
def _notebook_records(path: Path, stamp: int) -> dict[str, Any]:
    records: dict[str, Any] = {}
    for cell in json.loads(path.read_text("utf8"))["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name is None or MIME not in output.get("data", {}):
                continue
            text = output["data"][MIME]
            text = text if isinstance(text, str) else "".join(text)
            try:
                records[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                records[name] = text
    return records


def source_of(root: Path, target: re.Match[str]) -> Path:
    """The file that holds a quoted value."""
    if target["profile"]:
        return root / f"book/results/{target['page']}.{target['profile']}.{target['engine']}.json"
    return root / f"notebooks/{target['page']}.ipynb"


def look_up(root: Path, text: str) -> tuple[Any, str, Path]:
    """(value, format, file) of ``page:name[key]@profile-engine|format``."""
    target = TARGET.fullmatch(text.strip())
    if target is None:
        raise Missing(f"`{text}` is not page:name, page:name|format or page:name@profile-engine")
    path = source_of(root, target)
    if not path.is_file():
        raise Missing(f"`{text}`: {path.relative_to(root)} does not exist")
    if target["profile"]:
        records = json.loads(path.read_text("utf8"))["records"]
    else:
        records = _notebook_records(path, path.stat().st_mtime_ns)
    if target["name"] not in records:
        known = ", ".join(sorted(records)) or "nothing"
        raise Missing(f"`{text}`: {path.relative_to(root)} records {known}")
    value = records[target["name"]]
    for key in re.findall(r"\[([^\]]+)\]", target["keys"]):
        try:
            value = value[key] if isinstance(value, dict) else value[int(key)]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Missing(f"`{text}`: there is no [{key}] in it") from None
    return value, target["format"] or "", path


def shown(value: Any, spec: str) -> str:
    """A recorded value as text; thin spaces part the thousands of whole numbers."""
    if spec:
        return format(value, spec)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:,}".replace(",", "\u202f")
    return str(value)


class RecordRole(SphinxRole):
    """``{recorded}`` and ``{result}``: a recorded value in running text."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            value, spec, path = look_up(Path(self.env.srcdir), self.text)
            text = shown(value, spec)
        except (Missing, ValueError, TypeError) as error:
            place = self.get_location()
            logger.warning("%s", error, location=place, type="lepton", subtype="record")
            self.env.note_reread()
            return [nodes.inline("", "[not recorded]", classes=["lepton-missing"])], []
        self.env.note_dependency(str(path))
        return [nodes.inline("", text, classes=["lepton-record"])], []


class Table(SphinxDirective):
    """What the two table directives share."""

    has_content = True

    def warn(self, message: str) -> None:
        """A warning at the directive's place, in this build and the next."""
        place = self.get_location()
        logger.warning("%s", message, location=place, type="lepton", subtype="record")
        self.env.note_reread()  # warn again in the next build

    def quote(self, text: str, spec: str) -> str:
        """A quoted value, or a dash and a warning."""
        try:
            value, own, path = look_up(Path(self.env.srcdir), text)
        except Missing as error:
            self.warn(str(error))
            return "–"
        self.env.note_dependency(str(path))
        return shown(value, own or spec)

    def prose(self, text: str) -> nodes.Node:
        """Inline MyST: citations, links, maths."""
        parsed, _ = self.parse_inline(str(text), lineno=self.lineno)
        line = nodes.inline()
        line += parsed
        return line


class ResultsTable(Table):
    """``{results-table}``: one YAML item per row.

    Keys: ``what``, ``quick``, ``full``, ``format``, ``published``, ``source``.
    ``quick`` and ``full`` name recorded values, ``format`` their format; ``published`` is the
    figure as its source prints it, or a dash where nobody published one.
    """

    def run(self) -> list[nodes.Node]:
        items = yaml.safe_load("\n".join(self.content)) or []
        rows = []
        for item in items:
            spec = item.get("format", "")
            ours = [self.quote(item[k], spec) if item.get(k) else "–" for k in ("quick", "full")]
            published = str(item.get("published", "–"))
            source = self.prose(item.get("source", "–"))
            rows.append([self.prose(item["what"]), *ours, published, source])
        header = ["task", "ours, quick", "ours, full", "published", "source"]
        return [table(header, rows, ("lepton-results",))]


class Benchmarks(Table):
    """What the directives of the performance page share."""

    def measured(self) -> dict[str, Any] | None:
        """The committed benchmark run, or a warning."""
        path = Path(self.env.srcdir) / "benchmarks" / "results.json"
        if not path.is_file():
            self.warn("benchmarks/results.json does not exist")
            return None
        self.env.note_dependency(str(path))
        return json.loads(path.read_text("utf8"))


class BenchmarkTable(Benchmarks):
    """``{benchmark-table} [group]``: measured times of this package beside its peers."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        run = self.measured()
        if run is None:
            return []
        rows = run["rows"]
        if self.arguments:
            rows = [row for row in rows if row["group"] == self.arguments[0]]
            if not rows:
                self.warn(f"benchmarks/results.json has no group {self.arguments[0]!r}")
        peers = [p for p in PEERS if any(p in row["peer_ms"] for row in rows)]
        body = []
        for row in rows:
            times = [milliseconds(row["peer_ms"].get(peer)) for peer in ("numpy", *peers)]
            ratio, bar = row.get("ratio_to_torch"), row.get("bar")
            over = ratio is not None and bar is not None and ratio > bar
            shown_ratio = nodes.inline(
                "",
                "–" if ratio is None else f"{ratio:.2f}" + (" (above)" if over else ""),
                classes=["lepton-over" if over else "lepton-within"],
            )
            body.append([row["name"], *times, shown_ratio, "–" if bar is None else f"≤ {bar}"])
        header = ["task", "Lepton", *peers, "Lepton ÷ torch", "bar"]
        return [table(header, body, ("lepton-benchmark",))]


def milliseconds(value: float | None) -> str:
    """A time with three significant digits."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class BenchmarkMachine(Benchmarks):
    """``{benchmark-machine}``: what the benchmark ran on."""

    def run(self) -> list[nodes.Node]:
        run = self.measured()
        if run is None:
            return []
        rows = []
        for key, value in run["environment"].items():
            if isinstance(value, dict):
                value = ", ".join(f"{k} {v}" for k, v in value.items())
            if value not in ("", None):
                rows.append([key.replace("_", " "), str(value)])
        return [table(["what", "value"], rows)]


class SweepTable(Table):
    """``{sweep-table}``: how long sweeps of short notebooks take, beside plain papermill."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "benchmarks" / "sweeps.json"
        if not path.is_file():
            self.warn("benchmarks/sweeps.json does not exist")
            return []
        self.env.note_dependency(str(path))
        run = json.loads(path.read_text("utf8"))
        figures, bars, about = run["figures"], run["bars"], run["environment"]
        ours = run["seconds"]["lepton-ref sweep"]
        body = [
            [label, f"{seconds:.1f} s", f"{seconds / ours:.1f}"]
            for label, seconds in run["seconds"].items()
        ]
        per_run, overhead = figures["papermill_per_run"], figures["ray_overhead"]
        more = [
            ["one run of papermill", f"{per_run:.2f} s", "–"],
            ["one run on Ray, warm kernel", f"{figures['ray_warm_per_run']:.2f} s", "–"],
            ["what Ray adds to a run of the same worker", f"{overhead:.2f} s",
             f"≤ {bars['ray_overhead']} s"],
            [f"asking again for a finished sweep of {about['resumed']} runs",
             f"{figures['resume']:.2f} s", f"≤ {bars['resume']:g} s"],
        ]  # fmt: skip
        where = f"{about['cpu']}, {about['cores']} cores, {about['measured']}"
        return [
            table([f"{about['runs']} runs", "time", "÷ lepton-ref sweep"], body, ()),
            table(["what", "time", "bar"], more, ()),
            nodes.paragraph("", f"Measured on {where}."),
        ]


class PeerTable(Table):
    """``{peer-table} chapter``: rows that were measured beside other people's libraries."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        run = self.kept(f"{self.arguments[0]}/results.json")
        if run is None:
            return []
        threaded = any("threads" in row for row in run["rows"])
        body = []
        for row in run["rows"]:
            over = row["bar"] is not None and row["ratio"] > row["bar"]
            shown = nodes.inline(
                "", f"{row['ratio']:.2f}" + (" (above)" if over else ""),
                classes=["lepton-over" if over else "lepton-within"],
            )  # fmt: skip
            bar = "–" if row["bar"] is None else f"≤ {row['bar']:g}"
            times = [milliseconds(row[side]) for side in ("ours_ms", "peer_ms")]
            body.append(
                [row["what"], *([str(row["threads"])] if threaded else []), row["peer"], *times]
                + [shown, bar]
            )
        about = run["environment"]
        versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
        where = f"{about['cpu']}, {about['cores']} cores, {about['measured']}; {versions}."
        heads = ["task", *(["threads"] if threaded else []), "peer", "ours, ms", "peer, ms"]
        return [table([*heads, "ratio", "bar"], body, ()), nodes.paragraph("", where)]

    def kept(self, name: str) -> Any:
        """What a committed benchmark wrote, or a warning."""
        path = Path(self.env.srcdir) / "benchmarks" / name
        if not path.is_file():
            self.warn(f"benchmarks/{name} does not exist")
            return None
        self.env.note_dependency(str(path))
        return json.loads(path.read_text("utf8"))


class GrowthTable(PeerTable):
    """``{growth-table}``: how implicit least squares grows."""

    required_arguments = 0

    def run(self) -> list[nodes.Node]:
        scale = self.kept("recsys/scale.json")
        if scale is None:
            return []
        forecast = (scale["predicted"], "predicted")
        sizes = [
            [f"{row['users']:,} × {row['items']:,}", f"{row['interactions']:,}",
             f"{row['exact_s']:.1f}", f"{row['cg_s']:.1f}", f"{row['peak_gib']:.1f}", how]
            for row, how in [*((row, "measured") for row in scale["sizes"]), forecast]
        ]  # fmt: skip
        grown = scale["environment"]
        where = (
            f"{grown['factors']} factors, {grown['threads']} threads, {grown['dtype']}, "
            f"{grown['measured']}."
        )
        steps = f"{grown['cg_steps']} steps of CG, s"
        grow = ["users × items", "interactions", "exact, s", steps, "GiB", "how"]
        return [table(grow, sizes, ()), nodes.paragraph("", where)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_role("recorded", RecordRole())
    app.add_role("result", RecordRole())
    app.add_directive("results-table", ResultsTable)
    app.add_directive("benchmark-table", BenchmarkTable)
    app.add_directive("benchmark-machine", BenchmarkMachine)
    app.add_directive("sweep-table", SweepTable)
    app.add_directive("peer-table", PeerTable)
    app.add_directive("growth-table", GrowthTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
