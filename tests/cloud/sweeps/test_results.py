"""The table of a sweep: a row a run, types that survive Parquet and CSV."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest

from lepton_ref.cloud.sweeps import results
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.results import decode, from_csv, from_parquet, table, write_tables
from lepton_ref.cloud.sweeps.runs import FAILED, FINISHED, PRUNED, SYSTEM_FAULT, Outcome
from lepton_ref.cloud.sweeps.storage import Store


def outcome(id_: str = "a", status: str = FINISHED, **changes: Any) -> Outcome:
    held: dict[str, Any] = {
        "id": id_, "attempt": 0, "parameters": {"lr": 0.1}, "status": status,
        "started": "2026-11-24T05:00:00+00:00", "seconds": 2.5, "kernel_seconds": 2.0,
        "host": "node-1", "engine": "numpy", "device": "cpu", "versions": {"python": "3.11.7"},
        "artifact": f"runs/{id_}/notebook.ipynb",
    }  # fmt: skip
    return Outcome(**{**held, **changes})


def with_parameter(*values: Any) -> pd.DataFrame:
    return table(outcome(f"{i:02d}", parameters={"x": v}) for i, v in enumerate(values))


def both_ways(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame after Parquet; fails unless CSV gives the same."""
    stored = from_parquet(results.to_parquet(frame))
    pd.testing.assert_frame_equal(stored, frame)
    assert stored.attrs["kinds"] == frame.attrs["kinds"]
    written = from_csv(results.to_csv(frame), stored.attrs["kinds"])
    pd.testing.assert_frame_equal(written, frame)
    return stored


def test_columns_stand_in_their_order() -> None:
    frame = table([
        outcome("b", parameters={"lr": 0.1, "seed": 1}, recorded={"acc": 0.9, "n": 3},
                versions={"python": "3.11.7", "numpy": "1.26.4"}),
        outcome("a", parameters={"lr": 0.2, "width": 8}, recorded={"loss": 0.5}),
    ])  # fmt: skip
    assert list(frame.columns) == [
        "id", "status", "p.lr", "p.width", "p.seed", "r.loss", "r.acc", "r.n",
        "started", "seconds", "kernel_seconds", "host", "engine", "device",
        "v.numpy", "v.python", "attempts", "error", "error_cell", "notebook",
    ]  # fmt: skip
    assert list(frame["id"]) == ["a", "b"]
    assert frame["p.lr"].dtype == "float64" and frame["p.seed"].dtype == "Int64"
    assert frame["attempts"].dtype == "int64" and frame["seconds"].sum() == 5.0
    assert frame["started"].iloc[0] == pd.Timestamp("2026-11-24T05:00:00Z")
    assert decode(frame, "p.seed")[0] is pd.NA and decode(frame, "p.seed")[1] == 1
    both_ways(frame)


def test_the_latest_complete_attempt_is_the_row() -> None:
    tries = [
        outcome("a", SYSTEM_FAULT, attempt=0),
        outcome("a", FINISHED, attempt=1, recorded={"acc": 0.1}),
        outcome("a", FINISHED, attempt=2, recorded={"acc": 0.2}),
        outcome("a", FAILED, attempt=3),
        outcome("b", FAILED, attempt=1, error={"name": "E", "value": "late", "cell": 2}),
        outcome("b", FAILED, attempt=0, error={"name": "E", "value": "early", "cell": 1}),
    ]
    frames = [table(order) for order in list(itertools.permutations(tries))[::97]]
    for frame in frames:
        pd.testing.assert_frame_equal(frame, frames[0])
    assert list(frames[0]["id"]) == ["a", "b"]
    assert list(frames[0]["r.acc"])[0] == 0.2
    assert frames[0]["error"][1] == "E: late" and frames[0]["error_cell"][1] == 2
    assert list(frames[0]["attempts"]) == [3, 2]


def test_attempts_and_order_are_the_callers() -> None:
    runs = [outcome(i) for i in "dcbae"]
    frame = table(runs, order=["c", "never run", "a", "c"], attempts={"a": 7})
    assert list(frame["id"]) == ["c", "a", "b", "d", "e"]
    assert list(frame["attempts"]) == [1, 7, 1, 1, 1]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((1, 2, -(2**63)), "int"),
        ((1, 2**63), "json"),
        ((1, 0.5), "float"),
        ((1e-300, 0.1 + 0.2, float("inf")), "float"),
        ((0.5, 2**53 + 1), "json"),
        ((True, False), "bool"),
        ((True, 1, 1.0, "1"), "json"),
        (("adam", "NA", "null", "nan", " spaced ", 'q"uo,te', "二", "line\nline", "=1+1"), "text"),
        (("", "a"), "json"),
        (("a\rb", "c"), "json"),
        (("nul\x00", "c"), "json"),
        (("\ud800", "c"), "json"),
        ((None, None), "json"),
        ((None, 0.1, 1e-4), "json"),
        (([64], [64, 64], [], {"a": [1, None]}), "json"),
        ((1, 1.5, True, "s", None, [1, "two"], "", "secret:NAME"), "json"),
    ],
)
def test_every_value_survives_parquet_and_csv(values: tuple[Any, ...], kind: str) -> None:
    frame = with_parameter(*values)
    assert frame.attrs["kinds"]["p.x"] == kind
    back = decode(both_ways(frame), "p.x")
    assert back == list(values)
    if kind != "float":  # among floats, whole numbers become floats
        assert list(map(type, back)) == list(map(type, values))


@pytest.mark.parametrize("value", [1, True, "text", None, [1], 2**70])
def test_null_is_not_missing(value: Any) -> None:
    frame = table([outcome("a", parameters={}), outcome("b", parameters={"x": value})])
    absent, given = decode(both_ways(frame), "p.x")
    assert absent is pd.NA
    assert given == value and type(given) is type(value)


