"""Who rated what, how, and when: one table that every recommender of the chapter learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from lepton_ref.datasets import Dataset

DUPLICATES = ("refuse", "first", "last", "mean")


@dataclass(frozen=True, repr=False)
class Ratings:
    """Ratings as a table of (user, item, value[, time]), with users and items numbered from 0.

    A part of a table (a training set, a fold) keeps the numbering of the whole, so that a user
    without a row in the part is still a user.

    Attributes
    ----------
    users, items : np.ndarray
        int64 (n,), positions in ``user_ids`` and ``item_ids``.
    values : np.ndarray
        float64 (n,), the ratings; 1.0 each where only the fact of an interaction is known.
    times : np.ndarray or None
        int64 (n,), seconds, or None where unknown.
    user_ids, item_ids : np.ndarray
        (n_users,) and (n_items,), the ids that people use, numbers or str.
    scale : tuple of float or None
        Lowest and highest rating, or None for interactions without a scale.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    times: np.ndarray | None
    user_ids: np.ndarray
    item_ids: np.ndarray
    scale: tuple[float, float] | None = None

    @classmethod
    def of(
        cls,
        users: Sequence[Any] | np.ndarray,
        items: Sequence[Any] | np.ndarray,
        values: Sequence[float] | np.ndarray | None = None,
        times: Sequence[int] | np.ndarray | None = None,
        *,
        scale: tuple[float, float] | None = None,
        duplicates: str = "refuse",
        user_ids: Sequence[Any] | np.ndarray | None = None,
        item_ids: Sequence[Any] | np.ndarray | None = None,
    ) -> Ratings:
        """Number the users and items of a table and check every row.

        Parameters
        ----------
        users, items : sequence
            (n,) ids, whole numbers or str.
        values : sequence of float, optional
            (n,) ratings; 1.0 each if not given.
        times : sequence of int, optional
            (n,) seconds.
        scale : (low, high), optional
            Ratings outside are refused.
        duplicates : str
            What to do when a user has rated an item twice: ``"refuse"``, keep the ``"first"`` or
            ``"last"`` (by time where given, else by row), or their ``"mean"``.
        user_ids, item_ids : sequence, optional
            All ids there are, in the order in which to number them; by default those that occur,
            sorted.

        Returns
        -------
        Ratings

        Raises
        ------
        ArgumentError
            Columns of unequal length, ids that are neither whole numbers nor str or are not among
            those given, values that are not finite or out of scale, repeated pairs.
        """
        where = "Ratings.of"
        rows_u, all_u = _numbered(where, "users", users, "user_ids", user_ids)
        rows_i, all_i = _numbered(where, "items", items, "item_ids", item_ids)
        n = len(rows_u)
        v = np.ones(n) if values is None else _floats(where, values)
        t = None if times is None else np.asarray(times)
        for name, column in (("items", rows_i), ("values", v), ("times", t)):
            if column is not None and column.shape != (n,):
                raise ArgumentError(where, name, f"shape {column.shape}", f"({n},), like users")
        if t is not None:
            if not np.issubdtype(t.dtype, np.number) or not np.isfinite(t).all():
                raise ArgumentError(where, "times", f"dtype {t.dtype} or NaN", "whole seconds")
            t = t.astype(np.int64)
        checked = checked_scale(where, scale)
        if checked is not None and n and not ((v >= checked[0]) & (v <= checked[1])).all():
            row = int(np.argmax((v < checked[0]) | (v > checked[1])))
            got = f"{v[row]:g} in row {row}"
            expected = f"ratings from {checked[0]:g} to {checked[1]:g}"
            raise ArgumentError(where, "values", got, expected)
        table = cls(rows_u, rows_i, v, t, all_u, all_i, checked)
        return _without_duplicates(where, table, duplicates)

    @property
    def n_users(self) -> int:
        """Number of users in the numbering, those without a row here among them."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items in the numbering."""
        return len(self.item_ids)

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"{len(self):,} ratings of {self.n_items:,} items by {self.n_users:,} users"

    def take(self, rows: np.ndarray) -> Ratings:
        """The rows at these positions (int64, or a bool mask), under the same numbering."""
        times = None if self.times is None else self.times[rows]
        columns = {name: getattr(self, name)[rows] for name in ("users", "items", "values")}
        return replace(self, **columns, times=times)

    def matrix(self) -> csr_matrix:
        """The ratings as a sparse float64 matrix (n_users, n_items), items of a row ascending.

        A rating of 0 is stored like any other, and is not the same as none.
        """
        from scipy.sparse import csr_matrix

        shape = (self.n_users, self.n_items)
        out = csr_matrix((self.values, (self.users, self.items)), shape=shape)
        out.sort_indices()
        return out

    def user(self, user_id: Any) -> int:
        """Number of a user.

        Raises
        ------
        ArgumentError
            Nobody has this id.
        """
        return _find("user_id", user_id, self.user_ids)

    def item(self, item_id: Any) -> int:
        """Number of an item.

        Raises
        ------
        ArgumentError
            Nothing has this id.
        """
        return _find("item_id", item_id, self.item_ids)


