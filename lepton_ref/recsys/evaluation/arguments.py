"""What the arguments of the chapter's models may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def codes(where: str, argument: str, numbers: Any, n: int) -> np.ndarray:
    """Numbers of users or items, checked: int64 (n,).

    Raises
    ------
    ArgumentError
        When they are no row of whole numbers from 0 to ``n`` − 1.
    """
    c = np.asarray(numbers)
    if c.ndim == 1 and c.size == 0:
        return np.zeros(0, np.int64)
    if c.ndim != 1 or c.dtype.kind not in "iu":
        got = f"shape {c.shape} and dtype {c.dtype}"
        raise ArgumentError(where, argument, got, "a row of whole numbers")
    if not 0 <= c.min() <= c.max() < n:
        got = f"numbers from {c.min()} to {c.max()}"
        raise ArgumentError(where, argument, got, f"numbers from 0 to {n - 1}")
    return c.astype(np.int64)
