"""A reader's own models: what the explainers take, and what they say when they cannot."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import lepton_ref
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
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.framework.errors import ArgumentError
from tests.data import load_or_skip
from tests.explain.test_evaluation_reports import attribution, review

BOOK = Path(__file__).resolve().parents[2] / "book"
GRADIENTS = ("saliency", "gradient_x_input", "smoothgrad", "integrated_gradients")
BLACK_BOXES = ("occlusion", "lime", "kernel_shap", "exact_shapley")


@pytest.fixture
def table(rng):
    return rng.normal(size=(40, 4))


@pytest.fixture
def weights(rng):
    return rng.normal(size=(4, 3))


@pytest.mark.parametrize("name", BLACK_BOXES)
def test_a_numpy_function_is_asked_as_it_is(table, weights, name):
    found = getattr(explain, name)(lambda x: x @ weights, table[:3])
    np.testing.assert_array_equal(found.target, (table[:3] @ weights).argmax(axis=1))
    exact = table[:3] * weights[:, found.target].T
    np.testing.assert_allclose(found.values, exact, atol=0.1 if name == "lime" else 1e-6)


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_numpy_function_has_no_gradient_and_is_told_where_to_go(engine, table, weights, name):
    with lepton_ref.use(engine.name), pytest.raises(ArgumentError) as caught:
        getattr(explain, name)(lambda x: np.tanh(x @ weights), table[:3], 0)
    assert f"{name}: argument `model` has a function that cannot compute" in str(caught.value)
    assert "kernel_shap" in str(caught.value) and caught.value.__cause__ is not None


def test_a_mistake_inside_a_model_stays_what_it_is(table):
    def wrong(x):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        explain.saliency(wrong, table[:2], 0)


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_active_engine_computes_a_function_without_a_target_too(engine, table, weights, name):
    def model(x):
        return engine.tanh(engine.matmul(x, engine.array(weights, dtype="float64")))

    with lepton_ref.use(engine.name):
        free, told = (getattr(explain, name)(model, table[:3], *t) for t in ((), (0,)))
    np.testing.assert_array_equal(free.target, np.tanh(table[:3] @ weights).argmax(axis=1))
    assert free.values.shape == told.values.shape == (3, 4)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda x: None, "`model` has outputs of type NoneType"),
        (lambda x: 1.0, r"`model` has outputs of shape \(\) for 2 rows; expected \(2, K\) or"),
        (lambda x: x[:1], r"outputs of shape \(1, 4\) for 2 rows"),
        (lambda x: x[:, None, None], r"outputs of shape \(2, 1, 1, 4\)"),
        (lambda x: ["cat"] * len(x), "`model's outputs` has dtype <U3; expected numbers"),
        (lambda x: [[1.0], [1.0, 2.0]], "`model's outputs` has rows of different lengths"),
    ],
)
def test_outputs_that_are_none(table, outputs, message):
    with pytest.raises(ArgumentError, match=message):
        explain.occlusion(outputs, table[:2])
    with pytest.raises(ArgumentError, match=message):
        black_box(outputs)(table[:2])


class TestTorch:
    """Modules are run on torch, in their own dtype, and only when they sit still."""

    @pytest.fixture
    def module(self):
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        torch.manual_seed(0)
        nn = torch.nn
        parts = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3)
        return nn.Sequential(*parts).eval()

    @pytest.mark.parametrize("name", GRADIENTS + BLACK_BOXES)
    def test_a_module_needs_no_engine(self, module, table, name):
        import torch

        with torch.no_grad():
            logits = module(torch.tensor(table[:3], dtype=torch.float32)).numpy()
        found = getattr(explain, name)(module, table[:3])
        np.testing.assert_array_equal(found.target, logits.argmax(axis=1))
        np.testing.assert_allclose(found.outputs, logits.max(axis=1), rtol=1e-5)

    @pytest.mark.parametrize("name", GRADIENTS + BLACK_BOXES)
    def test_a_module_in_training_mode_is_refused(self, module, table, name):
        before = module[1].train().running_mean.clone()
        with pytest.raises(ArgumentError, match="a BatchNorm1d in training mode; expected a mod"):
            getattr(explain, name)(module, table[:3])
        assert (module[1].running_mean == before).all()

    def test_training_mode_without_dice_is_no_obstacle(self, module, table):
        still = module.__class__(module[0], module[3], module[4]).train()
        assert explain.kernel_shap(still, table[:2]).values.shape == (2, 4)


# --- what the pages print ----------------------------------------------------------------


def listing(page: str, *begins: str) -> list[str]:
    """The Python listings of a page that hold one of these words."""
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    return [next(code for code in found if word in code) for word in begins]


def test_the_listing_of_ones_own_model_runs():
    (code,) = listing("explain/gradients", "differentiable")
    exec(compile(code, "gradients.md", "exec"), {})


def test_the_listing_of_the_report_runs(tmp_path, monkeypatch, capsys):
    load_or_skip("fine-foods")
    (code,) = listing("explain/evaluation", "told.save")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "evaluation.md", "exec"), names)
    assert "review is: negative" in capsys.readouterr().out
    assert "the word “waste”" in names["told"].text
    assert (tmp_path / "review.html").read_text(encoding="utf-8") == names["told"].html


def test_the_listing_of_the_gallery_runs(tmp_path, monkeypatch):
    faces = load_or_skip("orl-faces")
    names = {"image_data": faces.images[0]}
    monkeypatch.chdir(tmp_path)
    for code in listing("vision/faces", "extract_features", "gallery.forget"):
        exec(compile(code, "faces.md", "exec"), names)
    assert (tmp_path / "people.gallery").exists() and "王小明" not in names["gallery"]


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
