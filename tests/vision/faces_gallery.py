"""A gallery of four people, for the tests of what it answers and of its file."""

from __future__ import annotations

import numpy as np

D = 6
NAMES = ("Ada Lovelace", "Ωμέγα", "王小明", "Zoë “Z” O'Hara\\n")


def faces(rng, k, n):
    """Embeddings of person k, (n, D), near an axis of their own."""
    return 5.0 * np.eye(D)[k] + 0.3 * rng.normal(size=(n, D))
