"""Scores on one scale, and the best k of many, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.compiled import compiled
from lepton_ref.framework.errors import ArgumentError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK = 1 << 22  # scores held at a time, 32 MB
FEW = 128  # up to here a sorted list of k is kept; beyond, sorting all costs less


@compiled
def best_of_rows(scores, indptr, indices, k, out, best):
    """Fill ``out`` (U, k) with the best items of each row, from left to right.

    ``best`` (k,) holds the scores of the k best so far, in order. Most scores lose against its
    last and cost one comparison: of I scores in random order, about k ln(I / k) are put in.
    The items of row u that are left out are ``indices[indptr[u]:indptr[u + 1]]``, ascending.

    Returns the flat position of the first score that is NaN or +inf, or −1.
    """
    n_rows, n_items = scores.shape
    for u in range(n_rows):
        found = 0
        skip, end = indptr[u], indptr[u + 1]
        for i in range(n_items):
            s = scores[u, i]
            if s != s or s == np.inf:
                return u * n_items + i
            if skip < end and indices[skip] == i:
                skip += 1
                continue
            if s == -np.inf or (found == k and s <= best[k - 1]):
                continue
            if found < k:
                found += 1
            at = found - 1
            while at > 0 and best[at - 1] < s:  # equal scores stay before: lower item first
                best[at] = best[at - 1]
                out[u, at] = out[u, at - 1]
                at -= 1
            best[at] = s
            out[u, at] = i
    return -1


def top_k(scores: Any, k: int, exclude: csr_matrix | None = None) -> np.ndarray:
    """The k items of each row with the highest scores, best first.

    Parameters
    ----------
    scores : array, shape (U, I)
        Floating numbers; −inf for what must never be recommended.
    k : int
        At least 1; it may exceed I.
    exclude : scipy.sparse.csr_matrix, optional
        (U, I); what it stores (zeros, too) is left out.

    Returns
    -------
    np.ndarray
        int64 (U, k), item numbers; of equal scores the lower number first; −1 where fewer than
        k items remain.

    Raises
    ------
    ArgumentError
        Scores that are no floating matrix, or hold NaN or +inf; a ``k`` below 1; an ``exclude``
        of another shape.
    """
    where = "top_k"
    s = np.asarray(scores)
    if s.ndim != 2 or s.dtype not in (np.float32, np.float64):
        got = f"shape {s.shape} and dtype {s.dtype}"
        raise ArgumentError(where, "scores", got, "(U, I), float32 or float64")
    whole(where, k=k)
    indptr, indices = _left_out(where, exclude, s.shape)
    out = np.full((len(s), k), -1, np.int64)
    if k > FEW:
        return _by_sorting(where, s, indptr, indices, out)
    wrong = best_of_rows(s, indptr, indices, int(k), out, np.empty(k, s.dtype))
    if wrong >= 0:
        _refuse(where, s, int(wrong))
    return out


def best_in_blocks(
    scores: Callable[[np.ndarray], np.ndarray],
    users: np.ndarray,
    k: int,
    seen: csr_matrix,
    exclude_seen: bool,
) -> np.ndarray:
    """:func:`top_k` for many users: scored in blocks, so that memory is that of one.

    Parameters
    ----------
    scores : callable
        Takes user numbers int64 (n,), gives float (n, n_items).
    users : np.ndarray
        int64 (U,).
    k : int
    seen : csr_matrix
        (n_users, n_items); left out of a user's list when ``exclude_seen``.
    exclude_seen : bool

    Returns
    -------
    np.ndarray
        int64 (U, k).

    Raises
    ------
    ArgumentError
        For a ``k`` below 1.
    """
    whole("recommend", k=k)
    step = max(1, BLOCK // max(seen.shape[1], 1))
    found = [np.zeros((0, int(k)), np.int64)]
    for start in range(0, len(users), step):
        some = users[start : start + step]
        found.append(top_k(scores(some), k, seen[some] if exclude_seen else None))
    return np.concatenate(found)


def standardised(scores: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """Scores of each row with mean 0 and standard deviation 1 (eq. system-standard).

    Parameters
    ----------
    scores : np.ndarray
        (U, I), finite.
    allowed : np.ndarray, optional
        bool (U, I), the candidates: mean and deviation are theirs alone. By default all.

    Returns
    -------
    np.ndarray
        float64 (U, I). A row whose candidates all have one score says nothing: zeros.
    """
    s = np.asarray(scores, np.float64)
    among = np.ones(s.shape, bool) if allowed is None else allowed
    n = np.maximum(among.sum(1, keepdims=True), 1)
    mean = np.where(among, s, 0.0).sum(1, keepdims=True) / n
    spread = np.sqrt(np.where(among, (s - mean) ** 2, 0.0).sum(1, keepdims=True) / n)
    # What is left of equal numbers after rounding is no spread.
    flat = spread <= 1e-12 * np.maximum(np.abs(mean), 1.0)
    return np.where(flat, 0.0, (s - mean) / np.where(flat, 1.0, spread))


def _by_sorting(
    where: str, s: np.ndarray, indptr: np.ndarray, indices: np.ndarray, out: np.ndarray
) -> np.ndarray:
    wrong = np.isnan(s) | np.isposinf(s)
    if wrong.any():
        _refuse(where, s, int(np.argmax(wrong)))
    masked = s.copy()
    masked[np.repeat(np.arange(len(s)), np.diff(indptr)), indices] = -np.inf
    order = np.argsort(-masked, axis=1, kind="stable")[:, : out.shape[1]]
    left = np.isneginf(np.take_along_axis(masked, order, axis=1))
    out[:, : order.shape[1]] = np.where(left, -1, order)
    return out


def _left_out(where: str, exclude: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    if exclude is None:
        return np.zeros(shape[0] + 1, np.int64), np.zeros(0, np.int64)
    if getattr(exclude, "format", None) != "csr" or exclude.shape != shape:
        got = f"type {type(exclude).__name__} and shape {getattr(exclude, 'shape', None)}"
        raise ArgumentError(where, "exclude", got, f"a csr_matrix of shape {shape}")
    if not exclude.has_canonical_format:
        exclude = exclude.copy()
        exclude.sum_duplicates()
    return exclude.indptr.astype(np.int64), exclude.indices.astype(np.int64)


def _refuse(where: str, s: np.ndarray, at: int) -> None:
    row, column = divmod(at, s.shape[1])
    got = f"{s[row, column]} in row {row}, column {column}"
    raise ArgumentError(where, "scores", got, "finite numbers, or -inf for never")
