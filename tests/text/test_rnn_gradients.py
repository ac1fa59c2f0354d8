"""Every equation of the page text/rnn about states and gradients, against loops and differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.rnn import gradient_by_distance, reach, spectral_radius, state_jacobians
from tests.framework.layer_tools import f64
from tests.numeric import numerical_gradient

NAMES = ("x", "h0", "w_ih", "w_hh", "b")


def arguments(rng, N=2, T=5, C=3, H=4, scale=1.0):
    shapes = [(N, T, C), (N, H), (C, H), (H, H), (H,)]
    return dict(zip(NAMES, (scale * rng.standard_normal(s) for s in shapes)))


def naive_states(x, h0, w_ih, w_hh, b):
    """One entry of one state at a time."""
    N, T, C = x.shape
    H = h0.shape[1]
    states = np.zeros((N, T, H))
    for n, t, i in itertools.product(range(N), range(T), range(H)):
        before = states[n, t - 1] if t else h0[n]
        z = b[i]
        for c in range(C):
            z += x[n, t, c] * w_ih[c, i]
        for j in range(H):
            z += before[j] * w_hh[j, i]
        states[n, t, i] = math.tanh(z)
    return states


def gradients(engine, a, dy, dh):
    """The engine's, of sum(dy * outputs) + sum(dh * last)."""
    params = {name: engine.parameter(v, dtype="float64") for name, v in a.items()}

    def loss(p):
        y, last = engine.rnn(*(p[name] for name in NAMES))
        return engine.sum(y * f64(engine, dy)) + engine.sum(last * f64(engine, dh))

    _, grads = engine.value_and_grad(loss)(params)
    return {name: engine.asnumpy(g) for name, g in grads.items()}


@pytest.mark.equation("rnn-forward")
def test_forward(engine, rng, prove):
    a = arguments(rng)
    y, last = engine.rnn(*(f64(engine, a[name]) for name in NAMES))
    expected = naive_states(**a)
    prove(engine.asnumpy(y), expected, oracle="nested loops", tol=1e-12)
    prove(engine.asnumpy(last), expected[:, -1].copy(), oracle="nested loops", tol=1e-12)


@pytest.mark.equation("rnn-joint")
def test_one_matrix_for_input_and_state(engine, rng, prove):
    a = arguments(rng, T=1)
    y, _ = engine.rnn(*(f64(engine, a[name]) for name in NAMES))
    side_by_side = np.concatenate([a["x"][:, 0], a["h0"]], axis=1)
    stacked = np.concatenate([a["w_ih"], a["w_hh"]], axis=0)
    z = side_by_side @ stacked + a["b"]
    prove(np.arctanh(engine.asnumpy(y)[:, 0]), z, oracle="block product", tol=1e-9)


@pytest.mark.equation("rnn-dz", "rnn-weights", "rnn-dx")
def test_gradients_against_differences(engine, rng, prove):
    a, dy, dh = arguments(rng), rng.standard_normal((2, 5, 4)), rng.standard_normal((2, 4))

    def loss(a):
        states = naive_states(**a)
        return (states * dy).sum() + (states[:, -1] * dh).sum()

    ours, measured = gradients(engine, a, dy, dh), numerical_gradient(loss, a)
    # db is the sum of dZ_t alone: what the recursion of dZ gives, before any weight takes part.
    prove(ours["b"], measured["b"], label="rnn-dz")
    prove({n: ours[n] for n in ("w_ih", "w_hh", "b")},
          {n: measured[n] for n in ("w_ih", "w_hh", "b")}, label="rnn-weights")  # fmt: skip
    prove({n: ours[n] for n in ("x", "h0")}, {n: measured[n] for n in ("x", "h0")}, label="rnn-dx")


@pytest.mark.equation("rnn-dz")
def test_the_recursion_step_by_step(engine, rng, prove):
    """dZ_t written down, against the engine's gradient of an offset added at each step."""
    a, dy = arguments(rng), rng.standard_normal((2, 5, 4))
    states = naive_states(**a)
    dz, after = np.zeros((2, 5, 4)), np.zeros((2, 4))
    for t in reversed(range(5)):
        dz[:, t] = (dy[:, t] + after @ a["w_hh"].T) * (1 - states[:, t] ** 2)
        after = dz[:, t]
    # With W_ih = 1 and inputs of size H, x_t is an offset of z_t, and its gradient is dZ_t.
    offsets = {**a, "x": a["x"] @ a["w_ih"], "w_ih": np.eye(4)}
    prove(gradients(engine, offsets, dy, np.zeros((2, 4)))["x"], dz, oracle="recursion", tol=1e-12)


