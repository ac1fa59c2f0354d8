"""A reader's own models: what the explainers take, and what they say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref import explain
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.framework.errors import ArgumentError
from tests.myst import listing

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
        (lambda x: None, "`model's outputs` has dtype object; expected numbers"),
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


def test_the_listing_of_ones_own_model_runs():
    (code,) = listing("explain/gradients", "differentiable")
    exec(compile(code, "gradients.md", "exec"), {})
