"""What the explainers of the page explain/gradients refuse, and what they warn of."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref import explain
from lepton_ref.explain.gradients.attribution import SaturationWarning
from lepton_ref.explain.gradients.integrated import quadrature
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Conv2d, Dense, Flatten, LayerNorm, ReLU, Sequential

EXPLAINERS = (
    "saliency", "gradient_x_input", "smoothgrad", "integrated_gradients", "deeplift",
    "guided_backpropagation", "grad_cam",
)  # fmt: skip


@pytest.mark.parametrize("name", EXPLAINERS)
def test_bad_input_is_refused_by_every_explainer(rng, name):
    net = Sequential(Conv2d(1, 2, 3, rng=rng), ReLU(), Flatten(), Dense(8, 3, rng=rng))
    x, method = rng.normal(size=(2, 1, 4, 4)).astype(np.float32), getattr(explain, name)
    with pytest.raises(
        ArgumentError, match=rf"{name}: argument `target` has the value 3; .*0\.\.2"
    ):
        method(net, x, 3)
    broken = x.copy()
    broken[1, 0, 2, 3] = np.nan
    with pytest.raises(ArgumentError, match=rf"{name}: .*`x` has the value nan at \(1, 0, 2, 3\)"):
        method(net, broken, 0)
    with pytest.raises(ArgumentError, match=f"{name}: argument `x` has rows of different lengths"):
        method(net, [[1.0, 2.0], [3.0]], 0)
    with pytest.raises(ArgumentError, match=f"{name}: .*expected a batch"):
        method(net, x[:0], 0)
    with pytest.raises(ArgumentError, match=rf"{name}: .*`target` has shape \(3,\); .*\(2,\)$"):
        method(net, x, [0, 1, 0])
    with pytest.raises(ArgumentError, match=f"{name}: argument `batch_size` has the value 0"):
        method(net, x, 0, batch_size=0)
    with pytest.raises(ArgumentError, match=f"{name}: argument `model` has type NoneType"):
        method(None, x, 0)
    if name in ("integrated_gradients", "deeplift"):
        with pytest.raises(ArgumentError, match=r"`baseline` has shape \(3, 3\)"):
            method(net, x, 0, baseline=np.zeros((3, 3)))
        with pytest.raises(ArgumentError, match="`baseline` has rows of different lengths"):
            method(net, x, 0, baseline=[[1.0], [2.0, 3.0]])
        with pytest.warns(SaturationWarning, match="example 0 equals its baseline"):
            assert not method(net, x, 0, baseline=x).values.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: explain.smoothgrad(net, x * 0 + 2, 0), "a constant example 0, of range 0"),
        (lambda net, x: explain.smoothgrad(net, x, samples=0), "`samples` has the value 0"),
        (lambda net, x: explain.smoothgrad(net, x, noise=-1.0), "`noise` has the value -1.0"),
        (lambda net, x: explain.smoothgrad(net, x, std=np.nan), "`std` has the value nan"),
        (lambda net, x: explain.smoothgrad(net, x, seed=-1), "`seed` has the value -1"),
        (lambda net, x: explain.integrated_gradients(net, x, steps=0), "`steps` has the value 0"),
        (lambda net, x: explain.integrated_gradients(net, x, rule="simpson"), "value 'simpson'"),
        (lambda net, x: quadrature("trapezoid", 1), "the value 1; expected at least 2"),
        (lambda net, x: explain.grad_cam(net, x, layer="9"), "'9'; expected one of 0, 1, 2, 3"),
        (lambda net, x: explain.grad_cam(net, x, layer="2"), r"'2' with outputs of shape \(2, 8\)"),
        (lambda net, x: explain.grad_cam(net, x[:, 0, 0]), r"expected \(N, C, H, W\)"),
        (lambda net, x: explain.grad_cam(Sequential(Flatten()), x), "no convolution"),
        (lambda net, x: explain.deeplift(lambda x: x, x), "type function; expected a Layer"),
        (lambda net, x: explain.deeplift(Sequential(net, LayerNorm(3)), x),
         "the layer 1 of type LayerNorm; .*integrated_gradients takes any model"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(rng, call, message):
    net = Sequential(Conv2d(1, 2, 3, rng=rng), ReLU(), Flatten(), Dense(8, 3, rng=rng))
    with pytest.raises(ArgumentError, match=message):
        call(net, rng.normal(size=(2, 1, 4, 4)).astype(np.float32))


@pytest.mark.parametrize(
    "name", ["saliency", "gradient_x_input", "smoothgrad", "guided_backpropagation"]
)
def test_a_dead_network_is_said_to_be_saturated(rng, name):
    net = Sequential(Dense(4, 3, rng=rng), ReLU(), Dense(3, 2, rng=rng))
    state = {k: np.array(v) for k, v in net.state().items()}
    net.load_state({**state, "0.bias": state["0.bias"] - 100})
    x = rng.normal(size=(2, 4)).astype(np.float32)
    with pytest.warns(SaturationWarning, match=f"{name}: .*zero everywhere .2 of 2."):
        assert not getattr(explain, name)(net, x, 0).values.any()
    # An answer that does not depend on the input has nothing to share out: zero is the truth.
    assert not explain.integrated_gradients(net, x, 0).values.any()


def test_a_constant_input_is_explained_where_it_can_be(rng):
    net = Sequential(Conv2d(1, 2, 3, rng=rng), ReLU(), Flatten(), Dense(8, 3, rng=rng))
    x = np.full((1, 1, 4, 4), 0.7, np.float32)
    for found in (
        explain.integrated_gradients(net, x), explain.deeplift(net, x),
        explain.smoothgrad(net, x, std=0.1, samples=3),
    ):  # fmt: skip
        assert np.isfinite(found.values).all() and found.values.any()
    assert abs(explain.deeplift(net, x).gap[0]) < 1e-5