def movielens(data: Dataset | None = None) -> Ratings:
    """MovieLens 100K as ratings on the scale 1 to 5: 943 users, 1,682 items, with times.

    Raises
    ------
    DataError
        The package that bears the data cannot be fetched.
    """
    if data is None:
        from lepton_ref import datasets

        data = datasets.load("movielens-100k")
    return Ratings.of(
        *(data.users, data.items, data.ratings, data.times),
        scale=(1, 5),
        user_ids=data.user_ids,
        item_ids=data.item_ids,
    )


def _numbered(
    where: str, argument: str, column: Any, ids_argument: str, ids: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n,) of the entries among their ids, and the ids."""
    values = _ids(where, argument, column)
    if ids is None:
        known, rows = np.unique(values, return_inverse=True)
        return rows.reshape(-1).astype(np.int64), known
    known = _ids(where, ids_argument, ids)
    order = np.argsort(known, kind="stable")
    if len(known) > 1 and (known[order][1:] == known[order][:-1]).any():
        raise ArgumentError(where, ids_argument, "an id that occurs twice", "each id once")
    if (values.dtype.kind == "U") != (known.dtype.kind == "U") and len(values):
        kinds = {True: "str", False: "numbers"}
        got = f"{kinds[values.dtype.kind == 'U']} where {ids_argument} has the other kind"
        raise ArgumentError(where, argument, got, kinds[known.dtype.kind == "U"])
    at = np.searchsorted(known, values, sorter=order)
    at[at == len(known)] = 0
    rows = order[at] if len(known) else np.zeros(len(values), np.int64)
    unknown = np.ones(len(values), bool) if not len(known) else known[rows] != values
    if unknown.any():
        got = f"{values[np.argmax(unknown)]!r} in row {int(np.argmax(unknown))}"
        raise ArgumentError(where, argument, got, f"an id that {ids_argument} lists")
    return rows.astype(np.int64), known


def _ids(where: str, argument: str, column: Any) -> np.ndarray:
    values = np.asarray(column)
    if values.dtype == object and all(isinstance(value, str) for value in values.flat):
        values = values.astype(str)
    if values.ndim == 1 and values.size == 0:
        return values.astype(np.int64) if values.dtype.kind not in "iuU" else values
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        got = f"an array of dtype {values.dtype} and shape {values.shape}"
        raise ArgumentError(where, argument, got, "one row of whole numbers or of str")
    return values


def _floats(where: str, values: Any) -> np.ndarray:
    try:
        v = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(where, "values", "something that is no number", "ratings") from None
    if not np.isfinite(v).all():
        row = int(np.argmax(~np.isfinite(v.reshape(-1))))
        raise ArgumentError(where, "values", f"{v.reshape(-1)[row]} in row {row}", "finite ratings")
    return v


def checked_scale(where: str, scale: Any) -> tuple[float, float] | None:
    """Lowest and highest rating as floats, or None.

    Raises
    ------
    ArgumentError
        For anything but None or two numbers, the lower first.
    """
    if scale is None:
        return None
    try:
        low, high = (float(end) for end in scale)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not low < high:
        raise ArgumentError(where, "scale", f"the value {scale!r}", "(low, high) with low < high")
    return low, high


def _without_duplicates(where: str, table: Ratings, how: str) -> Ratings:
    if how not in DUPLICATES:
        known = "one of " + ", ".join(DUPLICATES)
        raise ArgumentError(where, "duplicates", f"the value {how!r}", known)
    key = table.users * max(table.n_items, 1) + table.items
    kept, first, group, count = np.unique(
        key, return_index=True, return_inverse=True, return_counts=True
    )
    if len(kept) == len(key):
        return table
    group = group.reshape(-1)
    if how == "refuse":
        row = first[np.argmax(count > 1)]
        user, item = table.user_ids[table.users[row]], table.item_ids[table.items[row]]
        many = f"{count.max()} ratings of item {item!r} by user {user!r}"
        raise ArgumentError(where, "items", many, 'one, or duplicates="first", "last" or "mean"')
    if how == "mean":
        values = np.bincount(group, table.values) / count
        return replace(table.take(np.sort(first)), values=values[group[np.sort(first)]])
    order = np.arange(len(key)) if table.times is None else np.argsort(table.times, kind="stable")
    if how == "last":
        order = order[::-1]
    _, at = np.unique(key[order], return_index=True)
    return table.take(np.sort(order[at]))


def _find(argument: str, value: Any, ids: np.ndarray) -> int:
    text, wanted = isinstance(value, str), ids.dtype.kind == "U"
    if text == wanted and not isinstance(value, (bool, float)):
        at = np.flatnonzero(ids == value)
        if len(at):
            return int(at[0])
    kind = "str" if wanted else "number"
    expected = f"one of {len(ids)} known ids ({kind})"
    raise ArgumentError("Ratings", argument, f"the value {value!r}", expected)
