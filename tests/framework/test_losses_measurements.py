"""Proofs of the page framework/losses: Gaussian and binary losses, the prior; and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l2_penalty,
    sequence_cross_entropy,
    squared_error,
)
from tests.framework.layer_tools import f64, gradient
from tests.numeric import numerical_gradient


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# --- squared error -------------------------------------------------------------------------


@pytest.mark.equation("squared-error-gaussian")
def test_squared_error_is_a_gaussian_likelihood(engine, rng, prove):
    """Against the density of scipy, for a whole data set."""
    stats = pytest.importorskip("scipy.stats")
    prediction, target, s = rng.normal(size=20), rng.normal(size=20), 0.7
    nll = -stats.norm(prediction, s).logpdf(target).sum()
    mean = engine.asnumpy(squared_error(f64(engine, prediction), f64(engine, target)))
    prove(20 * mean / (2 * s**2) + 20 * np.log(2 * np.pi * s**2) / 2, nll, oracle="scipy")


@pytest.mark.equation("squared-error-grad")
def test_squared_error_gradient(engine, rng, prove):
    prediction, target = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    found, measured = gradient(engine, lambda v: squared_error(v, f64(engine, target)), prediction)
    prove(found, 2 / 12 * (prediction - target), oracle="closed form")
    prove(found, measured)


@pytest.mark.equation("squared-error-grad")
def test_squared_error_gradient_is_that_of_torch(engine, rng, prove):
    torch = pytest.importorskip("torch")
    prediction, target = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    found, _ = gradient(engine, lambda v: squared_error(v, f64(engine, target)), prediction)
    leaf = torch.tensor(prediction, requires_grad=True)
    torch.nn.functional.mse_loss(leaf, torch.tensor(target)).backward()
    prove(found, leaf.grad.numpy(), oracle="torch")


@pytest.mark.equation("squared-error-mean")
def test_the_best_constant_is_the_mean(engine, rng, prove):
    t = rng.normal(3.0, 2.0, size=9)
    for c in (-1.0, 0.5, 4.0):
        found = squared_error(f64(engine, np.full(9, c)), f64(engine, t))
        prove(engine.asnumpy(found), (c - t.mean()) ** 2 + t.var(), oracle="closed form")


# --- L2 ----------------------------------------------------------------------------------


@pytest.mark.equation("l2-gaussian-prior")
def test_l2_is_a_gaussian_prior(engine, rng, prove):
    """Differences of the log-density of scipy: the constant drops out."""
    stats = pytest.importorskip("scipy.stats")
    tau, n = 0.4, 50
    strength = 1 / (n * tau**2)
    w, other = [rng.normal(size=(2, 3)), rng.normal(size=4)], [np.ones((2, 3)), np.zeros(4)]

    def density(arrays):
        return sum(stats.norm(0, tau).logpdf(a).sum() for a in arrays)

    def penalty(arrays):
        return float(l2_penalty([f64(engine, a) for a in arrays], strength))

    prove(n * (penalty(w) - penalty(other)), density(other) - density(w), oracle="scipy")


@pytest.mark.equation("l2-grad")
def test_l2_gradient(engine, rng, prove):
    w = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=4)}
    params = {k: engine.parameter(v, dtype="float64") for k, v in w.items()}
    _, found = engine.value_and_grad(lambda p: l2_penalty(p, 0.3))(params)
    found = {k: engine.asnumpy(v) for k, v in found.items()}
    prove(found, {k: 0.3 * v for k, v in w.items()}, oracle="closed form")
    prove(found, numerical_gradient(lambda p: 0.15 * sum((v**2).sum() for v in p.values()), w))


@pytest.mark.equation("l2-ridge")
def test_ridge_has_a_closed_form(engine, rng, prove):
    """Plain descent on the loss arrives at the closed form, with fewer examples than weights."""
    x, t, strength = rng.normal(size=(5, 8)), rng.normal(size=(5, 1)), 0.5
    inputs, targets = f64(engine, x), f64(engine, t)

    def loss(w):
        return squared_error(engine.matmul(inputs, w), targets) + l2_penalty([w], strength)

    step, w = engine.value_and_grad(loss), engine.parameter(np.zeros((8, 1)), dtype="float64")
    for _ in range(400):
        engine.assign(w, w - 0.1 * step(w)[1])
    closed = np.linalg.solve(x.T @ x + 5 * strength / 2 * np.eye(8), x.T @ t)
    prove(closed, engine.asnumpy(w), oracle="descent on the loss")
    assert np.linalg.matrix_rank(x.T @ x) < 8


# --- yes or no -----------------------------------------------------------------------------


@pytest.mark.equation("sigmoid-two-class")
def test_sigmoid_is_a_softmax_of_two(engine, rng, prove):
    z = rng.normal(size=7) * 3
    two = engine.softmax(f64(engine, np.stack([z, np.zeros(7)], 1)))
    prove(engine.asnumpy(two)[:, 0], sigmoid(z), oracle="closed form")
    prove(
        engine.asnumpy(engine.sigmoid(f64(engine, z))), engine.asnumpy(two)[:, 0].copy(), "softmax"
    )


@pytest.mark.equation("binary-cross-entropy")
def test_binary_cross_entropy_is_a_coin_likelihood(engine, rng, prove):
    z, t = rng.normal(size=8) * 2, np.array([0, 1, 1, 0, 1, 0.25, 0.9, 0])
    found = binary_cross_entropy_with_logits(f64(engine, z), f64(engine, t))
    nll = -(t * np.log(sigmoid(z)) + (1 - t) * np.log(1 - sigmoid(z)))
    prove(engine.asnumpy(found), nll.mean(), oracle="closed form")
    m = np.array([1, 0, 2, 1, 0, 0.5, 1, 1])
    found = binary_cross_entropy_with_logits(f64(engine, z), f64(engine, t), engine.array(m))
    prove(engine.asnumpy(found), (m * nll).sum() / m.sum(), oracle="closed form")


@pytest.mark.equation("binary-cross-entropy")
def test_binary_cross_entropy_is_that_of_torch(engine, rng, prove):
    torch = pytest.importorskip("torch")
    z, t = rng.normal(size=8) * 2, np.array([0, 1, 1, 0, 1, 0.25, 0.9, 0])
    m = np.array([1, 0, 2, 1, 0, 0.5, 1, 1])
    found = binary_cross_entropy_with_logits(f64(engine, z), f64(engine, t), engine.array(m))
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(z), torch.tensor(t), torch.tensor(m), reduction="sum"
    )
    prove(engine.asnumpy(found) * m.sum(), theirs.item(), oracle="torch")


@pytest.mark.equation("softplus-stable")
def test_softplus_by_exact_arithmetic(engine, prove):
    import mpmath

    z = np.array([-800.0, -40.0, -1.0, 0.0, 0.5, 30.0, 800.0])
    with mpmath.workdps(60):
        exact = [float(mpmath.log(1 + mpmath.exp(float(v)))) for v in z]
    formula = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    prove(formula, np.array(exact), oracle="mpmath")
    prove(engine.asnumpy(engine.softplus(f64(engine, z))), np.array(exact), oracle="mpmath")


@pytest.mark.equation("binary-cross-entropy-grad")
def test_binary_cross_entropy_gradient(engine, rng, prove):
    z, t = rng.normal(size=(4, 3)) * 2, rng.random((4, 3)).round()
    found, measured = gradient(
        engine, lambda v: binary_cross_entropy_with_logits(v, f64(engine, t)), z
    )
    prove(found, (sigmoid(z) - t) / 12, oracle="closed form")
    prove(found, measured)
    far = engine.array(np.array([500.0, -500.0], "float32"))
    right = binary_cross_entropy_with_logits(far, engine.array(np.array([0.0, 1.0])))
    assert float(right) == 500.0  # finite where the logarithm of a rounded zero is not


@pytest.mark.equation("sigmoid-twice-range", "sigmoid-twice-grad")
def test_a_sigmoid_too_many(engine, rng, prove):
    z, t = rng.normal(size=6) * 2, np.array([0.0, 1, 0, 1, 1, 0])

    def faulty(v):
        return binary_cross_entropy_with_logits(engine.sigmoid(v), f64(engine, t))

    found, measured = gradient(engine, faulty, z)
    u = sigmoid(z)
    prove(found, (sigmoid(u) - t) * u * (1 - u) / 6, "closed form", label="sigmoid-twice-grad")
    prove(found, measured, label="sigmoid-twice-grad")
    far = engine.asnumpy(engine.sigmoid(engine.sigmoid(f64(engine, [-60.0, 60.0]))))
    bounds = np.array([0.5, np.e / (1 + np.e)])
    prove(far, bounds, oracle="closed form", label="sigmoid-twice-range")
    between = engine.asnumpy(engine.sigmoid(engine.sigmoid(f64(engine, z))))
    assert (between > 0.5).all() and (between < bounds[1]).all()
    lowest = binary_cross_entropy_with_logits(
        engine.sigmoid(f64(engine, [-60.0])), f64(engine, [0.0])
    )
    assert abs(float(lowest) - np.log(2)) < 1e-12


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda a, i: cross_entropy(a(2, 3), i([0, 3])), "labels.*has the value 3; .*0..2"),
        (lambda a, i: cross_entropy(a(2, 3), i([0, -1])), "has the value -1"),
        (lambda a, i: cross_entropy(a(2, 3), i([0, 1, 2])), r"labels.*has shape \(3,\)"),
        (lambda a, i: cross_entropy(a(2, 3), a(2)), "labels.*has dtype float32"),
        (lambda a, i: cross_entropy(a(0, 3), i([])), "at least one row"),
        (lambda a, i: cross_entropy(a(2, 3), i([0, 1]), a(3)), r"mask.*has shape \(3,\)"),
        (lambda a, i: cross_entropy(a(2, 3), i([0, 1]), a(2) * 0), "mask.*has a sum of zero"),
        (lambda a, i: sequence_cross_entropy(a(2, 3), i([0, 1])), r"3 axes \(N, T, C\)"),
        (lambda a, i: sequence_cross_entropy(a(1, 2, 3), i([0, 1])), "one label per time step"),
        (lambda a, i: sequence_cross_entropy(a(1, 2, 3), i([[0, 1]]), a(2)), "one weight per"),
        (lambda a, i: sequence_cross_entropy(a(1, 2, 3), i([[0, 1]]), a(1, 2), "mean"),
         "`normalize` has the value 'mean'; expected 'tokens' or 'sequences'"),
        (lambda a, i: squared_error(a(3, 1), a(3)),
         r"squared_error: argument `target` has shape \(3,\); expected \(3, 1\)"),
        (lambda a, i: squared_error(a(0), a(0)), "at least one entry"),
        (lambda a, i: squared_error(i([1]), i([1])), "`prediction` has dtype int64"),
        (lambda a, i: squared_error([1.0], a(1)), "`prediction` has type list"),
        (lambda a, i: binary_cross_entropy_with_logits(a(3), a(2)), "`targets` has shape"),
        (lambda a, i: binary_cross_entropy_with_logits(a(0), a(0)), "at least one entry"),
        (lambda a, i: binary_cross_entropy_with_logits(a(2), a(2) * 2),
         r"`targets` has values from 2 to 2; expected values in \[0, 1\]"),
        (lambda a, i: binary_cross_entropy_with_logits(a(2), a(2) * np.nan), "from nan to nan"),
        (lambda a, i: binary_cross_entropy_with_logits(a(2), a(2), a(3)), "`mask` has shape"),
        (lambda a, i: binary_cross_entropy_with_logits(a(2), a(2), a(2) * 0), "a sum of zero"),
        (lambda a, i: l2_penalty([a(2)], -0.1), "`strength` has the value -0.1"),
        (lambda a, i: l2_penalty({}, 0.1), "`params` has no arrays"),
    ],
)  # fmt: skip
def test_losses_refuse(engine, call, match):
    def ones(*shape):
        return engine.array(np.ones(shape))

    def whole(values):
        return engine.array(np.array(values, "int64"))

    with pytest.raises(ArgumentError, match=match):
        call(ones, whole)


def test_engine_can_be_named(rng):
    prediction, target = np.ones(3, "float32"), np.zeros(3, "float32")
    assert float(squared_error(prediction, target, engine="numpy")) == 1.0
