"""The tape and the elementary vector-Jacobian products of the page framework/autograd."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework import autograd, operators
from lepton_ref.framework.autograd import Tensor, value_and_grad
from lepton_ref.framework.errors import ArgumentError
from tests.numeric import numerical_gradient, vjp_check


def gradients(engine, function, *arrays):
    """dL/darrays by the engine, and by finite differences, in float64."""
    params = [engine.parameter(a, dtype="float64") for a in arrays]
    _, found = engine.value_and_grad(lambda p: function(*p))(params)
    measured = numerical_gradient(
        lambda p: engine.asnumpy(function(*[engine.array(a, dtype="float64") for a in p])),
        list(arrays),
    )
    return [engine.asnumpy(g) for g in found], measured


def weighted_sum(engine, y, weights):
    return engine.sum(y * engine.array(weights, dtype="float64"))


@pytest.mark.equation("autograd-chain-rule")
def test_composition_multiplies_jacobians(engine, rng, prove):
    """The full Jacobian of exp, a matrix and tanh in a row is the product of the three."""
    x, w, u = rng.normal(size=(1, 4)), rng.normal(size=(4, 3)), rng.normal(size=(1, 3))
    f = engine.value_and_grad(
        lambda p: weighted_sum(
            engine, engine.tanh(engine.exp(p) @ engine.array(w, dtype="float64")), u
        )
    )
    _, dx = f(engine.parameter(x, dtype="float64"))
    through_tanh = np.diag(1 - np.tanh(np.exp(x) @ w)[0] ** 2)
    jacobian = through_tanh @ w.T @ np.diag(np.exp(x)[0])  # (3, 4)
    prove(engine.asnumpy(dx), u @ jacobian, oracle="closed form")


@pytest.mark.equation("autograd-fan-out")
def test_paths_add_up(engine, rng, prove):
    x = rng.normal(size=(3, 4))

    def both(p):
        shared = engine.tanh(p)
        return engine.sum(shared**2) + engine.sum(engine.exp(shared)) + engine.sum(shared)

    _, dx = engine.value_and_grad(both)(engine.parameter(x, dtype="float64"))
    t = np.tanh(x)
    prove(engine.asnumpy(dx), (2 * t + np.exp(t) + 1) * (1 - t**2), oracle="closed form")


@pytest.mark.equation("autograd-cost")
def test_one_vjp_per_recorded_operator(rng, prove):
    """Each operator between the parameters and the loss is visited once, none other is."""
    calls = []

    @autograd.op
    def counted(x):
        return 2 * x, (lambda dy: calls.append(1) or 2 * dy,)

    try:
        for depth in (1, 7, 40):
            calls.clear()

            def network(params, depth=depth):
                h = params["w"]
                for _ in range(depth):
                    h = counted(h)
                counted(h)  # recorded, but the loss does not depend on it
                return operators.sum(h)

            _, grads = value_and_grad(network)({"w": rng.normal(size=100)})
            assert grads["w"][0] == 2.0**depth
            prove(float(len(calls)), float(depth), oracle="count")
            listed = autograd.tape(network)({"w": np.ones(100)})
            assert listed == ["counted"] * depth + ["sum"]
    finally:
        del autograd.OPERATORS["counted"]


@pytest.mark.equation("elementwise-vjp")
def test_elementwise(engine, rng, prove):
    x, u = rng.uniform(0.3, 2.0, size=(2, 3, 4))
    derivatives = {
        "exp": np.exp(x), "log": 1 / x, "sqrt": 0.5 / np.sqrt(x), "abs": np.sign(x),
        "softplus": 1 / (1 + np.exp(-x)),
    }  # fmt: skip
    for name, derivative in derivatives.items():
        f = engine.value_and_grad(lambda p, n=name: weighted_sum(engine, getattr(engine, n)(p), u))
        _, dx = f(engine.parameter(x, dtype="float64"))
        prove(engine.asnumpy(dx), derivative * u, oracle="closed form")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.equation(f"{n}-vjp")) for n in ("tanh", "sigmoid", "relu")],
)
def test_activations(engine, rng, prove, name):
    x, u = rng.normal(size=(2, 5, 7))
    prove(*gradients(engine, lambda p: weighted_sum(engine, getattr(engine, name)(p), u), x))


@pytest.mark.equation("product-vjp")
def test_product(engine, rng, prove):
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    prove(*gradients(engine, lambda a, b: engine.sum(engine.sqrt((a * b) ** 2 + 1)), a, b))


@pytest.mark.equation("quotient-vjp")
def test_quotient(engine, rng, prove):
    a, b = rng.normal(size=(3, 4)), rng.uniform(0.5, 2, size=(3, 4))
    prove(*gradients(engine, lambda a, b: engine.sum(engine.tanh(a / b)), a, b))


@pytest.mark.equation("power-vjp")
def test_power(engine, rng, prove):
    x, u = rng.uniform(0.5, 2, size=(2, 3, 4))
    for exponent in (2, 3, 0.5, -1.5):
        f = engine.value_and_grad(lambda p, e=exponent: weighted_sum(engine, p**e, u))
        _, dx = f(engine.parameter(x, dtype="float64"))
        prove(engine.asnumpy(dx), exponent * x ** (exponent - 1) * u, oracle="closed form")


@pytest.mark.equation("broadcast-vjp")
@pytest.mark.parametrize(
    ("left", "right"),
    [((5, 3), (3,)), ((5, 3), (1, 3)), ((5, 1), (1, 3)), ((2, 5, 3), (5, 1)), ((1,), (4, 3))],
)
def test_broadcasting_sums_over_the_repeats(engine, rng, prove, left, right):
    a, b = rng.normal(size=left), rng.normal(size=right)
    found, measured = gradients(engine, lambda a, b: engine.sum(engine.tanh(a + b)), a, b)
    assert [g.shape for g in found] == [left, right]
    prove(found, measured)


@pytest.mark.equation("reduction-vjp")
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(engine, rng, prove, axis, keepdims):
    x = rng.normal(size=(3, 4, 2))

    def loss(p):
        return (
            engine.sum(engine.exp(engine.mean(p, axis=axis, keepdims=keepdims)))
            + engine.sum(engine.tanh(engine.sum(p, axis=axis, keepdims=keepdims)))
            + engine.sum(engine.max(p, axis=axis, keepdims=keepdims) ** 2)
        )

    prove(*gradients(engine, loss, x))


@pytest.mark.equation("reduction-vjp")
def test_ties_share_the_gradient_of_a_maximum(engine, prove):
    _, dx = engine.value_and_grad(lambda p: engine.max(p) * 6.0)(
        engine.parameter(np.array([1.0, 3.0, 3.0, 2.0, 3.0]), dtype="float64")
    )
    prove(engine.asnumpy(dx), np.array([0.0, 2, 2, 0, 2]), oracle="closed form")


@pytest.mark.equation("permutation-vjp")
def test_moved_entries_move_back(engine, rng, prove):
    x, u = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 3, 2))
    f = engine.value_and_grad(lambda p: weighted_sum(engine, engine.transpose(p, (2, 1, 0)), u))
    prove(engine.asnumpy(f(engine.parameter(x, dtype="float64"))[1]), u.transpose(2, 1, 0),
          oracle="closed form")  # fmt: skip
    wide = rng.normal(size=(4, 7))

    def moves(p):
        joined = engine.concat([engine.reshape(p, (4, 6)), engine.reshape(p, (4, 6))], axis=1)
        framed = engine.pad(joined[:, 2:7], [(0, 0), (1, 1)], value=3.0)
        return weighted_sum(engine, framed, wide) + engine.sum(engine.stack([framed, framed]) ** 2)

    prove(*gradients(engine, moves, x))


@pytest.mark.equation("matmul-vjp")
@pytest.mark.parametrize(
    ("left", "right"), [((5, 3), (3, 4)), ((2, 5, 3), (3, 4)), ((2, 5, 3), (2, 3, 4))]
)
def test_matrix_product(engine, rng, prove, left, right):
    a, b = rng.normal(size=left), rng.normal(size=right)
    u = rng.normal(size=(*left[:-1], right[-1]))
    found, measured = gradients(engine, lambda a, b: weighted_sum(engine, a @ b, u), a, b)
    prove(found, measured)
    if len(left) == 2:
        prove(found, [u @ b.T, a.T @ u], oracle="closed form")


@pytest.mark.equation("finite-difference-error")
def test_central_differences_err_by_a_sixth_of_the_third_derivative(prove):
    x, h = 0.7, 1e-3
    error = (np.sin(x + h) - np.sin(x - h)) / (2 * h) - np.cos(x)
    prove(error, h**2 / 6 * -np.cos(x), oracle="closed form", tol=1e-6)


@pytest.mark.equation("random-projection")
def test_random_projection(engine, rng, prove):
    """<u, Jv> by one finite difference equals <Jᵀu, v> by one vjp."""
    a, b = rng.normal(size=(6, 5)), rng.normal(size=(5, 4))
    prove(*vjp_check(engine, lambda a, b: engine.softmax(engine.tanh(a @ b)), (a, b), rng))


def test_random_projection_sees_one_wrong_entry(rng):
    """The check that guards every operator is itself able to fail."""
    E = lepton_ref.engine("numpy")

    @autograd.op
    def faulty(x):
        def dx(dy):
            d = dy * np.cos(x)
            d.flat[7] *= 1.01
            return d

        return np.sin(x), (dx,)

    try:
        analytic, numeric = vjp_check(E, faulty, (rng.normal(size=(4, 5)),), rng)
    finally:
        del autograd.OPERATORS["faulty"]
    assert np.max(np.abs(analytic - numeric)) > 1e-5


def test_the_network_may_change_while_it_runs(engine, rng):
    def settle(p, start):
        state, steps = engine.array(start, dtype="float64"), 0
        while float(engine.asnumpy(engine.stop_gradient(engine.max(engine.abs(state))))) > 0.1:
            state, steps = engine.tanh(state @ p["w"]), steps + 1
        return engine.sum(state**2), steps

    w = 0.5 * np.linalg.qr(rng.normal(size=(3, 3)))[0]
    seen = set()
    for scale in (0.15, 0.5, 4.0):
        start = scale * np.ones((1, 3))
        f = engine.value_and_grad(settle, has_aux=True)
        (_, steps), grads = f({"w": engine.parameter(w, dtype="float64")}, start)

        def at(p, start=start):
            return engine.asnumpy(settle({"w": engine.array(p, dtype="float64")}, start)[0])

        numeric = numerical_gradient(at, w)
        assert np.abs(numeric).max() > 1e-4
        np.testing.assert_allclose(engine.asnumpy(grads["w"]), numeric, atol=1e-8)
        seen.add(steps)
    assert len(seen) == 3


def test_a_very_deep_network_does_not_recurse(engine):
    def deep(p):
        for _ in range(2_000):
            p = engine.tanh(p * 1.001)
        return engine.sum(p)

    _, dx = engine.value_and_grad(deep)(engine.parameter(np.full(2, 0.3), dtype="float64"))
    assert np.all(engine.asnumpy(dx) > 0)


def test_an_argument_that_needs_no_gradient_costs_none():
    asked = []

    @autograd.op
    def product(a, b):
        return a * b, (
            lambda dy: asked.append("a") or dy * b,
            lambda dy: asked.append("b") or dy * a,
        )

    @autograd.op
    def joint_product(a, b):
        def vjp(dy, needs):
            asked.append(needs)
            return dy * b, None

        return a * b, vjp

    try:
        data = np.arange(3.0)
        value_and_grad(lambda p: operators.sum(product(p, data)))(np.ones(3))
        value_and_grad(lambda p: operators.sum(joint_product(p, data)))(np.ones(3))
        assert type(product(data, data)) is np.ndarray, "nothing is traced outside"
    finally:
        del autograd.OPERATORS["product"], autograd.OPERATORS["joint_product"]
    assert asked == ["a", (True, False)]


def test_several_outputs_and_unused_ones(rng):
    @autograd.op
    def halves(x):
        n = x.shape[0] // 2

        def vjp(dys, needs):
            parts = [np.zeros(n) if dy is None else dy for dy in dys]
            return (np.concatenate(parts),)

        return (x[:n], x[n:]), vjp

    try:
        x = rng.normal(size=6)
        _, dx = value_and_grad(lambda p: operators.sum(halves(p)[1] ** 2))(x)
        np.testing.assert_allclose(dx, np.r_[0, 0, 0, 2 * x[3:]])
        _, dx = value_and_grad(lambda p: operators.sum(halves(p)[0] * halves(p)[1]))(x)
        np.testing.assert_allclose(dx, np.r_[x[3:], x[:3]])
    finally:
        del autograd.OPERATORS["halves"]


def test_structure_of_the_parameters_is_kept(engine):
    params = {
        "a": engine.parameter([1.0, 2.0]),
        "deep": [engine.parameter([[3.0]]), (engine.parameter([4.0]),)],
        "unused": engine.parameter([5.0]),
    }
    value, grads = engine.value_and_grad(
        lambda p: engine.sum(p["a"] * 2.0) + engine.sum(p["deep"][0]) * engine.sum(p["deep"][1][0])
    )(params)
    assert float(value) == 6 + 12
    assert engine.asnumpy(grads["a"]).tolist() == [2, 2]
    assert engine.asnumpy(grads["deep"][0]).tolist() == [[4]]
    assert engine.asnumpy(grads["deep"][1][0]).tolist() == [3]
    assert engine.asnumpy(grads["unused"]).tolist() == [0]


def test_stop_gradient_and_no_grad(engine):
    x = engine.parameter([2.0, 3.0])

    def loss(p):
        with engine.no_grad():
            frozen = p * 10.0
        return engine.sum(p * engine.stop_gradient(p)) + engine.sum(frozen)

    value, dx = engine.value_and_grad(loss)(x)
    assert float(value) == 4 + 9 + 50
    assert engine.asnumpy(dx).tolist() == [2, 3]


def test_gradients_are_fresh_arrays(engine):
    """A second call neither adds to nor overwrites what the first returned."""
    x = engine.parameter([1.0, 2.0])
    f = engine.value_and_grad(lambda p: engine.sum(p**2))
    _, first = f(x)
    kept = engine.asnumpy(first).copy()
    engine.assign(x, engine.array([5.0, 6.0]))
    _, second = f(x)
    assert engine.asnumpy(first).tolist() == kept.tolist() == [2, 4]
    assert engine.asnumpy(second).tolist() == [10, 12]


def test_closures_are_freed_after_the_backward_pass():
    class Buffer:
        pass

    watched = []

    @autograd.op
    def keeper(x):
        buffer = Buffer()
        watched.append(weakref.ref(buffer))
        return x * 1.0, (lambda dy: (buffer, dy)[1],)

    def loss(p):
        kept = keeper(p)
        watched.append(kept)  # the tensor itself stays; what its node held must not
        return operators.sum(kept)

    try:
        value_and_grad(loss)(np.ones(10))
    finally:
        del autograd.OPERATORS["keeper"]
    gc.collect()
    assert watched[0]() is None


@pytest.mark.parametrize(
    ("function", "params", "message"),
    [
        (lambda p: p * 2.0, np.ones(3), r"result of shape \(3,\); expected a scalar"),
        (lambda p: np.float64(1.0), np.ones(3), "depends on no parameter"),
        (lambda p: operators.sum(p), np.arange(3), r"`params` has dtype int64; expected a float"),
        (lambda p: operators.sum(p["a"]), {"a": [1.0]}, r"params\['a'\]\[0\].* has dtype float"),
        (lambda p: operators.sum(p + np.ones(4)), np.ones(3), r"add: .*shapes \(3,\), \(4,\)"),
        (lambda p: operators.sum(p @ np.ones((4, 2))), np.ones((2, 3)), "`b` has shape"),
        (lambda p: operators.sum(p @ np.ones(3)), np.ones((2, 3)), "at least 2 axes"),
        (lambda p: operators.sum(p ** np.ones(3)), np.ones(3), "`exponent` has type ndarray"),
    ],
)
def test_misuse_is_named(function, params, message):
    with pytest.raises(ArgumentError, match=message):
        value_and_grad(function)(params)


def test_no_double_backward_is_said():
    inner = value_and_grad(lambda p: operators.sum(p**2))
    with pytest.raises(ArgumentError, match="no double backward"):
        value_and_grad(lambda p: operators.sum(inner(p)[1]))(np.ones(3))


def test_a_tensor_behaves_like_an_array(rng):
    seen = {}

    def loss(p):
        seen.update(shape=p.shape, ndim=p.ndim, size=p.size, dtype=p.dtype, length=len(p))
        seen["compare"] = [(p > 0).tolist(), (p >= 0).tolist(), (p < 1).tolist(), (p <= 1).tolist()]
        assert isinstance(p, Tensor) and "parameter" in repr(p)
        both = operators.sum(1.0 - p) + operators.sum(2.0 / (p + 3.0)) + operators.sum(3.0 * -p)
        assert bool(both < 1e9)
        return both + operators.sum(np.ones((2, 2)) @ p) + operators.sum(p.T[0])

    x = np.array([[0.5, -0.5], [0.0, 2.0]])
    _, dx = value_and_grad(loss)(x)
    assert (seen["shape"], seen["ndim"], seen["size"], seen["length"]) == ((2, 2), 2, 4, 2)
    assert seen["compare"][0] == [[True, False], [False, True]]
    np.testing.assert_allclose(
        dx, numerical_gradient(lambda p: float(
            (1 - p).sum() + (2 / (p + 3)).sum() - 3 * p.sum() + 2 * p.sum() + p.T[0].sum()), x),
        rtol=1e-8,
    )  # fmt: skip
