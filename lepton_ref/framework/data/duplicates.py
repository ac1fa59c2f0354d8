"""Copies, exact and near: found by hashing, so that 70,000 rows take seconds."""

from __future__ import annotations

import hashlib

import numpy as np

from lepton_ref.framework.data.checks import as_rows, check_finite
from lepton_ref.framework.errors import ArgumentError


def normalise_content(x: np.ndarray) -> np.ndarray:
    """Each row with its mean taken away, scaled to length 1: what brightness cannot change.

    The inner product of two such rows is the correlation of the two pictures
    (eq. data-correlation). A constant row becomes zeros.

    Parameters
    ----------
    x : np.ndarray (N, ...)

    Returns
    -------
    np.ndarray float32 (N, D)
        D is the product of the other axes.
    """
    x = as_rows(x, "normalise_content")
    rows = x.reshape(len(x), -1).astype(np.float32)  # (N, D)
    check_finite(rows, "normalise_content: x")
    rows -= rows.mean(1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def fingerprints(x: np.ndarray) -> list[str]:
    """A 128-bit BLAKE2b hash of each row's bytes, in hexadecimal: equal rows, equal hash."""
    rows = np.ascontiguousarray(as_rows(x, "fingerprints"))
    return [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rows]


def duplicate_groups(x: np.ndarray) -> list[np.ndarray]:
    """Rows that are equal byte for byte, as groups of two or more indices, in order."""
    groups: dict[str, list[int]] = {}
    for i, key in enumerate(fingerprints(x)):
        groups.setdefault(key, []).append(i)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def deduplicate(x: np.ndarray, threshold: float | None = None, seed: int = 0) -> np.ndarray:
    """Indices of the rows that stay when of each set of copies only the first is kept.

    Parameters
    ----------
    x : np.ndarray (N, ...)
    threshold : float, optional
        Rows whose correlation reaches it count as copies too; default: equal bytes only.
    seed : int
        For the random hyperplanes of the near search.

    Returns
    -------
    np.ndarray int64 (K,)
    """
    x = as_rows(x, "deduplicate")
    if threshold is not None:
        pairs, _ = near_duplicates(x, threshold, np.random.default_rng(seed))
        group = connected(pairs, len(x))
        return np.unique(group)  # a group is named by its first row
    keys = np.array(fingerprints(x))
    return np.sort(np.unique(keys, return_index=True)[1])


def near_duplicates(
    x: np.ndarray,
    threshold: float = 0.997,
    rng: np.random.Generator | None = None,
    bits: int = 48,
    tables: int = 16,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows whose correlation reaches a threshold, without comparing all pairs.

    Each table draws `bits` random hyperplanes; on which side of each a row lies is its key,
    and only rows of one key are compared. A pair at angle theta meets in a table with
    probability ``(1 - theta / pi) ** bits`` (eq. data-simhash; Goemans and Williamson 1995,
    Charikar 2002) and in at least one of the tables as eq. data-lsh says. What is returned
    is checked: no false pair, few missed.

    Parameters
    ----------
    x : np.ndarray (N, ...)
        A constant row is near nothing.
    threshold : float
        Smallest correlation, in (0, 1).
    rng : numpy.random.Generator, optional
        Default: seed 0.
    bits : int
        Hyperplanes per table, 1 to 62.
    tables : int

    Returns
    -------
    pairs : np.ndarray int64 (P, 2)
        First index below the second, sorted.
    similarity : np.ndarray float32 (P,)
    """
    if not 0 < threshold < 1:
        raise ArgumentError("near_duplicates", "threshold", f"the value {threshold}", "in (0, 1)")
    if not 1 <= bits <= 62:
        raise ArgumentError("near_duplicates", "bits", f"the value {bits}", "1 to 62")
    rng = np.random.default_rng(0) if rng is None else rng
    u = normalise_content(x)  # (N, D)
    count, dim = u.shape
    live = np.flatnonzero(u.any(1))
    found = [np.empty(0, np.int64)]
    for _ in range(tables):
        planes = rng.standard_normal((dim, bits)).astype(np.float32)
        keys = (u[live] @ planes > 0) @ (1 << np.arange(bits, dtype=np.int64))
        found.append(_same_key(keys, live, count))
    codes = np.unique(np.concatenate(found))
    pairs = np.stack([codes // count, codes % count], 1)
    near = np.concatenate(
        [np.empty(0, np.float32)]
        + [np.einsum("nd,nd->n", u[p[:, 0]], u[p[:, 1]]) for p in _chunks(pairs, 20_000)]
    )
    kept = near >= threshold
    return pairs[kept], near[kept]


def _same_key(keys: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Codes ``i * count + j``, i < j, of all pairs of rows that share a key."""
    order = np.argsort(keys, kind="stable")
    ordered, rows = keys[order], rows[order]
    codes = []
    for offset in range(1, len(keys)):  # ends at the size of the largest bucket
        hit = np.flatnonzero(ordered[offset:] == ordered[:-offset])
        if not len(hit):
            break
        codes.append(rows[hit] * count + rows[hit + offset])
    return np.concatenate(codes) if codes else np.empty(0, np.int64)


def _chunks(array: np.ndarray, size: int) -> list[np.ndarray]:
    return [array[start : start + size] for start in range(0, len(array), size)]


def connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """Group of each of `count` rows when the rows of a pair belong together.

    Returns
    -------
    np.ndarray int64 (count,)
        The smallest index in the row's group; a row without a pair is its own group.
    """
    group = np.arange(count)
    for i, j in np.asarray(pairs, np.int64).reshape(-1, 2):
        while group[i] != i:
            i = group[i]
        while group[j] != j:
            j = group[j]
        group[max(i, j)] = min(i, j)
    while not np.array_equal(group, group[group]):
        group = group[group]
    return group
