"""A prediction as a short report in words and one picture, in one file that anybody can print."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ref.explain.evaluation.calibration import Record
from lepton_ref.explain.evaluation.reports.parts import Change, Evidence, Move, View
from lepton_ref.explain.evaluation.reports.words import listed, strength, times
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError

WHERE = "report"
WIDTH = 80  # of a line of text
LEAST = 0.03  # a smaller share of all that spoke is left out
METHODS = {
    "integrated_gradients": "following how the answer changes from an empty input to this one",
    "deeplift": "following the differences from an empty input through the program",
    "kernel_shap": "asking what the answer would have been with some parts missing, many times",
    "permutation_shapley": "putting the parts in one after the other, in many orders",
    "exact_shapley": "asking what the answer would have been with every set of parts missing",
    "lime": "asking what the answer would have been with some parts missing, many times",
    "occlusion": "covering one part after the other",
    "because": "reading the program's own sum",
}


@dataclass(frozen=True, repr=False)
class Report:
    """What is said of one prediction.

    Attributes
    ----------
    title, decided, sure, checked, changed, limits, method : str
        The sentences. ``checked`` is empty where there is no record.
    moves : tuple of Move
        The numbers that ``changed`` speaks of; of a patient. Else none.
    spoke_for, spoke_against : tuple of Evidence
        The largest first.
    alt : str
        What the picture shows, for those who cannot see it.
    html : str
        The whole report as one file: no script, nothing from another host.
    """

    title: str
    decided: str
    sure: str
    checked: str
    spoke_for: tuple[Evidence, ...]
    spoke_against: tuple[Evidence, ...]
    changed: str
    moves: tuple[Move, ...]
    limits: str
    method: str
    alt: str
    html: str

    def __repr__(self) -> str:
        return f"Report: {self.decided}"

    @property
    def text(self) -> str:
        """The report without its picture, in lines of at most 80 characters."""

        def points(evidence: Sequence[Evidence], nothing: str) -> list[str]:
            return [f"  - {e.name}" for e in evidence] or [f"  {nothing}"]

        lines = [
            self.title, "", self.decided, "", "How sure?", "  " + self.sure,
            *(["  " + self.checked] if self.checked else []),
            "", "What spoke for it", *points(self.spoke_for, "Nothing of weight."),
            "", "What spoke against it", *points(self.spoke_against, "Nothing of weight."),
            "", "What would have changed it", "  " + self.changed,
            *(f"  - {m.name}: from {m.before} to {m.after}" for m in self.moves),
            "", "What this report cannot tell", "  " + self.limits,
        ]  # fmt: skip
        return "\n".join(_wrapped(line) for line in lines)

    def save(self, path: str | Path) -> Path:
        """Write the file, UTF-8, into a folder that exists; return its path.

        Raises
        ------
        ArgumentError
            Without that folder.
        """
        target = Path(path)
        if not target.parent.is_dir():
            raise ArgumentError("Report.save", "path", f"no folder {target.parent}", "one there is")
        target.write_text(self.html, encoding="utf-8")
        return target


def _wrapped(line: str) -> str:
    """One paragraph in lines that keep its indent; a point's go on behind its dash."""
    inner = line.lstrip(" ")
    indent = " " * (len(line) - len(inner))
    further = indent + "  " * inner.startswith("- ")
    return textwrap.fill(inner, WIDTH, initial_indent=indent, subsequent_indent=further)


