"""Small pictures that the tests of vision/images share."""

from __future__ import annotations

import numpy as np


def ramp(shape: tuple[int, int], down: float = 0.01, along: float = 0.02) -> np.ndarray:
    """A plane: the value rises by so much from row to row and from column to column."""
    rows, columns = np.indices(shape)
    return 0.1 + down * rows + along * columns
