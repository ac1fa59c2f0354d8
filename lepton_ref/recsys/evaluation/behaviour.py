"""What a person did, however it is written down, as one row of ratings for each person."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ACCEPTED = (
    "a dict {item id: rating}, a list of item ids that were liked, a list of (item id, rating) "
    "pairs, or an array with one column for each item (0 or NaN where unknown)"
)


def read_behaviour(
    where: str,
    user_behavior: Any,
    item_ids: np.ndarray,
    scale: tuple[float, float] | None,
) -> csr_matrix:
    """Behaviour of one person or several as a sparse matrix of ratings.

    Parameters
    ----------
    where : str
        The function that asks, for its error messages.
    user_behavior : dict, list or array
        Of one person: ``{item id: rating}``; a list of ids, each liked (the highest rating of the
        scale, or 1); a list of (id, rating) pairs; an array (n_items,) of ratings, 0 or NaN where
        there is none. Of U people: an array (U, n_items), or a list of U dicts.
    item_ids : np.ndarray
        (n_items,) ids of the items, in the order of the columns.
    scale : (low, high) or None
        Ratings outside are refused.

    Returns
    -------
    csr_matrix
        float64 (U, n_items), columns of each row ascending; (1, n_items) for one person.

    Raises
    ------
    ArgumentError
        Anything else: an unknown item, an item named twice, a rating that is no finite number or
        out of scale, an array of another length.
    """
    from scipy.sparse import csr_matrix

    n = len(item_ids)
    if isinstance(user_behavior, Mapping):
        rows = [_of_mapping(where, user_behavior, item_ids, scale)]
    elif isinstance(user_behavior, (str, bytes)) or not isinstance(
        user_behavior, (Sequence, np.ndarray)
    ):
        got = f"a {type(user_behavior).__name__}"
        raise ArgumentError(where, "user_behavior", got, ACCEPTED)
    elif len(user_behavior) and all(isinstance(part, Mapping) for part in user_behavior):
        rows = [_of_mapping(where, part, item_ids, scale) for part in user_behavior]
    else:
        rows = _of_sequence(where, user_behavior, item_ids, scale)
    values = np.concatenate([np.zeros(0), *(row[1] for row in rows)])
    columns = np.concatenate([np.zeros(0, np.int64), *(row[0] for row in rows)])
    starts = np.concatenate([[0], np.cumsum([len(row[0]) for row in rows])])
    out = csr_matrix((values, columns, starts), shape=(len(rows), n))
    out.sort_indices()
    return out


def of_several(user_behavior: Any) -> bool:
    """Whether behaviour, by its form, is that of several people."""
    if isinstance(user_behavior, np.ndarray):
        return user_behavior.ndim == 2
    if isinstance(user_behavior, Mapping):
        return False
    return bool(len(user_behavior)) and all(
        isinstance(part, (Mapping, list, np.ndarray)) for part in user_behavior
    )


class ItemScores(np.ndarray):
    """An array of scores that knows which items it speaks of, and which the person had already.

    It is an ordinary float64 array (n_items,), or (U, n_items) for several people, in every other
    respect. Arithmetic keeps the two attributes while the shape stays; what moves entries (an
    index, a sort, a reshape) loses them.

    Attributes
    ----------
    item_ids : np.ndarray or None
        (n_items,) ids, in the order of the last axis; None where they were lost.
    had : csr_matrix or None
        (U, n_items); it stores an entry where the behaviour did.
    """

    item_ids: np.ndarray | None
    had: csr_matrix | None

    @classmethod
    def of(
        cls, values: np.ndarray, rows: csr_matrix, item_ids: np.ndarray, several: bool
    ) -> ItemScores:
        """Scores (U, n_items) of the behaviour ``rows``; of one person without the first axis."""
        out = np.asarray(values if several else values[0], np.float64).view(cls)
        out.item_ids, out.had = item_ids, rows
        return out

    def __array_finalize__(self, other: Any) -> None:
        self.item_ids, self.had = None, None

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        def plain(x: Any) -> Any:
            return x.view(np.ndarray) if isinstance(x, ItemScores) else x

        if out is not None:
            options["out"] = tuple(plain(x) for x in out)
        found = getattr(ufunc, method)(*map(plain, inputs), **options)
        for given in inputs if method == "__call__" and isinstance(found, np.ndarray) else ():
            if isinstance(given, ItemScores) and given.shape == found.shape:
                found = found.view(ItemScores)
                found.item_ids, found.had = given.item_ids, given.had
                break
        return found


Row = tuple[np.ndarray, np.ndarray]  # columns int64, ratings float64


def _of_mapping(
    where: str, given: Mapping[Any, Any], item_ids: np.ndarray, scale: tuple[float, float] | None
) -> Row:
    """One person's ``{item id: rating}``."""
    codes = _codes(where, list(given), item_ids)
    return codes, _ratings(where, list(given.values()), scale)


