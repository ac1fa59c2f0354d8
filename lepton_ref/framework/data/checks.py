"""Look before you train: finite values, labels in range, rows that belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lepton_ref.framework.errors import ArgumentError, DataError


def as_rows(x: np.ndarray, where: str, argument: str = "x") -> np.ndarray:
    """`x` as a non-empty array with one example per row.

    Raises
    ------
    ArgumentError
        `x` is a scalar, has no rows, or is not numeric.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise ArgumentError(where, argument, f"dtype {x.dtype}", "numbers or booleans")
    if x.ndim == 0 or len(x) == 0:
        raise ArgumentError(where, argument, f"shape {x.shape}", "at least one row, (N, ...)")
    return x


def check_finite(x: np.ndarray, name: str = "x") -> np.ndarray:
    """`x` itself when it holds neither NaN nor infinity.

    Parameters
    ----------
    x : np.ndarray (...)
        Any dtype; integers are finite by nature.
    name : str
        What to call it in the message.

    Raises
    ------
    DataError
        The message counts the bad entries and gives the index of the first.
    """
    x = np.asarray(x)
    if x.dtype.kind in "fc":
        bad = ~np.isfinite(x)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"{name}: {int(bad.sum())} of {x.size} entries are not finite, the first is "
                f"{x[first]} at index {first}; drop those rows with `clean` or fill them with "
                "`impute`"
            )
    return x


def check_labels(labels: np.ndarray, num_classes: int, name: str = "labels") -> np.ndarray:
    """Labels as int64 (N,) when each is a class from 0 to ``num_classes - 1``.

    Raises
    ------
    DataError
        Not one axis, not integers, or out of range; the message gives the first bad index.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise DataError(f"{name}: shape {labels.shape}, expected one axis (N,)")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name}: dtype {labels.dtype}, expected integers 0..{num_classes - 1}")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{name}: {int(bad.sum())} of {len(labels)} are out of range, the first is "
            f"{labels[first]} at index {first}; expected 0..{num_classes - 1}"
        )
    return labels.astype(np.int64)


def check_lengths(where: str, **arrays: np.ndarray) -> int:
    """Number of rows that all the arrays have in common.

    Raises
    ------
    ArgumentError
        The arrays differ in their number of rows, or there are none.
    """
    lengths = {name: len(np.atleast_1d(array)) for name, array in arrays.items()}
    first, count = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != count:
            raise ArgumentError(where, name, f"{length} rows", f"{count} rows, as `{first}` has")
    if count == 0:
        raise ArgumentError(where, first, "0 rows", "at least one row")
    return count


@dataclass(frozen=True)
class Cleaned:
    """What :func:`clean` found.

    Attributes
    ----------
    kept : np.ndarray int64 (K,)
        Rows to keep, in order.
    dropped : dict of np.ndarray int64
        Reason -> rows; a row with two faults stands under the first of them.
    """

    kept: np.ndarray
    dropped: dict[str, np.ndarray]

    def __str__(self) -> str:
        parts = [f"{len(rows)} {reason}" for reason, rows in self.dropped.items() if len(rows)]
        return f"kept {len(self.kept)}, dropped " + (", ".join(parts) or "none")


def clean(
    x: np.ndarray, labels: np.ndarray | None = None, num_classes: int | None = None
) -> Cleaned:
    """Find the rows that no model should see.

    Dropped are, in this order: rows with NaN or infinity (``"non-finite"``), rows whose label
    is NaN, fractional, negative or not below `num_classes` (``"bad label"``), and rows whose
    entries are all the same (``"constant"``: an empty picture, a dead sensor).

    Parameters
    ----------
    x : np.ndarray (N, ...)
    labels : np.ndarray (N,), optional
        Integers, or floats as spreadsheets give them.
    num_classes : int, optional
        Number of classes; default: only the sign is checked.

    Returns
    -------
    Cleaned
        Indices, not copies: ``x[cleaned.kept]`` is yours to make.

    Raises
    ------
    ArgumentError
        No rows, or `x` and `labels` differ in length.
    """
    x = as_rows(x, "clean")
    rows = x.reshape(len(x), -1)
    faults = {"non-finite": ~np.isfinite(rows).all(1)}
    if labels is not None:
        labels = np.asarray(labels)
        check_lengths("clean", x=x, labels=labels)
        top = np.inf if num_classes is None else num_classes
        with np.errstate(invalid="ignore"):
            good = (labels >= 0) & (labels < top) & (np.floor(labels) == labels)
        faults["bad label"] = ~good
    faults["constant"] = (rows == rows[:, :1]).all(1)
    left = np.ones(len(rows), bool)
    dropped = {}
    for reason, mask in faults.items():
        dropped[reason] = np.flatnonzero(mask & left)
        left &= ~mask
    return Cleaned(np.flatnonzero(left), dropped)
