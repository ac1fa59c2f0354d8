"""Every equation of the page text/lstm about gates and gradients, against loops and differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.lstm import chrono_biases, half_life, lstm_gates
from tests.framework.layer_tools import f64
from tests.numeric import numerical_gradient

LSTM_NAMES = ("x", "h0", "c0", "w_ih", "w_hh", "b")
GRU_NAMES = ("x", "h0", "w_ih", "w_hh", "b_ih", "b_hh")


def logistic(z):
    return 1 / (1 + math.exp(-z))


def lstm_arguments(rng, N=2, T=4, C=3, H=5):
    shapes = [(N, T, C), (N, H), (N, H), (C, 4 * H), (H, 4 * H), (4 * H,)]
    return dict(zip(LSTM_NAMES, (rng.standard_normal(s) for s in shapes)))


def gru_arguments(rng, N=2, T=4, C=3, H=5):
    shapes = [(N, T, C), (N, H), (C, 3 * H), (H, 3 * H), (3 * H,), (3 * H,)]
    return dict(zip(GRU_NAMES, (rng.standard_normal(s) for s in shapes)))


def pre_activation(x, h, w_ih, w_hh, column):
    """One entry of x W_ih and one of h W_hh, term by term."""
    from_x = sum(x[c] * w_ih[c, column] for c in range(len(x)))
    return from_x, sum(h[j] * w_hh[j, column] for j in range(len(h)))


def naive_lstm(x, h0, c0, w_ih, w_hh, b):
    """Gates, cells and states, one entry at a time: dict of (N, T, H)."""
    (N, T, _), H = x.shape, h0.shape[1]
    kept = {name: np.zeros((N, T, H)) for name in "ifgoch"}
    for n, t in itertools.product(range(N), range(T)):
        h = kept["h"][n, t - 1] if t else h0[n]
        c = kept["c"][n, t - 1] if t else c0[n]
        for k in range(H):
            gates = {}
            for at, name in enumerate("ifgo"):
                z = sum(pre_activation(x[n, t], h, w_ih, w_hh, at * H + k)) + b[at * H + k]
                gates[name] = math.tanh(z) if name == "g" else logistic(z)
                kept[name][n, t, k] = gates[name]
            kept["c"][n, t, k] = gates["f"] * c[k] + gates["i"] * gates["g"]
            kept["h"][n, t, k] = gates["o"] * math.tanh(kept["c"][n, t, k])
    return kept


def naive_gru(x, h0, w_ih, w_hh, b_ih, b_hh):
    (N, T, _), H = x.shape, h0.shape[1]
    states = np.zeros((N, T, H))
    for n, t in itertools.product(range(N), range(T)):
        h = states[n, t - 1] if t else h0[n]
        for k in range(H):
            a, b = {}, {}
            for at, name in enumerate("rzn"):
                from_x, from_h = pre_activation(x[n, t], h, w_ih, w_hh, at * H + k)
                a[name], b[name] = from_x + b_ih[at * H + k], from_h + b_hh[at * H + k]
            r, z = logistic(a["r"] + b["r"]), logistic(a["z"] + b["z"])
            candidate = math.tanh(a["n"] + r * b["n"])
            states[n, t, k] = (1 - z) * candidate + z * h[k]
    return states


def run_lstm(engine, p):
    y, (h, c) = engine.lstm(p["x"], (p["h0"], p["c0"]), p["w_ih"], p["w_hh"], p["b"])
    return y, h, c


def run_gru(engine, p):
    return engine.gru(*(p[name] for name in GRU_NAMES))


def gradients(engine, run, arguments, weights):
    """The engine's gradients of the outputs of ``run``, each weighted and summed."""
    params = {name: engine.parameter(v, dtype="float64") for name, v in arguments.items()}

    def loss(p):
        total = 0.0
        for y, w in zip(run(engine, p), weights):
            total = engine.sum(y * f64(engine, w)) + total
        return total

    _, grads = engine.value_and_grad(loss)(params)
    return {name: engine.asnumpy(g) for name, g in grads.items()}


def chosen(grads, names):
    return {name: grads[name] for name in names}


# --- LSTM ----------------------------------------------------------------------------------


@pytest.mark.equation("lstm-gates", "lstm-cell")
def test_lstm_forward(engine, rng, prove):
    a = lstm_arguments(rng)
    expected = naive_lstm(**a)
    y, h, c = run_lstm(engine, {name: f64(engine, v) for name, v in a.items()})
    prove(engine.asnumpy(y), expected["h"], oracle="nested loops", tol=1e-11)
    prove(engine.asnumpy(h), expected["h"][:, -1].copy(), oracle="nested loops", tol=1e-11)
    prove(engine.asnumpy(c), expected["c"][:, -1].copy(), oracle="nested loops", tol=1e-11)


@pytest.mark.equation("lstm-gates", "lstm-cell")
def test_the_gates_for_looking_at(rng, prove):
    a = lstm_arguments(rng)
    gates = lstm_gates(a["x"], (a["h0"], a["c0"]), a["w_ih"], a["w_hh"], a["b"])
    prove(gates._asdict(), naive_lstm(**a), oracle="nested loops", tol=1e-12)


