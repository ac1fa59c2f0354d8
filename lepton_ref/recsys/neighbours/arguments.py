"""What the arguments of the page may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def one_of(where: str, argument: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuse a value that is not among the known."""
    if value not in known:
        raise ArgumentError(where, argument, f"the value {value!r}", f"one of {', '.join(known)}")


def number(where: str, argument: str, value: Any, low: float) -> None:
    """Refuse what is no finite number of at least ``low``."""
    good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not good or not np.isfinite(value) or value < low:
        raise ArgumentError(where, argument, f"the value {value!r}", f"a number >= {low:g}")


def whole(where: str, argument: str, value: Any, low: int = 1) -> None:
    """Refuse what is no whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ArgumentError(where, argument, f"the value {value!r}", f"a whole number >= {low}")
