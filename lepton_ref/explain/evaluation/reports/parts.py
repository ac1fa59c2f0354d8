"""What a report is made of: evidence, changes, and what it asks of a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.errors import ArgumentError

WHERE = "report"


class Evidence(NamedTuple):
    """One thing that spoke for the decision (positive) or against it."""

    name: str
    value: float


class Move(NamedTuple):
    """One number that would have had to be another: its name, what it is, what it would be."""

    name: str
    before: str
    after: str


class Change(NamedTuple):
    """What would have changed the decision: a sentence, and the numbers that it speaks of."""

    sentence: str
    moves: tuple[Move, ...] = ()


class View(Protocol):
    """What :func:`report` asks of a view."""

    kind: str
    title: str
    limits: str

    def decided(self, target: int) -> str: ...
    def sure(self, times: str) -> str: ...
    def recorded(self, right: int, of: int) -> str: ...
    def evidence(self, found: Attribution, example: int) -> list[Evidence]: ...
    def picture(self, found: Attribution, example: int) -> dict[str, Any]: ...
    def changed(self, found: Attribution, example: int) -> Change: ...


def merged(names: Sequence[str], values: np.ndarray) -> list[Evidence]:
    """One piece of evidence for each name, the largest first."""
    total: dict[str, float] = {}
    for name, value in zip(names, values):
        total[name] = total.get(name, 0.0) + float(value)
    return sorted((Evidence(*pair) for pair in total.items()), key=lambda e: -abs(e.value))


def chosen(view: str, classes: Sequence[str], target: int) -> str:
    """The name of a decision; refuse a view that has no name for it."""
    if not 0 <= target < len(classes):
        raise ArgumentError(
            WHERE, "view", f"{len(classes)} classes in {view}",
            f"a name for each decision; this one is number {target}",
        )  # fmt: skip
    return classes[target]


def needs(view: str, what: str, got: int, expected: int) -> None:
    """Refuse a view that names another number of things than there are players."""
    if got != expected:
        raise ArgumentError(
            WHERE, "view", f"{got} {what} in {view}", f"{expected}, one for each player"
        )
