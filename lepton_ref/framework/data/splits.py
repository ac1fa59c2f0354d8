"""Which rows train, which choose, which judge; and how they come in batches.

All functions return indices, so one split serves pictures, labels and whatever else has one
entry per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lepton_ref.framework.data.checks import check_lengths
from lepton_ref.framework.errors import ArgumentError


class Split(NamedTuple):
    """Row indices (int64) of the three parts; together each row once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def train_validation_test_split(
    count: int,
    rng: np.random.Generator,
    validation: float = 0.1,
    test: float = 0.1,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Split:
    """Cut `count` rows at random into three parts.

    Parameters
    ----------
    count : int
        Number of rows N.
    rng : numpy.random.Generator
    validation, test : float
        Shares of the two smaller parts; their sum below 1.
    labels : np.ndarray int (N,), optional
        Stratify: each class is shared out in these proportions, to within one row,
        which takes the differences between classes out of the variance
        (eq. data-stratified-variance).
    groups : np.ndarray int (N,), optional
        Rows of one group stay together, such as copies found by
        :func:`~lepton_ref.framework.data.connected`, or pictures of one person. The shares
        then count groups.

    Returns
    -------
    Split
        Shuffled indices.

    Raises
    ------
    ArgumentError
        A share outside [0, 1), parts that leave nothing to train on, or arrays of another
        length.
    """
    where = "train_validation_test_split"
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise ArgumentError(where, name, f"the value {share}", "a share in [0, 1)")
    if validation + test >= 1:
        raise ArgumentError(
            where, "test", f"the value {test}", f"less than {1 - validation:g}, so that some train"
        )
    shares = [1 - validation - test, validation, test]
    parts: list[list[np.ndarray]] = [[], [], []]
    units, rows_of = _units(where, count, groups)
    for stratum in _strata(where, units, count, labels):
        shuffled = rng.permutation(stratum)
        ends = np.cumsum(largest_remainder(len(shuffled), shares))[:-1]
        for part, piece in zip(parts, np.split(shuffled, ends), strict=True):
            part.append(piece)
    cut = [rows_of(rng.permutation(np.concatenate(part))) for part in parts]
    if not len(cut[0]):
        raise ArgumentError(
            where, "count", f"the value {count}", "more rows: none is left to train"
        )
    return Split(*cut)


def k_fold(
    count: int,
    k: int,
    rng: np.random.Generator,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield k times (train, validation): each row validates exactly once (eq. data-k-fold).

    Fold sizes differ by at most one (one per class with `labels`, one group with `groups`).

    Parameters
    ----------
    count : int
    k : int
        Number of folds, 2 to `count`.
    rng : numpy.random.Generator
    labels, groups : np.ndarray int (N,), optional
        As in :func:`train_validation_test_split`.
    """
    units, rows_of = _units("k_fold", count, groups)
    if not 2 <= k <= len(units):
        raise ArgumentError("k_fold", "k", f"the value {k}", f"2 to {len(units)}")
    # dealing out the rows, class after class, keeps both the folds and the classes even
    strata = [rng.permutation(stratum) for stratum in _strata("k_fold", units, count, labels)]
    dealt = np.concatenate(strata)
    fold = np.arange(len(dealt)) % k
    return (
        (rows_of(rng.permutation(dealt[fold != i])), np.sort(rows_of(dealt[fold == i])))
        for i in range(k)
    )


def largest_remainder(total: int, shares: Sequence[float]) -> np.ndarray:
    """Whole numbers that sum to `total`, each less than one away from ``total * share``.

    Every part gets its floor; the rows left over go to the largest remainders.

    Returns
    -------
    np.ndarray int64 (len(shares),)
    """
    exact = total * np.asarray(shares, np.float64)
    sizes = np.floor(exact + 1e-9).astype(np.int64)  # 0.1 * 30 is 3, not 2.9999...
    order = np.argsort(-(exact - sizes), kind="stable")
    sizes[order[: total - sizes.sum()]] += 1
    return sizes


def _units(
    where: str, count: int, groups: np.ndarray | None
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """What is dealt out, rows or groups named by their first row; and the way back to rows."""
    if count < 1:
        raise ArgumentError(where, "count", f"the value {count}", "at least one row")
    if groups is None:
        return np.arange(count), lambda units: units
    if len(groups) != count:
        raise ArgumentError(where, "groups", f"{len(groups)} rows", f"{count}, one per row")
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    ends = np.cumsum(np.bincount(group_of))[:-1]
    rows = dict(zip(first, np.split(np.argsort(group_of, kind="stable"), ends), strict=True))
    nothing = np.empty(0, np.int64)
    return np.sort(first), lambda units: np.concatenate([nothing, *(rows[u] for u in units)])


def _strata(
    where: str, units: np.ndarray, count: int, labels: np.ndarray | None
) -> list[np.ndarray]:
    """The units of each class; all of them together without labels."""
    if labels is None:
        return [units]
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ArgumentError(where, "labels", f"shape {labels.shape}", f"shape ({count},)")
    of_unit = labels[units]
    return [units[of_unit == label] for label in np.unique(of_unit)]


def batches(
    arrays: np.ndarray | Sequence[np.ndarray],
    batch_size: int,
    rng: np.random.Generator | None = None,
    drop_last: bool = False,
) -> Iterator[tuple[np.ndarray, ...]]:
    """One epoch in mini-batches: every row once.

    Parameters
    ----------
    arrays : np.ndarray or sequence of np.ndarray
        One or more arrays (N, ...) of equal length; rows stay side by side.
    batch_size : int
    rng : numpy.random.Generator, optional
        Shuffles; default: the order of the rows.
    drop_last : bool
        Leave out a last batch that is smaller than the others.

    Yields
    ------
    tuple of np.ndarray
        One array (batch_size, ...) for each of `arrays`.
    """
    if isinstance(arrays, np.ndarray):
        arrays = (arrays,)
    if batch_size < 1:
        raise ArgumentError("batches", "batch_size", f"the value {batch_size}", "at least 1")
    count = check_lengths("batches", **{f"arrays[{i}]": a for i, a in enumerate(arrays)})
    order = np.arange(count) if rng is None else rng.permutation(count)
    stop = count - count % batch_size if drop_last else count
    return (
        tuple(a[order[start : start + batch_size]] for a in arrays)
        for start in range(0, stop, batch_size)
    )