def report(
    attribution: Attribution,
    view: View,
    probability: float,
    *,
    record: Record | None = None,
    counterfactual: Attribution | None = None,
    example: int = 0,
    top: int = 4,
    decision: int | None = None,
) -> Report:
    """One prediction, for somebody who has never heard of a model.

    Parameters
    ----------
    attribution : Attribution
        Of any explainer of the chapter.
    view : ImageView, ReviewView, PatientView or RecommendationView
        What was decided on, in the words of its kind.
    probability : float
        Of the decision, calibrated: :meth:`Temperature.probabilities`.
    record : Record, optional
        What became of decisions about as sure: :meth:`Temperature.record`.
    counterfactual : Attribution, optional
        From :func:`lepton_ref.explain.counterfactual`, of the same example.
    example : int
        Which row of the attribution, and of the counterfactual.
    top : int
        Pieces of evidence for and against that are told.
    decision : {0, 1}, optional
        Of a model with a single output, whose attributions always speak for that output: what
        was decided. Needed where no counterfactual says it; evidence for 0 is what lowers the
        output.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError
        For an example that is not there, what is no probability, evidence that does not fit the
        view, a counterfactual of another example, or nothing to tell: every contribution zero.
    """
    _check_parts(attribution, view, probability, record, counterfactual, top)
    n = len(attribution.values)
    if not isinstance(example, int | np.integer) or not 0 <= example < n:
        raise ArgumentError(WHERE, "example", f"the value {example!r}", f"0..{n - 1}")
    decision, sign = _decision(attribution, counterfactual, example, decision)
    evidence = [Evidence(e.name, sign * e.value) for e in view.evidence(attribution, example)]
    total = sum(abs(e.value) for e in evidence)
    if not total > 0:
        raise ArgumentError(
            WHERE,
            "attribution",
            "only zeros for this example",
            "something that spoke for or against",
        )
    told = [Evidence(e.name, e.value / total) for e in evidence]
    spoke_for = tuple(e for e in told if e.value >= LEAST)[:top]
    against = tuple(e for e in told if e.value <= -LEAST)[:top]
    decided = view.decided(decision)
    sure = view.sure(times(probability))
    checked = "" if record is None else view.recorded(record.right, record.of)
    changed = _changed(view, counterfactual, attribution, example)
    how = METHODS.get(attribution.method, attribution.method.replace("_", " "))
    method = f"Found by {how} ({attribution.method})."
    alt = _alt(spoke_for, against)
    parts: dict[str, Any] = {
        "title": view.title, "decided": decided, "sure": sure, "checked": checked,
        "spoke_for": spoke_for, "spoke_against": against, "changed": changed.sentence,
        "moves": changed.moves, "limits": view.limits, "method": method, "alt": alt,
    }  # fmt: skip
    picture = view.picture(attribution, example)
    if picture["form"] == "bars":
        most = max(abs(e.value) for e in told)
        shown = [e for e in told if e in spoke_for or e in against]
        picture["bars"] = [
            (e.name, strength(e.value), e.value > 0, max(2, round(100 * abs(e.value) / most)))
            for e in shown
        ]
    html = _render(parts | {"picture": picture, "strength": strength})
    return Report(**parts, html=html)


def _check_parts(
    attribution: Any, view: Any, probability: Any, record: Any, counterfactual: Any, top: Any
) -> None:
    if not isinstance(attribution, Attribution):
        got = f"type {type(attribution).__name__}"
        raise ArgumentError(WHERE, "attribution", got, "an Attribution, as explainers return it")
    if not all(hasattr(view, name) for name in ("decided", "evidence", "picture", "changed")):
        known = "ImageView, ReviewView, PatientView or RecommendationView"
        raise ArgumentError(WHERE, "view", f"type {type(view).__name__}", known)
    real = isinstance(probability, int | float | np.number)
    if not real or not 0 <= probability <= 1:
        got = f"the value {probability!r}"
        raise ArgumentError(WHERE, "probability", got, "a number in [0, 1]")
    whole(WHERE, top=top)
    if record is not None and not isinstance(record, Record):
        raise ArgumentError(WHERE, "record", f"type {type(record).__name__}", "a Record or None")
    if counterfactual is not None and not (
        isinstance(counterfactual, Attribution) and "flipped" in counterfactual.settings
    ):
        got = f"type {type(counterfactual).__name__}"
        raise ArgumentError(WHERE, "counterfactual", got, "what `counterfactual` returns, or None")


def _decision(
    attribution: Attribution, counterfactual: Attribution | None, example: int, given: int | None
) -> tuple[int, int]:
    """What was decided, and whether a positive value spoke for it (1) or against it (-1)."""
    settings = {} if counterfactual is None else counterfactual.settings
    if given is not None and given not in (0, 1):
        raise ArgumentError(WHERE, "decision", f"the value {given!r}", "0, 1 or None")
    if settings.get("single") and example < len(settings["decided"]):
        said = int(settings["decided"][example])
        if given not in (None, said):
            raise ArgumentError(
                WHERE, "decision", f"the value {given}", f"{said}, as in `counterfactual`"
            )
        given = said
    if given is None:
        return int(attribution.target[example]), 1
    return int(given), 1 if given else -1


def _changed(
    view: View, counterfactual: Attribution | None, attribution: Attribution, example: int
) -> Change:
    if counterfactual is None:
        return Change("This was not looked for.")
    if len(counterfactual.values) <= example or not np.array_equal(
        counterfactual.x[example], attribution.x[example]
    ):
        raise ArgumentError(
            WHERE, "counterfactual", "another example in this row", "the one that is explained"
        )
    if not counterfactual.settings["flipped"][example]:
        return Change("Nothing that we tried would have changed the answer.")
    return view.changed(counterfactual, example)


def _alt(spoke_for: Sequence[Evidence], against: Sequence[Evidence]) -> str:
    parts = []
    for word, evidence in (("for", spoke_for), ("against", against)):
        if evidence:
            names = listed([f"{e.name} ({strength(e.value)})" for e in evidence])
            parts.append(f"Spoke {word} it: {names}.")
    return " ".join(parts) or "No part stands out."


def _render(parts: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    room = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return room.get_template("report.html.j2").render(parts)
