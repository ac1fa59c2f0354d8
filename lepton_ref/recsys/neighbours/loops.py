"""The loops of the page that NumPy cannot express, compiled by numba where it is there."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.compiled import compiled

ROUNDING = 1e-12  # a variance below this share of the squares is what rounding left of zero


@compiled
def pair_sums(start, stop, x_ptr, x_at, x_val, y_ptr, y_at, y_val, sums):
    """Add to ``sums`` (4 or 6, stop − start, n) what rows i and all j have in common."""
    means = len(sums) == 6
    for i in range(start, stop):
        row = sums[:, i - start]
        for p in range(x_ptr[i], x_ptr[i + 1]):
            a, rater = x_val[p], x_at[p]
            for q in range(y_ptr[rater], y_ptr[rater + 1]):
                j, b = y_at[q], y_val[q]
                row[0, j] += 1.0
                row[1, j] += a * b
                row[2, j] += a * a
                row[3, j] += b * b
                if means:
                    row[4, j] += a
                    row[5, j] += b


@compiled
def nearest_rows(
    start, stop, x_ptr, x_at, x_val, y_ptr, y_at, y_val, length, kind, shrinkage, support,
    at, value, count,
):  # fmt: skip
    """The largest positive similarities of rows ``start`` to ``stop``, only touched pairs.

    ``at`` and ``value`` (rows, top) get columns and similarities, ``count`` (rows,) how many there
    are. The formulas are those of ``from_sums``; kind 0 is the cosine, with ``length`` where it
    runs over all raters, 1 Pearson's correlation, 2 the mean squared difference. What is kept is
    a heap with the worst on top: the smallest, of equal ones the highest column.
    """
    n, top = len(x_ptr) - 1, at.shape[1]
    sums, touched = np.zeros((n, 6 if kind == 1 else 4)), np.zeros(n, np.int64)
    for i in range(start, stop):
        seen = 0
        for p in range(x_ptr[i], x_ptr[i + 1]):
            a, rater = x_val[p], x_at[p]
            for q in range(y_ptr[rater], y_ptr[rater + 1]):
                j, b = y_at[q], y_val[q]
                if sums[j, 0] == 0.0:
                    touched[seen] = j
                    seen += 1
                sums[j, 0] += 1.0
                sums[j, 1] += a * b
                sums[j, 2] += a * a
                sums[j, 3] += b * b
                if kind == 1:
                    sums[j, 4] += a
                    sums[j, 5] += b
        best, where, found = value[i - start], at[i - start], 0
        for m in range(seen):
            j = touched[m]
            c, ab, aa, bb = sums[j, 0], sums[j, 1], sums[j, 2], sums[j, 3]
            if kind == 2:
                s = 1.0 / (1.0 + max(aa - 2 * ab + bb, 0.0) / c)
            else:
                if kind == 1:
                    raw_a, raw_b, sa, sb = c * aa, c * bb, sums[j, 4], sums[j, 5]
                    ab, aa, bb = c * ab - sa * sb, raw_a - sa * sa, raw_b - sb * sb
                    aa, bb = aa * (aa > ROUNDING * raw_a), bb * (bb > ROUNDING * raw_b)
                below = np.sqrt(aa) * np.sqrt(bb)
                if len(length) > 0:
                    below = length[i] * length[j]
                s = min(ab / below, 1.0) if below > 0.0 else 0.0
            sums[j] = 0.0
            if shrinkage > 0.0:
                s = s * ((c - 1.0) / (c - 1.0 + shrinkage))
            if j == i or c < support or s <= 0.0:
                continue
            k = 0
            if found < top:  # goes up from the end
                k = found
                found += 1
                while k > 0 and top < n:  # where all are kept, none is the worst
                    up = (k - 1) // 2
                    if best[up] < s or (best[up] == s and where[up] > j):
                        break
                    best[k], where[k] = best[up], where[up]
                    k = up
            elif s > best[0] or (s == best[0] and j < where[0]):  # goes down from the top
                while 2 * k + 1 < top:
                    d = 2 * k + 1
                    if d + 1 < top and (
                        best[d + 1] < best[d]
                        or (best[d + 1] == best[d] and where[d + 1] > where[d])
                    ):
                        d += 1
                    if s < best[d] or (s == best[d] and j > where[d]):
                        break
                    best[k], where[k] = best[d], where[d]
                    k = d
            else:
                continue
            best[k], where[k] = s, j
        count[i - start] = found
