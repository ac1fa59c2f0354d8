"""The table at the end of a sweep: one row a run, as a frame, as Parquet and as CSV.

Columns, in this order: ``id``, ``status``, ``p.<parameter>``…, ``r.<recorded value>``…,
``started``, ``seconds``, ``kernel_seconds``, ``host``, ``engine``, ``device``,
``v.<package>``…, ``attempts``, ``error``, ``error_cell``, ``notebook``.

A column of parameters or recorded values has one of five kinds:

======== ========================================== =====================================
kind     when every value is                        in the frame, Parquet and CSV
======== ========================================== =====================================
int      a whole number of 64 bits                  ``int64``, ``Int64`` where some lack it
float    a number                                   ``float64``; missing is NaN
bool     true or false                              ``bool``, ``boolean`` where some lack it
text     a plain string                             the string itself
json     anything else: lists, null, a mixture      JSON text: ``"adam"``, ``null``, ``[8, 8]``
======== ========================================== =====================================

So ``null`` that a run was given stays apart from a parameter that it was not given, and ``1``
from ``"1"`` and ``true``. (Whole numbers among floats become floats; JSON makes no difference
either.) The kinds travel with the frame, ``frame.attrs["kinds"]``, and pandas keeps those in
the schema metadata of the Parquet file. :func:`decode` gives back the values as Python's own.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.runs import COMPLETE, Outcome

PARQUET = "results.parquet"
CSV = "results.csv"

#: Kinds of the columns that every table has.
FIXED = {
    "id": "text",
    "status": "text",
    "started": "time",
    "seconds": "float",
    "kernel_seconds": "float",
    "host": "text",
    "engine": "text",
    "device": "text",
    "attempts": "int",
    "error": "text",
    "error_cell": "int",
    "notebook": "text",
}
_HEAD = ("id", "status")
_MIDDLE = ("started", "seconds", "kernel_seconds", "host", "engine", "device")
_TAIL = ("attempts", "error", "error_cell", "notebook")
_PREFIXES = ("p.", "r.", "v.")
_ABSENT = object()
_EXACT = 2**53  # whole numbers up to here are exact as float64
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # Jupyter colours its tracebacks
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # what CSV or UTF-8 would lose


class WritesBytes(Protocol):
    """The part of a store that :func:`write_tables` needs."""

    def write_bytes(self, path: str, content: bytes) -> None: ...  # noqa: D102


class ReadsBytes(Protocol):
    """The part of a store that :func:`read_table` needs."""

    def read_bytes(self, path: str) -> bytes: ...  # noqa: D102


def table(
    outcomes: Iterable[Outcome],
    *,
    attempts: Mapping[str, int] | None = None,
    order: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row a run, whatever became of it.

    Parameters
    ----------
    outcomes : iterable of Outcome
        In any order. Of several with one id the latest complete attempt counts; where none is
        complete, the latest.
    attempts : mapping of id to int, optional
        How often each run was tried; where it is silent, the number of the attempt plus one.
    order : sequence of ids, optional
        Order of the sweep, which becomes the order of the rows. Ids that it does not list come
        after those that it does; among themselves, and without an order, ids ascend.

    Returns
    -------
    pandas.DataFrame
        See the head of this module; with no outcomes, the columns that every table has.
    """
    rows = _one_each(outcomes, order)
    data: dict[str, pd.Series] = {}
    kinds: dict[str, str] = {}

    def fixed(names: Iterable[str], source: Sequence[Mapping[str, Any]]) -> None:
        for name in names:
            kinds[name] = FIXED[name]
            data[name] = _series([row.get(name, _ABSENT) for row in source], FIXED[name])

    def family(prefix: str, source: Sequence[Mapping[str, Any]], names: Iterable[str]) -> None:
        for name in names:
            values = [row.get(name, _ABSENT) for row in source]
            column = prefix + name
            kinds[column] = _kind(column, values)
            data[column] = _series(values, kinds[column])

    plain = [_plain(outcome, attempts or {}) for outcome in rows]
    parameters, recorded = [o.parameters for o in rows], [o.recorded for o in rows]
    versions = [{k: str(v) for k, v in o.versions.items()} for o in rows]
    fixed(_HEAD, plain)
    family("p.", parameters, _names(parameters))
    family("r.", recorded, _names(recorded))
    fixed(_MIDDLE, plain)
    family("v.", versions, sorted(_names(versions)))
    fixed(_TAIL, plain)
    frame = pd.DataFrame(data)
    frame.attrs["kinds"] = kinds
    return frame


