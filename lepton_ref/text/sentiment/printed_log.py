"""What a training log can say and what it cannot, from the numbers printed in it alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from lepton_ref.framework.errors import ArgumentError

_EPOCH = re.compile(r"(\d+)/(\d+) \[=+\].*?loss: ([\d.]+) - accuracy: ([\d.]+)")
_TEST = re.compile(r"Test loss: ([\d.]+)\s+Test accuracy: ([\d.]+)")


class Entry(NamedTuple):
    """One line of a log: ``steps`` is 0 for an evaluation."""

    steps: int
    loss: float
    accuracy: float


def read_log(text: str) -> list[Entry]:
    """The epochs of a log in Keras's form, and its evaluation at the end."""
    found = [Entry(int(m[2]), float(m[3]), float(m[4])) for m in _EPOCH.finditer(text)]
    return found + [Entry(0, float(m[1]), float(m[2])) for m in _TEST.finditer(text)]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """⌈rows / batch size⌉ (eq. sentiment-steps)."""
    if rows < 1 or batch_size < 1:
        raise ArgumentError(
            "steps_per_epoch", "rows, batch_size", f"{rows} and {batch_size}", "at least 1 each"
        )
    return -(-rows // batch_size)


def can_print(accuracy: float, rows: int, digits: int = 4) -> bool:
    """Whether k of ``rows`` right, for some k, prints as this accuracy."""
    near = round(accuracy * rows)
    half = 0.5 * 10.0**-digits
    return any(abs(k / rows - accuracy) <= half * (1 + 1e-9) for k in (near - 1, near, near + 1))


def possible_rows(accuracies: Iterable[float], candidates: Iterable[int]) -> list[int]:
    """Those numbers of rows with which all the accuracies can be printed."""
    printed = list(accuracies)
    return [n for n in candidates if all(can_print(a, n) for a in printed)]


def least_loss(accuracy: float) -> float:
    """No cross-entropy is below (1 − accuracy) ln 2 (eq. sentiment-loss-bound)."""
    if not 0 <= accuracy <= 1:
        raise ArgumentError("least_loss", "accuracy", f"the value {accuracy!r}", "in [0, 1]")
    return (1 - accuracy) * math.log(2)


def contradictions(log: Iterable[Entry], rows: int, batch_size: int, test_rows: int) -> list[str]:
    """What the log says that training on so many rows cannot have given; one sentence each."""
    found: dict[str, None] = {}
    for steps, loss, accuracy in log:
        n = rows if steps else test_rows
        where = "an epoch" if steps else "the test"
        if steps and steps != steps_per_epoch(n, batch_size):
            found[
                f"{steps} steps an epoch; {n} rows in batches of {batch_size} take "
                f"{steps_per_epoch(n, batch_size)}"
            ] = None
        if not can_print(accuracy, n):
            found[f"accuracy {accuracy:.4f} in {where}; {n} rows give no such share"] = None
        if loss < least_loss(accuracy) - 1e-4:
            found[
                f"loss {loss:.4f} at accuracy {accuracy:.4f} in {where}; on any number of rows "
                f"it is at least {least_loss(accuracy):.4f}"
            ] = None
    return list(found)
