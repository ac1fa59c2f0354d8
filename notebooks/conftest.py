"""``pytest --nbval notebooks``: each stored output against a fresh run.

Text is compared to the letter. The one exception is a cell whose metadata hold
``{"lepton": {"atol": 0.01}}``: its words are compared to the letter and its numbers within
that distance (plus ``"rtol"`` times the stored number, if given), because what comes out of
training moves in its last digits from one processor to the next. Pictures are not compared;
``nbval.cfg`` makes memory addresses and progress bars equal.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from types import MethodType
from typing import Any

import pytest

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])")
LONGEST = "vision/classification"  # begun last, it would keep one worker waiting
SPACES = re.compile(r"[ \t]+")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Fix the number of threads, so that sums run in one order; name the sanitiser file."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "2")
    if getattr(config.option, "nbval_sanitize_with", "absent") is None:
        config.option.nbval_sanitize_with = str(Path(__file__).with_name("nbval.cfg"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the cells that name a tolerance the comparison that knows it; longest first."""
    items.sort(key=lambda item: LONGEST not in item.nodeid)
    for item in items:
        tolerance = getattr(item, "cell", {}).get("metadata", {}).get("lepton", {})
        if "atol" in tolerance or "rtol" in tolerance:
            atol, rtol = float(tolerance.get("atol", 0)), float(tolerance.get("rtol", 0))
            if not (0 <= atol < float("inf") and 0 <= rtol < 1):
                raise pytest.UsageError(f"{item.nodeid}: tolerance {dict(tolerance)} is none")
            item.compare_outputs = MethodType(tolerant(atol, rtol), item)  # type: ignore[attr-defined]


def tolerant(atol: float, rtol: float) -> Any:
    """nbval's comparison of one cell, after numbers within tolerance were made equal."""

    def compare_outputs(cell: Any, test: list[Any], ref: list[Any], skip_compare: Any = None):
        skip = skip_compare or cell.parent.skip_compare
        slots = zip_slots(test, ref, skip)
        for (holder, key), (stored_holder, stored_key) in slots:
            fresh, stored = cell.sanitize(holder[key]), cell.sanitize(stored_holder[stored_key])
            if close(fresh, stored, atol, rtol):
                holder[key] = stored_holder[stored_key]
        return type(cell).compare_outputs(cell, test, ref, skip_compare)

    return compare_outputs


def zip_slots(test: list[Any], ref: list[Any], skip: Any) -> list[tuple[Any, Any]]:
    """Pairs of places that hold text of one kind, in order, as nbval pairs them."""
    fresh, stored = slots_of(test, skip), slots_of(ref, skip)
    return [
        pair
        for kind in fresh.keys() & stored.keys()
        for pair in zip(fresh[kind], stored[kind], strict=False)
    ]


def slots_of(outputs: list[Any], skip: Any) -> dict[str, list[tuple[Any, str]]]:
    """Where the outputs hold text, by kind: each place as (holder, key)."""
    found: dict[str, list[tuple[Any, str]]] = {}
    for output in outputs:
        if output["output_type"] == "stream":
            found.setdefault(output["name"], []).append((output, "text"))
        for kind, content in output.get("data", {}).items():
            if kind not in skip and isinstance(content, str):
                found.setdefault(kind, []).append((output["data"], kind))
    return found


def close(fresh: str, stored: str, atol: float, rtol: float = 0.0) -> bool:
    """Same words in the same order, and each number within tolerance of the stored one.

    Runs of blanks count as one, since a column moves when a sign comes or goes.
    """
    words = [SPACES.sub(" ", NUMBER.sub(" # ", text)).strip() for text in (fresh, stored)]
    if words[0] != words[1]:
        return False
    pairs = zip(NUMBER.findall(fresh), NUMBER.findall(stored), strict=True)
    return all(within(float(a), float(b), atol + rtol * abs(float(b))) for a, b in pairs)


def within(fresh: float, stored: float, distance: float) -> bool:
    """At most this far apart, as printed: the floats of 0.45 and 0.44 are a little over 0.01."""
    apart = abs(fresh - stored)
    return apart <= distance or math.isclose(apart, distance, rel_tol=1e-9)