@pytest.mark.equation("lstm-half-angle")
def test_half_angle(prove):
    z = np.linspace(-30, 30, 241)
    prove(0.5 * np.tanh(0.5 * z) + 0.5, np.array([logistic(v) for v in z]), "exp", tol=1e-12)


@pytest.mark.equation("lstm-dc", "lstm-dz", "lstm-back", "lstm-weights")
def test_lstm_gradients_against_differences(engine, rng, prove):
    a = lstm_arguments(rng)
    weights = [rng.standard_normal(s) for s in ((2, 4, 5), (2, 5), (2, 5))]

    def loss(a):
        kept = naive_lstm(**a)
        ends = (kept["h"], kept["h"][:, -1], kept["c"][:, -1])
        return sum((y * w).sum() for y, w in zip(ends, weights))

    ours, measured = gradients(engine, run_lstm, a, weights), numerical_gradient(loss, a)
    # b: dZ of each gate; h0 and c0: one step back, the cell with everything that flows into it.
    prove(ours["b"], measured["b"], label="lstm-dz")
    prove(ours["c0"], measured["c0"], label="lstm-dc")
    prove(chosen(ours, ("h0", "c0")), chosen(measured, ("h0", "c0")), label="lstm-back")
    names = ("w_ih", "w_hh", "b", "x")
    prove(chosen(ours, names), chosen(measured, names), label="lstm-weights")


@pytest.mark.equation("lstm-dc", "lstm-dz", "lstm-back", "lstm-weights")
def test_lstm_backward_as_the_page_says(engine, rng, prove):
    """The recursion written down, gate by gate, against the engine's gradients."""
    a, T = lstm_arguments(rng), 4
    dy, dh_end, dc_end = (rng.standard_normal(s) for s in ((2, T, 5), (2, 5), (2, 5)))
    k = naive_lstm(**a)
    dz, arriving, back = np.zeros((2, T, 20)), dc_end, dh_end
    for t in reversed(range(T)):
        i, f, g, o, c = (k[name][:, t] for name in "ifgoc")
        before = k["c"][:, t - 1] if t else a["c0"]
        dh = dy[:, t] + back
        dc = arriving + dh * o * (1 - np.tanh(c) ** 2)
        gates = (dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g**2),
                 dh * np.tanh(c) * o * (1 - o))  # fmt: skip
        dz[:, t] = np.concatenate(gates, axis=1)
        back, arriving = dz[:, t] @ a["w_hh"].T, dc * f
    hs = np.concatenate([a["h0"][:, None], k["h"][:, :-1]], axis=1)
    expected = {
        "x": dz @ a["w_ih"].T, "h0": back, "c0": arriving, "b": dz.sum(axis=(0, 1)),
        "w_ih": np.einsum("ntc,ntz->cz", a["x"], dz), "w_hh": np.einsum("nth,ntz->hz", hs, dz),
    }  # fmt: skip
    ours = gradients(engine, run_lstm, a, [dy, dh_end, dc_end])
    prove(ours, expected, oracle="recursion", tol=1e-10)


@pytest.mark.equation("lstm-carousel")
def test_without_the_detour_the_cell_s_jacobian_is_the_product_of_f(engine, rng, prove):
    a = lstm_arguments(rng, N=1, T=6)
    a["w_hh"] = np.zeros_like(a["w_hh"])
    product = naive_lstm(**a)["f"][0].prod(axis=0)
    rows = []
    for unit in np.eye(5):
        zeros = np.zeros((1, 6, 5)), np.zeros((1, 5))
        rows.append(gradients(engine, run_lstm, a, [*zeros, unit[None]])["c0"][0])
    prove(np.array(rows), np.diag(product), oracle="product of gates", tol=1e-10)


@pytest.mark.equation("lstm-half-life")
@pytest.mark.parametrize("bias", [-2.0, 0.0, 1.0, 5.0])
def test_half_life(engine, prove, bias):
    """A cell that starts at 1 with closed input: interpolate where it passes one half."""
    steps = math.ceil(half_life(bias)) + 1
    b = np.array([-1e4, bias, 0.0, 1e4])
    a = {"x": np.zeros((1, steps, 1)), "h0": np.zeros((1, 1)), "c0": np.ones((1, 1)),
         "w_ih": np.zeros((1, 4)), "w_hh": np.zeros((1, 4)), "b": b}  # fmt: skip
    y, _, _ = run_lstm(engine, {name: f64(engine, v) for name, v in a.items()})
    logs = np.log(np.arctanh(engine.asnumpy(y)[0, :, 0]))  # ln c_t falls on a straight line
    crossing = math.log(0.5) / (logs[-1] / steps)
    prove(half_life(bias), crossing, oracle="simulation", tol=1e-8)


@pytest.mark.equation("lstm-chrono")
@pytest.mark.parametrize("T", [3, 20, 100, 400])
def test_chrono(prove, rng, T):
    f = logistic(math.log(T - 1))
    prove(sum(f**d for d in range(60 * T)), float(T), oracle="series", tol=1e-10)
    biases = chrono_biases(50, T, rng).reshape(4, 50)
    seen = 1 / (1 - 1 / (1 + np.exp(-biases[1])))
    assert seen.min() >= 2 and seen.max() <= T
    assert np.array_equal(biases[0], -biases[1]) and not biases[2:].any()
    assert T < 50 or seen.max() - seen.min() > T / 2


