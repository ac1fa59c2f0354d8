"""Cutting Chinese into words, the idea: the most probable way through the characters."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lepton_ref.framework.errors import ArgumentError


def best_segmentation(
    text: str,
    counts: Mapping[str, int],
    total: float | None = None,
    longest: int | None = None,
) -> tuple[list[str], float]:
    """The words w_1 … w_m that make up the text and maximise Σ log p(w).

    From the last character to the first: s_i = max_j (log p(text[i:j]) + s_j), s_n = 0
    (eq. tokens-segmentation). Time O(n · longest word).

    Parameters
    ----------
    text : str
    counts : mapping of str to int
        How often each word occurs; p(w) = count / total. A single character that is missing or
        counts 0 counts as 1, so that there always is a way.
    total : float, optional
        Without it, the sum of the counts.
    longest : int, optional
        Length of the longest word to try. Without it, that of the longest in ``counts``, which
        is looked for at every call.

    Returns
    -------
    words : list of str
    log_probability : float
        s_0.

    Source: the dictionary part of jieba; the recursion is Viterbi's (1967).
    """
    if total is None:
        total = sum(counts.values())
    if not total > 0:
        raise ArgumentError("best_segmentation", "counts", f"the sum {total}", "a positive sum")
    if longest is None:
        longest = max(map(len, counts), default=1)
    n, log_total = len(text), math.log(total)
    score, end = [0.0] * (n + 1), [n] * (n + 1)
    for i in reversed(range(n)):
        best = -math.inf
        for j in range(i + 1, min(n, i + longest) + 1):
            count = counts.get(text[i:j]) or (j == i + 1)
            if count and (found := math.log(count) - log_total + score[j]) >= best:
                best, end[i] = found, j  # of equals the longer word, as jieba has it
        score[i] = best
    words, i = [], 0
    while i < n:
        words.append(text[i : end[i]])
        i = end[i]
    return words, score[0]
