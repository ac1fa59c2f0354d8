"""Scores measured against strangers: how much more alike than this picture is to just anybody.

A face that resembles everybody scores high against everybody, and one threshold for all then
lets others in at its door. A *cohort* of people of whom one knows that they are not asked about
says what each picture scores against strangers, and that is taken away.

Source: Kenny (2010), *Bayesian speaker verification with heavy-tailed priors*, who measures from
both sides; the field calls it s-norm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.faces.verification import cosine_similarity


def cohort_scores(embeddings: Any, cohort: Any) -> np.ndarray:
    """Cosines of all pairs, in standard deviations above what strangers score (eq. faces-cohort).

    Parameters
    ----------
    embeddings : float array (N, D)
    cohort : float array (M, D)
        By the same network, of people who are none of those in `embeddings`: the people it
        learned from will do.

    Returns
    -------
    ndarray (N, N), float64
        Symmetric, for :func:`.pairs_from_similarity`.

    Raises
    ------
    ArgumentError
        For vectors that :func:`.cosine_similarity` refuses, or a cohort that scores the same
        against one of them throughout.
    """
    scores = cosine_similarity(embeddings)
    strangers = cosine_similarity(embeddings, cohort)  # (N, M)
    mean, deviation = strangers.mean(axis=1), strangers.std(axis=1)
    flat = deviation <= 1e-9
    if flat.any():
        raise ArgumentError(
            "cohort_scores", "cohort", f"one score against row {int(flat.argmax())}",
            "pictures that differ",
        )  # fmt: skip
    one_side = (scores - mean[:, None]) / deviation[:, None]
    return (one_side + one_side.T) / 2