# --- GRU -----------------------------------------------------------------------------------


@pytest.mark.equation("gru-gates", "gru-state")
def test_gru_forward(engine, rng, prove):
    a = gru_arguments(rng)
    y, last = run_gru(engine, {name: f64(engine, v) for name, v in a.items()})
    expected = naive_gru(**a)
    prove(engine.asnumpy(y), expected, oracle="nested loops", tol=1e-11)
    prove(engine.asnumpy(last), expected[:, -1].copy(), oracle="nested loops", tol=1e-11)


@pytest.mark.equation("gru-bounded")
def test_a_gru_cannot_run_away(engine, rng, prove):
    """Large weights, long sequences; the state never passes the larger of 1 and where it began."""
    a = gru_arguments(rng, T=60)
    a |= {name: 5 * a[name] for name in ("x", "w_ih", "w_hh")}
    y, _ = run_gru(engine, {name: f64(engine, v) for name, v in a.items()})
    y = np.abs(engine.asnumpy(y))
    bound = np.maximum(1, np.abs(a["h0"]))[:, None]
    prove(np.maximum(y / bound, 1.0), np.ones((2, 60, 5)), oracle="bound", tol=1e-12)
    assert y.max() > 0.99  # it comes close


@pytest.mark.equation("gru-dz", "gru-back", "gru-weights")
def test_gru_gradients_against_differences(engine, rng, prove):
    a = gru_arguments(rng)
    weights = [rng.standard_normal(s) for s in ((2, 4, 5), (2, 5))]

    def loss(a):
        states = naive_gru(**a)
        return (states * weights[0]).sum() + (states[:, -1] * weights[1]).sum()

    ours, measured = gradients(engine, run_gru, a, weights), numerical_gradient(loss, a)
    prove(chosen(ours, ("b_ih", "b_hh")), chosen(measured, ("b_ih", "b_hh")), label="gru-dz")
    prove(ours["h0"], measured["h0"], label="gru-back")
    prove(ours, measured, label="gru-weights")


@pytest.mark.equation("gru-dz", "gru-back", "gru-weights")
def test_gru_backward_as_the_page_says(engine, rng, prove):
    a, T, H = gru_arguments(rng), 4, 5
    dy, dh_end = rng.standard_normal((2, T, H)), rng.standard_normal((2, H))
    hs = np.concatenate([a["h0"][:, None], naive_gru(**a)], axis=1)
    A, B = a["x"] @ a["w_ih"] + a["b_ih"], hs[:, :-1] @ a["w_hh"] + a["b_hh"]
    dA, dB, back = np.zeros((2, T, 3 * H)), np.zeros((2, T, 3 * H)), dh_end
    for t in reversed(range(T)):
        (ar, az, an), (br, bz, bn) = (np.split(m[:, t], 3, axis=1) for m in (A, B))
        r, z = 1 / (1 + np.exp(-ar - br)), 1 / (1 + np.exp(-az - bz))
        n = np.tanh(an + r * bn)
        dh = dy[:, t] + back
        dn = dh * (1 - z) * (1 - n**2)
        dr, du = dn * bn * r * (1 - r), dh * (hs[:, t] - n) * z * (1 - z)
        dA[:, t] = np.concatenate([dr, du, dn], axis=1)
        dB[:, t] = np.concatenate([dr, du, dn * r], axis=1)
        back = dh * z + dB[:, t] @ a["w_hh"].T
    expected = {
        "x": dA @ a["w_ih"].T, "h0": back,
        "w_ih": np.einsum("ntc,nta->ca", a["x"], dA), "b_ih": dA.sum(axis=(0, 1)),
        "w_hh": np.einsum("nth,nta->ha", hs[:, :-1], dB), "b_hh": dB.sum(axis=(0, 1)),
    }  # fmt: skip
    ours = gradients(engine, run_gru, a, [dy, dh_end])
    prove(ours, expected, oracle="recursion", tol=1e-10)


@pytest.mark.parametrize("wanted", [("x",), ("h0",), ("x", "h0"), ("w_hh",)])
@pytest.mark.parametrize(("run", "make"), [(run_lstm, lstm_arguments), (run_gru, gru_arguments)])
def test_a_gradient_does_not_depend_on_which_others_are_asked_for(engine, rng, run, make, wanted):
    a, dy = make(rng), rng.standard_normal((2, 4, 5))
    everything = gradients(engine, run, a, [dy])
    fixed = {name: f64(engine, v) for name, v in a.items()}
    some = gradients(engine, lambda e, p: run(e, {**fixed, **p}), chosen(a, wanted), [dy])
    for name, g in some.items():
        np.testing.assert_allclose(g, everything[name], rtol=1e-9, atol=1e-12)


def test_wrong_arguments_are_named(rng):
    with pytest.raises(ArgumentError, match="`longest` has the value 2"):
        chrono_biases(4, 2, rng)