@pytest.mark.parametrize("wanted", [("x",), ("h0",), ("x", "h0"), ("w_hh",), ("x", "b")])
def test_a_gradient_does_not_depend_on_which_others_are_asked_for(engine, rng, wanted):
    """MXNet's kernel gets the input wrong where the weights want nothing; the engine must not."""
    a, dy = arguments(rng), rng.standard_normal((2, 5, 4))
    everything = gradients(engine, a, dy, np.zeros((2, 4)))
    fixed = {name: f64(engine, v) for name, v in a.items()}

    def loss(p):
        p = {**fixed, **p}
        return engine.sum(engine.rnn(*(p[name] for name in NAMES))[0] * f64(engine, dy))

    params = {name: engine.parameter(a[name], dtype="float64") for name in wanted}
    for name, g in engine.value_and_grad(loss)(params)[1].items():
        np.testing.assert_allclose(engine.asnumpy(g), everything[name], rtol=1e-9, atol=1e-12)


@pytest.mark.equation("rnn-jacobian")
def test_jacobian_of_one_step(engine, rng, prove):
    """J[i, j] = ∂h_t[i] / ∂h_(t−1)[j], entry by entry."""
    a = arguments(rng, N=1, T=1)
    y, _ = engine.rnn(*(f64(engine, a[name]) for name in NAMES))
    ours = state_jacobians(engine.asnumpy(y), a["w_hh"])[0, 0]

    def entry(h0, i):
        return naive_states(**{**a, "h0": h0})[0, 0, i]

    rows = [numerical_gradient(lambda h, i=i: entry(h, i), a["h0"])[0] for i in range(4)]
    prove(ours, np.array(rows))


def pairs(a, dy, keep):
    """The double sum over k <= t, one product of Jacobians at a time, for W_hh."""
    states = naive_states(**a)
    N, T, H = states.shape
    total = np.zeros((H, H))
    for n, t in itertools.product(range(N), range(T)):
        for k in range(t + 1):
            if not keep(k, t):
                continue
            error = dy[n, t]
            for step in range(t, k, -1):
                error = error @ (np.diag(1 - states[n, step] ** 2) @ a["w_hh"].T)
            before = states[n, k - 1] if k else a["h0"][n]
            total += np.outer(before, error * (1 - states[n, k] ** 2))
    return total


@pytest.mark.equation("rnn-bptt")
def test_the_double_sum_is_the_gradient(engine, rng, prove):
    a, dy = arguments(rng, T=6), rng.standard_normal((2, 6, 4))
    ours = gradients(engine, a, dy, np.zeros((2, 4)))["w_hh"]
    prove(ours, pairs(a, dy, lambda k, t: True), oracle="double sum", tol=1e-11)


