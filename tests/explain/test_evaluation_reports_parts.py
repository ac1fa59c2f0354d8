"""Reports of a single output, the listing of the page, and parts that do not fit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lepton_ref import explain
from lepton_ref.explain.evaluation import (
    ImageView,
    PatientView,
    RecommendationView,
    ReviewView,
    deletion_curve,
    max_sensitivity,
    report,
)
from lepton_ref.explain.gradients.attribution import Attribution, SaturationWarning
from lepton_ref.framework.errors import ArgumentError
from tests.data import load_or_skip
from tests.explain.test_evaluation_reports import attribution, review
from tests.myst import listing


@pytest.fixture
def table(rng):
    return rng.normal(size=(40, 4))


def test_the_listing_of_the_report_runs(tmp_path, monkeypatch, capsys):
    load_or_skip("fine-foods")
    (code,) = listing("explain/evaluation", "told.save")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "evaluation.md", "exec"), names)
    assert "review is: negative" in capsys.readouterr().out
    assert "the word “waste”" in names["told"].text
    assert (tmp_path / "review.html").read_text(encoding="utf-8") == names["told"].html


# --- a single output ---------------------------------------------------------------------


def one_output(table, row, **more):
    """A report of a linear model with one output, and what it would say of the other side."""
    w = np.array([1.0, -2.0, 0.5, 0.0])

    def model(x):
        return x @ w

    x = table[row : row + 1]
    found = explain.exact_shapley(model, x, background=table)
    change = explain.counterfactual(model, x, training=table)
    view = PatientView(list("abcd"), x[0], table, ("refused", "granted"))
    told = report(found, view, 0.9, counterfactual=change, **more)
    return told, found, float(model(x)[0])


def test_a_report_of_a_single_output_says_what_was_decided(table):
    for row in range(8):
        told, found, logit = one_output(table, row)
        here, there = ("granted", "refused") if logit > 0 else ("refused", "granted")
        assert told.decided.endswith(f"is: {here}.") and told.changed.endswith(f"said: {there}.")
        signed = found.values[0] * (1 if logit > 0 else -1)
        largest = "abcd"[int(np.abs(signed).argmax())]
        told_for = [e.name[0] for e in told.spoke_for]
        assert (largest in told_for) == (signed[np.abs(signed).argmax()] > 0)


def test_a_decision_can_be_told_and_must_fit(table):
    told, found, logit = one_output(table, 0)
    view = PatientView(list("abcd"), table[0], table, ("refused", "granted"))
    alone = report(found, view, 0.9, decision=int(logit > 0))
    assert alone.decided == told.decided and alone.spoke_for == told.spoke_for
    with pytest.raises(ArgumentError, match="`decision` has the value .; expected ., as in `cou"):
        one_output(table, 0, decision=int(logit <= 0))
    with pytest.raises(ArgumentError, match="`decision` has the value 2; expected 0, 1 or None"):
        report(found, view, 0.9, decision=2)


def test_probabilities_instead_of_logits_are_noticed(table):
    def probability(x):
        return 1 / (1 + np.exp(-x[:, 0]))

    with pytest.warns(SaturationWarning, match=r"lie in \[0, 1\]"):
        found = explain.counterfactual(probability, table[:3], training=table)
    assert not found.settings["flipped"].any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain.counterfactual(lambda x: x[:, 0], table[:3], training=table)
    assert found.settings["flipped"].all() and found.settings["single"]


# --- reports and views -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": "4"}, "`top` has the value '4'"),
        ({"record": (9, 10)}, "`record` has type tuple; expected a Record"),
        ({"counterfactual": "x"}, "`counterfactual` has type str"),
        ({"counterfactual": attribution([1.0, 2.0, 3.0])}, "what `counterfactual` returns"),
        ({"words": ("a",)}, "1 words in ReviewView; expected 3"),
    ],
)
def test_wrong_parts_of_a_report(options, message):
    with pytest.raises(ArgumentError, match=message):
        review(**options)


def test_wrong_parts_in_place_of_a_report(table):
    found, view = attribution([1.0, 2.0]), ReviewView(("a", "b"), ("no", "yes"))
    for wrong, message in (
        (lambda: report(found.values, view, 0.9), "`attribution` has type ndarray"),
        (lambda: report(found, "patient", 0.9), "`view` has type str; expected ImageView"),
        (lambda: report(found, view, "0.9"), "`probability` has the value '0.9'"),
        (lambda: report(found, view, np.array([0.9])), r"`probability` has the value array"),
        (lambda: report(found, ReviewView(("a", "b"), ("no",)), 0.9), "1 classes in ReviewView"),
        (lambda: report(found, ImageView(np.zeros((2, 2)), ("a", "b")), 0.9), "an ImageView of"),
        (lambda: report(found, RecommendationView(("a", "b"), (5,), "c"), 0.9), "1 ratings in"),
        (lambda: deletion_curve(lambda x: x, found.values), "`attribution` has type ndarray"),
        (lambda: max_sensitivity("occlusion", lambda x: x, table[:2]), "`explainer` has type str"),
        (lambda: found.plot(top="3"), "`top` has the value '3'"),
        (lambda: report(found, view, 0.9).save("no/such/folder.html"), "`path` has no folder no/s"),
        (
            lambda: explain.counterfactual(lambda x: x, table, immutable=1),
            "`immutable` has type int; expected a list",
        ),
        (
            lambda: explain.infidelity(lambda x: x, found, None),
            "`perturbations` has type NoneType; expected what",
        ),
        (
            lambda: explain.occlusion(lambda x: x, np.ones((2, 3), int)),
            r"dtype int64; expected floats: a table after astype\(float\)",
        ),
        (lambda: found.plot(names=5), "`names` has type int"),
    ):
        with pytest.raises(ArgumentError, match=message):
            wrong()


@pytest.mark.parametrize(
    ("measured", "others", "message"),
    [
        ([1.0, np.nan], np.ones((3, 2)), "1 entries not finite"),
        ([1.0], np.ones((3, 2)), r"`measured` has shape \(1,\)"),
        (["a", "b"], np.ones((3, 2)), "`measured` has dtype <U1"),
        ([1.0, 2.0], np.ones((3, 4)), r"`others` has shape \(3, 4\); expected \(B, 2\)"),
        ([1.0, 2.0], np.ones(2), r"`others` has shape \(2,\)"),
        ([1.0, 2.0], np.ones((0, 2)), "at least one row"),
    ],
)
def test_wrong_measurements(measured, others, message):
    with pytest.raises(ArgumentError, match=message):
        PatientView(("a", "b"), measured, others, ("ill", "well"))


def test_padding_behind_the_words_may_be_there_and_may_not_speak():
    x = np.ones((1, 4))
    silent = Attribution(np.array([[1.0, 2.0, 0, 0]]), x, np.ones(1, int), np.ones(1), "lime")
    view = ReviewView(("a", "b"), ("no", "yes"))
    assert [e.name for e in report(silent, view, 0.9).spoke_for][0].endswith("“b”")
    loud = Attribution(np.ones((1, 4)), x, np.ones(1, int), np.ones(1), "lime")
    with pytest.raises(ArgumentError, match="2 words in ReviewView; expected 4"):
        report(loud, view, 0.9)