def _one_each(outcomes: Iterable[Outcome], order: Sequence[str] | None) -> list[Outcome]:
    chosen: dict[str, Outcome] = {}
    for outcome in outcomes:
        if not isinstance(outcome, Outcome):
            raise SweepError(
                f"table: outcomes holds a {type(outcome).__name__}, not an Outcome; read stored "
                "ones with Outcome.from_json"
            )
        rival = chosen.get(outcome.id)
        if rival is None or _rank(outcome) > _rank(rival):
            chosen[outcome.id] = outcome
    place = {one: i for i, one in reversed(list(enumerate(order or ())))}
    last = len(place)
    return sorted(chosen.values(), key=lambda o: (place.get(o.id, last + len(chosen)), o.id))


def _rank(outcome: Outcome) -> tuple[bool, int, str]:
    return outcome.status in COMPLETE, outcome.attempt, outcome.started


def _names(sources: Iterable[Mapping[str, Any]]) -> list[str]:
    """In order of first appearance, which is the order in which the user wrote them."""
    return list(dict.fromkeys(name for source in sources for name in source))


def _plain(outcome: Outcome, attempts: Mapping[str, int]) -> dict[str, Any]:
    """The columns of a row that every table has; what is empty is left out."""
    error = outcome.error or {}
    described = ": ".join(str(error[key]) for key in ("name", "value") if error.get(key))
    found = {
        "id": outcome.id,
        "status": outcome.status,
        "started": outcome.started,
        "seconds": float(outcome.seconds),
        "kernel_seconds": float(outcome.kernel_seconds),
        "host": _clean(outcome.host),
        "engine": _clean(outcome.engine),
        "device": _clean(outcome.device),
        "attempts": int(attempts.get(outcome.id, outcome.attempt + 1)),
        "error": _clean(described),
        "error_cell": error.get("cell"),
        "notebook": outcome.artifact,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _clean(text: str) -> str:
    """A message without the colours of a terminal or what is no text."""
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _kind(column: str, values: Iterable[Any]) -> str:
    present = [value for value in values if value is not _ABSENT]
    types = {type(value) for value in present}
    if types == {bool}:
        return "bool"
    if types == {int} and all(-(2**63) <= value < 2**63 for value in present):
        return "int"
    if float in types and types <= {int, float}:
        if all(isinstance(v, float) or abs(v) <= _EXACT for v in present):
            return "float"
    # An empty string would read as missing in CSV; control characters it may not survive at all.
    if types == {str} and all(value and not _CONTROL.search(value) for value in present):
        return "text"
    for value in present:
        _json(column, value)
    return "json"


def _json(column: str, value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
        return json.dumps(value) if _CONTROL.search(text) else text
    except (TypeError, ValueError) as error:
        raise SweepError(
            f"table: column {column!r} holds a {type(value).__name__}, which JSON cannot "
            "express; accepted are numbers, strings, true, false, null, and lists and "
            "objects of these"
        ) from error


def _series(values: Sequence[Any], kind: str, column: str = "") -> pd.Series:
    gaps = any(value is _ABSENT for value in values)
    held = [None if value is _ABSENT else value for value in values]
    if kind == "json":
        texts = [None if v is _ABSENT else _json(column, v) for v in values]
        return pd.Series(texts, dtype="str")
    if kind == "text":
        return pd.Series(held, dtype="str")
    if kind == "time":
        times = pd.to_datetime(pd.Series(held, dtype="str"), utc=True, format="ISO8601",
                               errors="coerce")  # fmt: skip
        return times.astype("datetime64[us, UTC]")
    if kind == "float":
        return pd.Series([math.nan if v is None else float(v) for v in held], dtype="float64")
    plain, nullable = {"int": ("int64", "Int64"), "bool": ("bool", "boolean")}[kind]
    return pd.Series(held, dtype=nullable if gaps else plain)


def kinds(frame: pd.DataFrame) -> dict[str, str]:
    """Kind of each column; of a frame without its notes, judged by the types."""
    known = frame.attrs.get("kinds", {})
    return {str(name): known.get(name) or _judged(frame[name]) for name in frame.columns}


def _judged(column: pd.Series) -> str:
    types = pd.api.types
    if types.is_bool_dtype(column):
        return "bool"
    if types.is_integer_dtype(column):
        return "int"
    if types.is_float_dtype(column):
        return "float"
    return "time" if types.is_datetime64_any_dtype(column) else "text"


def decode(frame: pd.DataFrame, column: str) -> list[Any]:
    """Values of one column as Python's own; ``pandas.NA`` where a run has none.

    Parameters
    ----------
    frame : pandas.DataFrame
        From :func:`table` or one of the readers below.
    column : str
        ``"p.layers"``.
    """
    if column not in frame:
        raise SweepError(f"decode: no column {column!r}; there are {', '.join(frame.columns)}")
    kind = kinds(frame)[column]
    readers: dict[str, Callable[[Any], Any]] = {
        "int": int, "float": float, "bool": bool, "json": json.loads,
    }  # fmt: skip
    read = readers.get(kind, lambda value: value)
    return [pd.NA if pd.isna(value) else read(value) for value in frame[column].tolist()]


def to_parquet(frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file."""
    return frame.to_parquet(engine="pyarrow", index=False)


def from_parquet(data: bytes) -> pd.DataFrame:
    """The inverse of :func:`to_parquet`."""
    return pd.read_parquet(io.BytesIO(data), engine="pyarrow")


def to_csv(frame: pd.DataFrame) -> bytes:
    """The frame as CSV: UTF-8, a missing value is an empty field, numbers keep every digit."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def from_csv(data: bytes, kinds: Mapping[str, str]) -> pd.DataFrame:
    """The inverse of :func:`to_csv`, given the kinds that CSV has no place for.

    Parameters
    ----------
    data : bytes
    kinds : mapping of column to kind
        ``frame.attrs["kinds"]`` of the Parquet table.
    """
    text = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, na_values=[""])
    strange = set(map(str, text.columns)) ^ set(kinds)
    if strange:
        differ = ", ".join(sorted(strange))
        raise SweepError(f"from_csv: the table and its kinds differ in {differ}")
    frame = pd.DataFrame({name: _parsed(text[name], kinds[name]) for name in text.columns})
    frame.attrs["kinds"] = dict(kinds)
    return frame


def _parsed(column: pd.Series, kind: str) -> pd.Series:
    readers: dict[str, Callable[[str], Any]] = {
        "int": int, "float": float, "bool": lambda v: v == "True",
    }  # fmt: skip
    parse = readers.get(kind, str)
    values = [_ABSENT if pd.isna(value) else parse(value) for value in column]
    if kind == "json":  # is JSON text already
        kind = "text"
    return _series(values, kind)


def write_tables(store: WritesBytes, frame: pd.DataFrame) -> tuple[str, str]:
    """Write ``results.parquet`` and ``results.csv`` into a store, replacing what is there.

    Both are made before either is written, so that a fault leaves the older pair.

    Parameters
    ----------
    store : Store
    frame : pandas.DataFrame
        From :func:`table`.

    Returns
    -------
    tuple of str
        The two paths inside the store.
    """
    if not isinstance(frame, pd.DataFrame) or "id" not in frame or "status" not in frame:
        raise SweepError(
            f"write_tables: frame is a {type(frame).__name__} without the columns id and status; "
            "expected is what table() returns"
        )
    files = {PARQUET: to_parquet(frame), CSV: to_csv(frame)}
    for path, data in files.items():
        store.write_bytes(path, data)
    return PARQUET, CSV


def read_table(store: ReadsBytes) -> pd.DataFrame:
    """The table that :func:`write_tables` wrote."""
    return from_parquet(store.read_bytes(PARQUET))