def _of_sequence(
    where: str, given: Any, item_ids: np.ndarray, scale: tuple[float, float] | None
) -> list[Row]:
    """Ids, pairs, or an array with a column for each item."""
    n = len(item_ids)
    if not isinstance(given, np.ndarray) and any(isinstance(part, tuple) for part in given):
        if not all(isinstance(part, tuple) and len(part) == 2 for part in given):
            raise ArgumentError(where, "user_behavior", "tuples that are no pairs", ACCEPTED)
        codes = _codes(where, [part[0] for part in given], item_ids)
        return [(codes, _ratings(where, [part[1] for part in given], scale))]
    try:
        table = np.asarray(given)
    except ValueError:
        raise ArgumentError(where, "user_behavior", "rows of unequal length", ACCEPTED) from None
    if table.ndim == 2 and table.shape[1] == n:
        return [_of_vector(where, row, scale) for row in table]
    if table.ndim == 1 and len(table) == n and table.dtype.kind == "f":
        return [_of_vector(where, table, scale)]
    if table.ndim == 1 and (table.size == 0 or table.dtype.kind in "iuUO"):
        codes = _codes(where, table.tolist(), item_ids)
        liked = 1.0 if scale is None else scale[1]
        return [(codes, np.full(len(codes), liked))]
    got = f"an array of dtype {table.dtype} and shape {table.shape} (there are {n} items)"
    raise ArgumentError(where, "user_behavior", got, ACCEPTED)


def _of_vector(where: str, row: np.ndarray, scale: tuple[float, float] | None) -> Row:
    """One column for each item; 0 and NaN say that there is no rating."""
    try:
        values = row.astype(np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(where, "user_behavior", f"dtype {row.dtype}", ACCEPTED) from None
    columns = np.flatnonzero(~np.isnan(values) & (values != 0))
    return columns, _ratings(where, values[columns], scale)


def _codes(where: str, ids: list[Any], item_ids: np.ndarray) -> np.ndarray:
    """Columns of some item ids."""
    known = {value: code for code, value in enumerate(item_ids.tolist())}
    codes = []
    for value in ids:
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool) or not isinstance(plain, (int, str)) or plain not in known:
            kind = "str" if item_ids.dtype.kind in "UO" else "whole numbers"
            example = f"{kind}, such as {item_ids[0].item()!r}"
            expected = f"one of the {len(item_ids)} items of the model ({example})"
            raise ArgumentError(where, "user_behavior", f"the item {value!r}", expected)
        codes.append(known[plain])
    if len(set(codes)) < len(codes):
        twice = item_ids[max(codes, key=codes.count)].item()
        raise ArgumentError(where, "user_behavior", f"the item {twice!r} twice", "each item once")
    return np.array(codes, np.int64)


def _ratings(where: str, given: Any, scale: tuple[float, float] | None) -> np.ndarray:
    """Ratings as float64, each finite and on the scale."""
    try:
        values = np.array([float(value) for value in given], np.float64)
    except (TypeError, ValueError):
        got = "a rating that is no number"
        raise ArgumentError(where, "user_behavior", got, "ratings as numbers") from None
    low, high = (-math.inf, math.inf) if scale is None else scale
    bad = ~np.isfinite(values) | (values < low) | (values > high)
    if bad.any():
        expected = "finite ratings" if scale is None else f"ratings from {low:g} to {high:g}"
        raise ArgumentError(where, "user_behavior", f"the rating {values[bad][0]:g}", expected)
    return values
