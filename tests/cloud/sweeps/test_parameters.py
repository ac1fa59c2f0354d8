"""Parameters are checked against the notebook before anything starts."""

from __future__ import annotations

import json

import nbformat
import pytest

from lepton_ref.cloud.sweeps import notebooks
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.parameters import check, complete, declared
from tests.cloud.sweeps.sweep_tools import notebook


def of(*cells: str, **more):
    return declared(notebooks.read(notebook(*cells, **more), "trial.ipynb"), "trial.ipynb")


def test_the_cell_and_its_declaration_are_read_without_running() -> None:
    found = of()
    assert {name: p.default for name, p in found.items()} == {
        "engine": "numpy", "seed": 0, "lr": 0.1, "mode": "fine", "token": "",
    }  # fmt: skip
    assert (found["lr"].kind, found["lr"].interval) == (float, "(0, 1]")
    assert (found["seed"].kind, found["seed"].interval) == (int, "[0, inf)")


def test_choices_annotations_and_expressions_of_the_cell() -> None:
    found = of(
        'check_parameters(engine="numpy", kind=(kind, ("a", "b")), rate=(rate, rates))',
        parameters='kind = "a"\nrate: float = 0.5\nrates = [1, 2]\ntwice = 2 * 3\nwhatever = None',
    )
    assert found["kind"].choices == ("a", "b")
    assert found["rate"].kind is float
    assert found["twice"].kind is None
    nested = {"a": [1, None]}
    assert check(found, {"whatever": nested, "twice": "x"})["whatever"] == nested
    # What the notebook computes itself is no default that a run could be known by.
    assert complete(found, {}) == {"kind": "a", "rate": 0.5, "rates": [1, 2], "whatever": None}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lrate": 0.1}, "the notebook has no parameter `lrate`; .* Did you mean `lr`?"),
        ({"lr": "fast"}, "`lr` has the value 'fast' of type str; the notebook accepts type float"),
        ({"lr": 0.0}, r"`lr` has the value 0.0; the notebook accepts a number in \(0, 1\]"),
        ({"lr": float("nan")}, "`lr` has the value nan"),
        ({"seed": -1}, "`seed` has the value -1"),
        ({"seed": 1.5}, "`seed` has the value 1.5 of type float; the notebook accepts type int"),
        ({"seed": True}, "`seed` has the value True of type bool"),
        ({"mode": 3}, "accepts type str"),
        ({"lr": "secret:KEY"}, "`lr` has a secret for its value; the notebook accepts float"),
        ({"token": "secret:NO KEY"}, "the name of a secret"),
    ],
)
def test_bad_values_are_refused_by_name(given, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        check(of(), given)


@pytest.mark.parametrize(
    "value", [{1: "a"}, (1, 2), {1, 2}, object(), b"bytes", float("inf"), [float("nan")]]
)
def test_what_json_cannot_hold_is_refused(value) -> None:
    known = of(parameters="anything = None")
    with pytest.raises(SweepError, match="`anything` has .*; accepted is what JSON holds"):
        check(known, {"anything": value})


def test_a_notebook_without_the_cell_says_how_to_make_one() -> None:
    with pytest.raises(SweepError, match="trial.ipynb: no cell is tagged `parameters`.*JupyterLab"):
        of("x = 1", parameters=None)


def test_a_broken_cell_is_named() -> None:
    with pytest.raises(SweepError, match="the cell `parameters`: invalid syntax"):
        of(parameters="x = = 1")


@pytest.mark.parametrize("text", ["", "{", '{"cells": 3}', json.dumps({"nbformat": 4})])
def test_what_is_no_notebook_is_refused(text: str) -> None:
    with pytest.raises(SweepError, match="x.ipynb is not a Jupyter notebook"):
        notebooks.read(text, "x.ipynb")


def test_whole_numbers_count_as_floats_and_secrets_as_names() -> None:
    found = check(of(), {"lr": 1, "token": "secret:API_KEY"})
    assert found == {"lr": 1.0, "token": "secret:API_KEY"} and type(found["lr"]) is float


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e-3", 0.001), ("lr", "1", 1.0), ("seed", "7", 7), ("mode", "7", "7"),
        ("mode", "true", "true"), ("token", "secret:KEY", "secret:KEY"),
    ],
)  # fmt: skip
def test_text_becomes_the_declared_type(name: str, text: str, value) -> None:
    read = of()[name].read(text)
    assert read == value and type(read) is type(value)


def test_text_of_booleans_choices_and_anything() -> None:
    known = of(
        "check_parameters(width=(width, (8, 16)))",
        parameters="flag = False\nwidth = 8\nanything = None",
    )
    assert known["flag"].read("True") is True
    assert known["width"].read("16") == 16
    assert known["anything"].read("[1, 2]") == [1, 2]
    assert known["anything"].read("none") is None
    assert known["anything"].read("plain words") == "plain words"
    with pytest.raises(SweepError, match="accepts type bool"):
        known["flag"].read("1")
    with pytest.raises(SweepError, match="accepts 8 or 16"):
        known["width"].read("12")


def test_records_and_errors_of_an_executed_notebook() -> None:
    made = nbformat.reads(notebook("a", "b"), 4)
    show = {"metadata": {"scrapbook": {"name": "x"}}, "output_type": "display_data"}
    made.cells[1].outputs = [
        nbformat.from_dict({**show, "data": {notebooks.RECORD: text}}) for text in ("1", "2.5")
    ]
    made.cells[2].outputs = [
        nbformat.from_dict(
            {"output_type": "error", "ename": "E", "evalue": "why", "traceback": []}
        )
    ]
    assert notebooks.records(made) == {"x": 2.5}
    assert notebooks.last_error(made) == {"name": "E", "value": "why", "cell": 3}
    made.cells[2].metadata["tags"] = ["raises-exception"]
    assert notebooks.last_error(made) is None
