"""Every vector-Jacobian product, in float64, against central differences along random lines."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework import autograd
from tests.engines.operator_cases import CASES, build, differentiable
from tests.numeric import leaves, vjp_check

DIRECTIONS = 3
SMOOTH = [case for case in CASES if case.smooth and any(build(case, np.random.default_rng(0))[1])]


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_vjp(engine, case):
    """Argument by argument: relative error at most 1e-7."""
    rng = np.random.default_rng(3)
    floats, wrt, call = build(case, rng)

    def of_wanted(*wanted):
        stock = iter(wanted)
        values = [
            next(stock) if asked else engine.array(x, dtype="float64")
            for x, asked in zip(floats, wrt, strict=True)
        ]
        return differentiable(case, call(engine, values))

    wanted = tuple(x for x, asked in zip(floats, wrt, strict=True) if asked)
    analytic, numeric = vjp_check(engine, of_wanted, wanted, rng, DIRECTIONS, eps=1e-5)
    analytic, numeric = analytic.reshape(-1, DIRECTIONS), numeric.reshape(-1, DIRECTIONS)
    scale = np.maximum(abs(analytic), abs(numeric)).max(axis=1)
    error = abs(analytic - numeric).max(axis=1)
    # An argument whose gradient is zero altogether has no scale: rounding of the loss remains.
    assert (error <= 1e-7 * np.where(scale > 1e-6, scale, 1)).all(), (error, scale)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_no_gradient_is_computed_that_is_not_needed(case, monkeypatch):
    """With one argument traced, no vjp of another is called, and a joint vjp is told so."""
    engine = lepton_ref.engine("numpy")
    floats, wrt, call = build(case, np.random.default_rng(0))
    for chosen in (i for i, asked in enumerate(wrt) if asked):
        called = []
        original = autograd.Node.__init__

        def watch(self, name, parents, vjp, arity=0, width=1, original=original, called=called):
            called.append((name, [position for position, _ in parents], vjp))
            original(self, name, parents, vjp, arity, width)

        with monkeypatch.context() as patch:
            patch.setattr(autograd.Node, "__init__", watch)

            def run(traced, chosen=chosen):
                values = [np.float64(x) if x.ndim == 0 else x for x in floats]
                values[chosen] = traced
                out = next(y for _, y in leaves(call(engine, values)) if y is not None)
                return engine.sum(out)

            _, gradient = engine.value_and_grad(run)(np.asarray(floats[chosen]))
        assert gradient.shape == floats[chosen].shape
        recorded = [entry for entry in called if entry[2] is not None]
        assert recorded, "nothing was recorded"
        # One traced argument in, so every recorded call has one parent: all else is a constant.
        assert all(len(positions) == 1 for _, positions, _ in recorded)


def test_vjps_of_untraced_arguments_are_never_called():
    calls = []

    @autograd.op
    def watched(a, b, c=None):
        return a + b, (
            lambda dy: calls.append("a") or dy,
            lambda dy: calls.append("b") or dy,
            None,
        )

    @autograd.op
    def jointly(a, b, c=None):
        def vjp(dy, needs):
            calls.append(needs)
            return dy, dy, dy

        return a + b, vjp

    try:
        x, y = np.ones(3), np.full(3, 2.0)
        E = lepton_ref.engine("numpy")
        for operator in (watched, jointly):
            E.value_and_grad(lambda p, f=operator: E.sum(f(p, y)))(x)
            E.value_and_grad(lambda p, f=operator: E.sum(f(x, p)))(y)
    finally:
        del autograd.OPERATORS["watched"], autograd.OPERATORS["jointly"]
    assert calls == ["a", "b", (True, False, False), (False, True, False)]


@pytest.mark.parametrize("operator", ["conv2d", "conv_transpose2d"])
def test_an_image_that_needs_no_gradient_is_not_computed(operator, monkeypatch):
    """The gradient of the first layer's input is never asked for, so col2im never runs."""
    from lepton_ref.vision.convolution import operators

    E = lepton_ref.engine("numpy")
    x, w = np.ones((2, 1, 5, 5), np.float32), np.ones((1, 1, 3, 3), np.float32)
    fold = {"conv2d": "col2im", "conv_transpose2d": "im2col"}[operator]
    count = []
    original = getattr(operators, fold)
    monkeypatch.setattr(operators, fold, lambda *a: count.append(1) or original(*a))

    def loss(params):
        return E.sum(getattr(E, operator)(params.get("x", x), params["w"]))

    E.value_and_grad(loss)({"w": w})
    for_w = len(count)
    count.clear()
    E.value_and_grad(loss)({"w": w, "x": x})
    assert (for_w, len(count)) == {"conv2d": (0, 1), "conv_transpose2d": (1, 1)}[operator]