def test_the_kinds_stand_in_the_schema_of_the_parquet_file() -> None:
    data = results.to_parquet(with_parameter(1, "one"))
    metadata = pyarrow.parquet.read_schema(io.BytesIO(data)).metadata
    assert json.loads(metadata[b"pandas"])["attributes"]["kinds"]["p.x"] == "json"
    assert list(pd.read_parquet(io.BytesIO(data))["p.x"]) == ["1", '"one"']


def test_recorded_values_are_numbers() -> None:
    frame = table([
        outcome("a", recorded={"acc": 0.5, "n": 7, "ok": True, "best": "x"}),
        outcome("b", recorded={"acc": 1, "n": 8, "ok": False}),
        outcome("c", FAILED),
    ])  # fmt: skip
    assert frame["r.acc"].mean() == 0.75
    assert str(frame["r.n"].dtype) == "Int64" and frame["r.n"].sum() == 15
    assert str(frame["r.ok"].dtype) == "boolean"
    assert frame["r.best"].isna().sum() == 2
    both_ways(frame)


def test_an_empty_sweep_has_a_valid_table() -> None:
    frame = both_ways(table([]))
    assert len(frame) == 0 and list(frame.columns) == list(results.FIXED)
    assert frame["seconds"].sum() == 0


def test_failed_runs_alone_have_a_valid_table() -> None:
    error = {
        "name": "ValueError",
        "value": "\x1b[0;31mlr\x1b[0m must be\r\npositive\x07",
        "cell": 3,
    }
    frame = both_ways(table([
        outcome("a", FAILED, error=error, artifact="failed/a/0/notebook.ipynb"),
        outcome("b", SYSTEM_FAULT, started="", host="", engine="", device="", versions={},
                artifact="", error={"name": "NodeLost", "value": "", "cell": None}),
        outcome("c", SYSTEM_FAULT, started="not a time"),
    ]))  # fmt: skip
    assert list(frame["error"])[:2] == ["ValueError: lr must be\npositive\ufffd", "NodeLost"]
    assert frame["error_cell"][0] == 3 and frame["error_cell"][1:].isna().all()
    assert frame.loc[1, ["started", "host", "engine", "device", "notebook"]].isna().all()
    assert frame["started"].isna().tolist() == [False, True, True]


def test_runs_with_other_parameters_share_a_table() -> None:
    frame = both_ways(table([
        outcome("a", PRUNED, parameters={"x": 1}), outcome("b", parameters={"y": [1]}),
    ]))  # fmt: skip
    assert decode(frame, "p.x")[0] == 1 and decode(frame, "p.x")[1] is pd.NA
    assert decode(frame, "p.y")[0] is pd.NA and decode(frame, "p.y")[1] == [1]


@pytest.mark.parametrize("where", ["disk", "memory://table-of-a-sweep"])
def test_the_tables_are_written_into_a_store(tmp_path: Path, where: str) -> None:
    store = Store(str(tmp_path / "s") if where == "disk" else where)
    frame = with_parameter(1, "one", None)
    try:
        write_tables(store, with_parameter(0))
        assert write_tables(store, frame) == ("results.parquet", "results.csv")
        pd.testing.assert_frame_equal(results.read_table(store), frame)
        written = from_csv(store.read_bytes("results.csv"), frame.attrs["kinds"])
        pd.testing.assert_frame_equal(written, frame)
    finally:
        for path in store.list():
            store.delete(path)


def test_nothing_is_written_when_one_of_the_tables_cannot_be_made() -> None:
    class Kept:
        written: list[str] = []

        def write_bytes(self, path: str, content: bytes) -> None:
            self.written.append(path)

    frame = with_parameter(1)
    frame["p.x"] = [object()]
    with pytest.raises(Exception, match="object"):
        write_tables(Kept(), frame)
    assert Kept.written == []


def test_a_thousand_runs_make_no_thousand_columns() -> None:
    frame = table(outcome(f"{i:04d}", parameters={"i": i, "s": i % 3}) for i in range(1000))
    assert frame.shape == (1000, 2 + 2 + 6 + 1 + 4)
    assert frame["p.i"].is_monotonic_increasing
    both_ways(frame)


def test_kinds_of_a_foreign_frame_are_judged_by_its_types() -> None:
    frame = with_parameter(1, 2)
    frame.attrs.clear()
    kinds = results.kinds(frame)
    assert (kinds["p.x"], kinds["seconds"], kinds["started"], kinds["id"]) == (
        "int", "float", "time", "text"
    )  # fmt: skip
    frame["flag"] = [True, False]
    assert results.kinds(frame)["flag"] == "bool"


def test_bad_input_is_named() -> None:
    with pytest.raises(SweepError, match="outcomes holds a dict, not an Outcome"):
        table([outcome().to_json()])  # type: ignore[list-item]
    with pytest.raises(SweepError, match=r"column 'p\.x' holds a set.*accepted are numbers"):
        with_parameter({1, 2})
    with pytest.raises(SweepError, match=r"no column 'p\.y'; there are id, status"):
        decode(with_parameter(1), "p.y")
    with pytest.raises(SweepError, match="frame is a list"):
        write_tables(None, [])  # type: ignore[arg-type]
    with pytest.raises(SweepError, match="frame is a DataFrame without the columns id"):
        write_tables(None, pd.DataFrame())  # type: ignore[arg-type]
    with pytest.raises(SweepError, match=r"its kinds differ in p\.x"):
        from_csv(results.to_csv(with_parameter(1)), dict(results.FIXED) | {"v.python": "text"})