@pytest.mark.parametrize("window", [None, 1, 2, 3, 4, 9])
def test_gradient_by_distance_sorts_the_pairs(rng, window):
    a, dy = arguments(rng, T=7), rng.standard_normal((2, 7, 4))
    terms = gradient_by_distance(naive_states(**a), a["h0"], a["w_hh"], dy, window)
    assert terms.shape == (7, 4, 4)
    for d in range(7):

        def keep(k, t, d=d):
            return t - k == d and (window is None or k // window == t // window)

        np.testing.assert_allclose(terms[d], pairs(a, dy, keep), rtol=1e-10, atol=1e-12)


@pytest.mark.equation("rnn-truncated")
@pytest.mark.parametrize("window", [1, 2, 4])
def test_windows_with_a_detached_state(engine, rng, prove, window):
    """Window after window through the engine, the state handed on as a constant."""
    a, dy = arguments(rng, T=8), rng.standard_normal((2, 8, 4))
    total, state = np.zeros((4, 4)), a["h0"]
    for begin in range(0, 8, window):
        cut = slice(begin, begin + window)
        part = {**a, "x": a["x"][:, cut], "h0": state}
        total += gradients(engine, part, dy[:, cut], np.zeros((2, 4)))["w_hh"]
        state = naive_states(**part)[:, -1]
    inside = pairs(a, dy, lambda k, t: k // window == t // window)
    prove(total, inside, oracle="double sum", tol=1e-11)


@pytest.mark.equation("rnn-pairs")
@pytest.mark.parametrize(("T", "window"), [(12, 3), (20, 20), (30, 1), (64, 16)])
def test_pairs_that_remain(prove, T, window):
    counted = sum(k // window == t // window for t in range(T) for k in range(t + 1))
    prove(T * (window + 1) / 2, float(counted), oracle="count", tol=0)
    prove(T * (T + 1) / 2, float(sum(1 for t in range(T) for k in range(t + 1))),
          oracle="count", tol=0)  # fmt: skip


@pytest.mark.equation("rnn-norm-bound")
@pytest.mark.parametrize("scale", [0.2, 0.6, 1.2])
def test_no_product_passes_the_bound(engine, rng, prove, scale):
    """The larger of norm and bound is the bound, at every distance."""
    a = arguments(rng, N=3, T=12, H=5)
    a["w_hh"] = scale * rng.standard_normal((5, 5))
    y, _ = engine.rnn(*(f64(engine, a[name]) for name in NAMES))
    states = engine.asnumpy(y)
    products = reach(states, a["w_hh"])  # (3, 13)
    gamma, norm = (1 - states**2).max(), np.linalg.svd(a["w_hh"], compute_uv=False)[0]
    bound = np.array([(gamma * norm) ** d for d in range(13)])
    prove(np.maximum(products / bound, 1.0), np.ones((3, 13)), oracle="bound", tol=1e-12)
    step_by_step = np.ones((3, 13))
    for n, d in itertools.product(range(3), range(1, 13)):
        product = np.eye(5)
        for t in range(11, 11 - d, -1):
            product = product @ np.diag(1 - states[n, t] ** 2) @ a["w_hh"].T
        step_by_step[n, d] = np.linalg.svd(product, compute_uv=False)[0]
    prove(products, step_by_step, oracle="singular values", tol=1e-10)


@pytest.mark.equation("rnn-norm-bound")
def test_the_bound_is_reached(prove, rng):
    """An orthogonal matrix and states of zero: nothing is lost, and the bound says so."""
    q, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    products = reach(np.zeros((1, 30, 4)), 0.9 * q)[0]
    prove(products, 0.9 ** np.arange(31), oracle="closed form", tol=1e-12)


@pytest.mark.equation("rnn-spectral-radius")
def test_the_radius_rules_in_the_long_run(prove, rng):
    """‖W^d‖^(1/d) for d = 2^24, by squaring with the scale kept apart."""
    w = rng.standard_normal((5, 5))
    power, log_scale, d = w.copy(), 0.0, 1
    for _ in range(24):
        power, log_scale, d = power @ power, 2 * log_scale, 2 * d
        size = np.abs(power).max()
        power, log_scale = power / size, log_scale + math.log(size)
    rate = math.exp((math.log(np.linalg.norm(power, 2)) + log_scale) / d)
    prove(spectral_radius(w), rate, oracle="powers", tol=1e-6)
    norm = float(np.linalg.svd(w, compute_uv=False)[0])
    prove(max(norm, spectral_radius(w)), math.sqrt(np.linalg.eigvalsh(w.T @ w).max()),
          oracle="bound", tol=1e-12)  # fmt: skip


@pytest.mark.equation("rnn-truncation-tail")
def test_what_truncation_drops_is_below_the_tail(prove, rng):
    H, T = 4, 30
    a = arguments(rng, N=1, T=T, H=H)
    a["w_hh"] *= 0.8 / np.linalg.norm(a["w_hh"], 2)
    a["h0"] = np.tanh(a["h0"])
    states, dy = naive_states(**a), rng.standard_normal((1, T, H))
    terms = gradient_by_distance(states, a["h0"], a["w_hh"], dy)
    q = (1 - states**2).max() * np.linalg.norm(a["w_hh"], 2)
    assert q < 1
    total = np.linalg.norm(dy[0], axis=1).sum()
    dropped = np.array([np.linalg.norm(terms[tau:].sum(axis=0)) for tau in range(1, T)])
    tail = np.array([math.sqrt(H) * q**tau / (1 - q) * total for tau in range(1, T)])
    assert (dropped > 0).all()
    prove(np.maximum(dropped / tail, 1.0), np.ones(T - 1), oracle="bound", tol=1e-12)
    direct = pairs(a, dy, lambda k, t: t - k >= 10)
    prove(terms[10:].sum(axis=0), direct, oracle="double sum", tol=1e-10)


def test_a_norm_above_one_may_still_vanish():
    """The matrix of the exercise: amplifies for a while, then forgets."""
    w = np.array([[0.9, 2.0], [0.0, 0.9]])
    products = reach(np.zeros((1, 150, 2)), w)[0]
    assert products.max() > 7 and products[-1] < 1e-3
    assert spectral_radius(w) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral_radius(np.ones((2, 3))), r"`w` has shape \(2, 3\)"),
        (lambda: spectral_radius(np.ones((0, 0))), "H >= 1"),
        (lambda: state_jacobians(np.ones((1, 2, 3)), np.ones((2, 2))), "`w_hh` has shape"),
        (lambda: gradient_by_distance(np.ones((1, 2, 3)), np.ones((1, 3)), np.ones((3, 3)),
                                      np.ones((1, 2, 3)), 0), "`window` has the value 0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_the_printed_listing_and_its_mending(rng):
    """As printed it stops at once; end to end and multiplied, it is the layer."""
    activation_function = np.tanh

    def unit(input, state, weights, bias):
        return activation_function((weights * [state, input]) + bias)

    def forward_pass(input_sequence, weights, bias):
        states = []
        for input in input_sequence:
            state = unit(input, state, weights, bias)  # noqa: F821
            states.append(state)
        return states

    x, h, bias = rng.normal(size=(4, 3)), np.zeros(5), rng.normal(size=5)
    weights = rng.normal(size=(8, 5))
    with pytest.raises(UnboundLocalError):
        forward_pass(x, weights, bias)
    with pytest.raises(ValueError, match="inhomogeneous"):
        unit(x[0], h, weights, bias)

    states = []
    for step in x:
        h = np.tanh(np.concatenate([step, h]) @ weights + bias)
        states.append(h)
    E = lepton_ref.engine("numpy")
    layer, _ = E.rnn(x[None], np.zeros((1, 5)), weights[:3], weights[3:], bias)
    np.testing.assert_allclose(layer[0], states, rtol=1e-12)
