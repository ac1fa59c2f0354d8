"""Proofs of the page framework/losses: likelihoods, softmax, cross-entropy."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.losses import cross_entropy, sequence_cross_entropy
from tests.framework.layer_tools import f64, gradient, jacobian
from tests.numeric import numerical_gradient, vjp_check


def softmax(z):
    """In the plain way, for logits of moderate size; shares nothing with the package."""
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def onehot(labels, classes):
    return np.eye(classes)[labels]


# --- likelihood --------------------------------------------------------------------------


@pytest.mark.equation("cross-entropy-mle")
def test_cross_entropy_is_the_negative_log_likelihood(engine, rng, prove):
    z, labels = rng.normal(size=(6, 4)), np.array([0, 3, 1, 1, 2, 0])
    p = softmax(z)
    likelihood = np.prod([p[n, k] for n, k in enumerate(labels)])
    found = engine.asnumpy(cross_entropy(f64(engine, z), engine.array(labels)))
    prove(found, -np.log(likelihood) / 6, oracle="closed form")
    prove(found, -(onehot(labels, 4) * np.log(p)).sum() / 6, oracle="closed form")
    start = cross_entropy(f64(engine, np.zeros((2, 10))), engine.array(np.array([3, 9])))
    assert abs(float(start) - np.log(10)) < 1e-12


@pytest.mark.equation("cross-entropy-mle", "cross-entropy-grad")
def test_cross_entropy_against_torch(engine, rng, prove):
    torch = pytest.importorskip("torch")
    z, labels = rng.normal(size=(6, 4)) * 3, np.array([0, 3, 1, 1, 2, 0])
    leaf = torch.tensor(z, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels))
    theirs.backward()
    value, dz = engine.value_and_grad(lambda v: cross_entropy(v, engine.array(labels)))(
        engine.parameter(z, dtype="float64")
    )
    prove(engine.asnumpy(value), theirs.item(), oracle="torch", label="cross-entropy-mle")
    prove(engine.asnumpy(dz), leaf.grad.numpy(), oracle="torch", label="cross-entropy-grad")


@pytest.mark.equation("cross-entropy-kl")
def test_cross_entropy_is_entropy_and_divergence(engine, rng, prove):
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 1])  # shares 1/8, 3/8, 4/8
    q, z = np.array([1, 3, 4]) / 8, rng.normal(size=3)
    p = softmax(z)
    found = cross_entropy(f64(engine, np.tile(z, (8, 1))), engine.array(labels))
    divergence = (q * np.log(q / p)).sum()
    assert divergence > 0
    prove(engine.asnumpy(found), -(q * np.log(q)).sum() + divergence, oracle="closed form")
    best = cross_entropy(f64(engine, np.tile(np.log(q), (8, 1))), engine.array(labels))
    assert abs(float(best) + (q * np.log(q)).sum()) < 1e-12


# --- softmax -----------------------------------------------------------------------------


@pytest.mark.equation("softmax-shift")
def test_softmax_does_not_see_a_shift(engine, rng, prove):
    z = rng.normal(size=(5, 4))
    for shift in (-700.0, 3.0, 700.0):
        prove(engine.asnumpy(engine.softmax(f64(engine, z + shift))), softmax(z), "closed form")


@pytest.mark.equation("log-sum-exp")
def test_log_sum_exp_by_exact_arithmetic(engine, rng, prove):
    """Against 60 digits, for scores whose exponentials have no float64."""
    import mpmath

    z = np.array([[1000.0, 999.0, -1000.0], [-1500.0, -1500.5, -1502.0], [3.0, 1.0, 2.0]])
    with mpmath.workdps(60):
        exact = [float(mpmath.log(sum(mpmath.exp(float(v)) for v in row))) for row in z]
    m = z.max(1)
    formula = m + np.log(np.exp(z - m[:, None]).sum(1))
    prove(formula, np.array(exact), oracle="mpmath")
    log_p = engine.asnumpy(engine.log_softmax(f64(engine, z)))
    prove(z[:, 0] - log_p[:, 0], np.array(exact), oracle="mpmath")


@pytest.mark.equation("softmax-jacobian")
def test_softmax_jacobian(engine, rng, prove):
    z = rng.normal(size=5)
    p = softmax(z)
    found = jacobian(engine, engine.softmax, z)
    prove(found, np.diag(p) - np.outer(p, p), oracle="closed form")
    measured = [numerical_gradient(lambda v, i=i: softmax(v)[i], z) for i in range(5)]
    prove(found, np.array(measured))


@pytest.mark.equation("softmax-jacobian", "log-softmax-jacobian")
def test_softmax_jacobians_symbolically(prove):
    import sympy

    z = sympy.symbols("z0:4")
    total = sum(sympy.exp(v) for v in z)
    p = sympy.Matrix([sympy.exp(v) / total for v in z])
    at = dict(zip(z, (0.3, -1.2, 0.8, 2.0)))
    point = np.array([float(v) for v in p.subs(at)])
    symbolic = np.array(p.jacobian(z).subs(at), dtype=float)
    formula = np.diag(point) - np.outer(point, point)
    prove(formula, symbolic, oracle="sympy", label="softmax-jacobian")
    logarithm = p.applyfunc(sympy.log).jacobian(z).subs(at)
    formula = np.eye(4) - point
    prove(formula, np.array(logarithm, dtype=float), "sympy", label="log-softmax-jacobian")


@pytest.mark.equation("log-softmax-jacobian")
def test_log_softmax_jacobian(engine, rng, prove):
    z = rng.normal(size=5)
    prove(jacobian(engine, engine.log_softmax, z), np.eye(5) - softmax(z), oracle="closed form")


@pytest.mark.equation("softmax-vjp", "log-softmax-vjp")
def test_softmax_vjps(engine, rng, prove):
    z, dy = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    p = softmax(z)
    formulas = {
        "softmax-vjp": (engine.softmax, p * (dy - (dy * p).sum(1, keepdims=True))),
        "log-softmax-vjp": (engine.log_softmax, dy - p * dy.sum(1, keepdims=True)),
    }
    for label, (f, formula) in formulas.items():
        found, measured = gradient(engine, lambda v, f=f: engine.sum(f(v) * f64(engine, dy)), z)
        prove(found, formula, oracle="closed form", label=label)
        prove(found, measured, label=label)
        prove(*vjp_check(engine, f, (z,), rng), label=label)
        prove(*vjp_check(engine, lambda v, f=f: f(v, axis=0), (z,), rng), label=label)


# --- cross-entropy -----------------------------------------------------------------------


@pytest.mark.equation("cross-entropy-grad")
@pytest.mark.parametrize("masked", [False, True])
def test_prediction_minus_truth(engine, rng, prove, masked):
    z, labels = rng.normal(size=(6, 4)), np.array([0, 3, 1, 1, 2, 0])
    m = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 0.0]) if masked else np.ones(6)
    mask = f64(engine, m) if masked else None

    found, measured = gradient(engine, lambda v: cross_entropy(v, engine.array(labels), mask), z)
    formula = (m / m.sum())[:, None] * (softmax(z) - onehot(labels, 4))
    prove(found, formula, oracle="closed form")
    prove(found, measured)
    assert np.abs(found.sum(1)).max() < 1e-12  # the pushes of one example cancel
    value = float(cross_entropy(f64(engine, z), engine.array(labels), mask))
    nll = -np.log(softmax(z)[np.arange(6), labels])
    assert abs(value - (m * nll).sum() / m.sum()) < 1e-12


@pytest.mark.equation("cross-entropy-hessian")
def test_cross_entropy_is_convex(engine, rng, prove):
    z, label = rng.normal(size=(1, 5)), engine.array(np.array([2]))
    p = softmax(z[0])
    hessian = np.diag(p) - np.outer(p, p)

    def slope(v, k):
        leaf = engine.parameter(v, dtype="float64")
        _, dz = engine.value_and_grad(lambda s: cross_entropy(s, label))(leaf)
        return engine.asnumpy(dz)[0, k]

    measured = [numerical_gradient(lambda v, k=k: slope(v, k), z)[0] for k in range(5)]
    prove(hessian, np.array(measured))
    v = rng.normal(size=(7, 5))
    along = np.einsum("ni,ij,nj->n", v, hessian, v)
    prove(along, (p * (v - v @ p[:, None]) ** 2).sum(1), oracle="closed form")
    assert along.min() > 0


@pytest.mark.equation("softmax-squared-error-grad")
def test_squared_error_of_a_softmax_gives_up(engine, rng, prove):
    z, e = rng.normal(size=4), onehot(1, 4)
    target = f64(engine, e)
    found, measured = gradient(
        engine, lambda v: engine.sum((engine.softmax(v) - target) ** 2) * 0.5, z
    )
    p = softmax(z)
    prove(found, p * ((p - e) - ((p - e) * p).sum()), oracle="closed form")
    prove(found, measured)
    wrong = np.array([20.0, 0.0, 0.0, 0.0])  # certain of class 0, true is 1
    found, _ = gradient(
        engine, lambda v: engine.sum((engine.softmax(v) - target) ** 2) * 0.5, wrong
    )
    assert np.abs(found).max() < 1e-7
    assert np.abs(softmax(wrong) - e).max() > 0.99  # where cross-entropy pushes with all its force


# --- sequences ---------------------------------------------------------------------------

LABELS = np.array([[1, 0, 2, 0], [2, 1, 0, 0], [0, 2, 1, 1]])
MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])


@pytest.mark.equation("sequence-cross-entropy", "sequence-cross-entropy-grad")
@pytest.mark.parametrize("normalize", ["tokens", "sequences"])
@pytest.mark.parametrize("masked", [False, True])
def test_sequence_cross_entropy(engine, rng, prove, normalize, masked):
    z, m = rng.normal(size=(3, 4, 3)), MASK if masked else np.ones((3, 4))
    mask = engine.array(MASK) if masked else None

    def loss(v):
        return sequence_cross_entropy(v, engine.array(LABELS), mask, normalize)

    size, total = m.sum() if normalize == "tokens" else 3, 0.0
    for n, t, k in np.ndindex(3, 4, 3):  # the three sums of the formula
        total -= m[n, t] * (LABELS[n, t] == k) * np.log(softmax(z)[n, t, k]) / size
    prove(
        engine.asnumpy(loss(f64(engine, z))), total, "closed form", label="sequence-cross-entropy"
    )
    found, measured = gradient(engine, loss, z)
    formula = m[..., None] / size * (softmax(z) - onehot(LABELS, 3))
    prove(found, formula, oracle="closed form", label="sequence-cross-entropy-grad")
    prove(found, measured, label="sequence-cross-entropy-grad")


@pytest.mark.equation("sequence-cross-entropy", "sequence-cross-entropy-grad")
def test_sequence_cross_entropy_against_torch(engine, rng, prove):
    torch = pytest.importorskip("torch")
    z = rng.normal(size=(3, 4, 3))
    leaf = torch.tensor(z, requires_grad=True)
    ignored = torch.tensor(np.where(MASK, LABELS, -100))
    theirs = torch.nn.functional.cross_entropy(leaf.flatten(0, 1), ignored.flatten())
    theirs.backward()
    value, dz = engine.value_and_grad(
        lambda v: sequence_cross_entropy(v, engine.array(LABELS), engine.array(MASK))
    )(engine.parameter(z, dtype="float64"))
    prove(engine.asnumpy(value), theirs.item(), oracle="torch", label="sequence-cross-entropy")
    prove(engine.asnumpy(dz), leaf.grad.numpy(), "torch", label="sequence-cross-entropy-grad")


@pytest.mark.equation("printed-sequence-classes")
def test_printed_sequence_loss_weighs_by_class_number(engine, rng, prove):
    z = rng.normal(size=(3, 4, 3))
    weights = f64(engine, LABELS)

    def printed(v):
        chosen = engine.pick(engine.log_softmax(v), engine.array(LABELS))
        return engine.sum(weights * chosen) * (-1 / 3)

    found, measured = gradient(engine, printed, z)
    formula = LABELS[..., None] / 3 * (softmax(z) - onehot(LABELS, 3))
    prove(found, formula, oracle="closed form")
    prove(found, measured)
    assert not found[LABELS == 0].any()  # a step of class 0 teaches nothing
    assert found[..., 0].min() >= 0 and found[..., 0].max() > 0  # its score only ever falls


@pytest.mark.equation("printed-sequence-binary")
def test_printed_sequence_loss_pushes_only_upwards(engine, rng, prove):
    z, y = rng.normal(size=(3, 4)), (LABELS == 1).astype(float)

    def printed(v):
        return engine.sum(f64(engine, y) * engine.log(engine.sigmoid(v))) * (-1 / 3)

    found, measured = gradient(engine, printed, z)
    prove(found, -y / 3 * (1 - 1 / (1 + np.exp(-z))), oracle="closed form")
    prove(found, measured)
    assert found.max() <= 0
    assert float(printed(f64(engine, np.full((3, 4), 40.0)))) < 1e-12  # "yes" to all: no loss
