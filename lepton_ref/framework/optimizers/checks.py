"""What the constructors of this page require of a number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError


def engine_of(engine: Any) -> Any:
    """The engine meant by a name, by itself, or by nothing (the active one)."""
    import lepton_ref

    return lepton_ref.engine(engine) if engine is None or isinstance(engine, str) else engine


def require_number(where: str, name: str, value: Any, low: float, below: float = math.inf) -> None:
    """Refuse what is no finite number in [low, below)."""
    good = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not (good and low <= value < below):
        upper = f" and < {below:g}" if below < math.inf else ", finite"
        raise ArgumentError(where, name, f"the value {value!r}", f"a number >= {low:g}{upper}")


def require_count(where: str, name: str, value: Any, low: int) -> None:
    """Refuse what is no whole number >= low."""
    whole(where, low, **{name: value})
