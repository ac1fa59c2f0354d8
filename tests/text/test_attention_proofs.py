"""The equations of text/attention: the look-up, both scores, gradients, masks, order, positions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lepton_ref.framework.layers import (
    AdditiveAttention,
    MultiHeadAttention,
    TransformerEncoder,
    sinusoidal_positions,
)
from tests.framework.layer_tools import f64, jacobian, signs
from tests.numeric import numerical_gradient, relative_error
from tests.text.attention_reference import (
    attention_rows,
    jacobian_of,
    multi_head,
    softmax_row,
)


def qkv(rng, T=4, S=5, d=3, e=2):
    return rng.normal(size=(T, d)), rng.normal(size=(S, d)), rng.normal(size=(S, e))


def run(engine, *arrays, mask=None):
    mask = None if mask is None else engine.array(mask)
    y, weights = engine.attention(*(f64(engine, a) for a in arrays), mask)
    return engine.asnumpy(y), engine.asnumpy(weights)


# --- the look-up --------------------------------------------------------------------------


@pytest.mark.equation("attention-sharpness", "attention-saturation")
def test_a_gap_bounds_what_the_others_get_and_the_gradient(engine, rng, prove):
    rest, bound, trace, norm, chain = [], [], [], [], []
    for size in (0.3, 1.0, 3.0, 10.0):
        z = size * rng.normal(size=6)
        ordered = np.sort(z)
        limit = 5 * math.exp(ordered[-2] - ordered[-1])
        J = jacobian(engine, engine.softmax, z)
        a = softmax_row(z)
        rest.append(1 - a.max())
        bound.append(limit)
        trace.append(np.trace(J))
        norm.append(np.linalg.norm(J, 2))
        chain.append(1 - (a**2).sum())
    rest, bound, trace, norm, chain = map(np.array, (rest, bound, trace, norm, chain))
    prove(np.minimum(rest, bound), rest, oracle="upper bound", label="attention-sharpness",
          tol=1e-12)  # fmt: skip
    here = {"label": "attention-saturation", "tol": 1e-10}
    prove(trace, chain, oracle="Jacobian", **here)
    prove(np.minimum(norm, trace), norm, oracle="upper bound", **here)
    prove(np.minimum(trace, 2 * rest), trace, oracle="upper bound", **here)
    prove(np.minimum(trace, 2 * bound), trace, oracle="upper bound", **here)
    assert norm[-1] < 0.1 * norm[0]  # and it does die


def test_the_bound_on_the_rest_is_attained_to_first_order():
    """With all others equal the rest is (S − 1) e^(−Δ) times the largest weight."""
    a = softmax_row([8.0, 0.0, 0.0, 0.0])
    assert np.isclose(1 - a[0], 3 * math.exp(-8) * a[0])


# --- additive attention ---------------------------------------------------------------------


def additive(p, q, k, v, kept):
    """Pair by pair: (T, dq), (S, dk), (S, e)."""
    z = np.array([
        [p["u"] @ np.tanh(q_t @ p["Wq"] + k_s @ p["Wk"] + p["b"]) for k_s in k] for q_t in q
    ])  # fmt: skip
    a = np.zeros_like(z)
    for t in range(len(q)):
        a[t, kept] = softmax_row(z[t, kept])
    return a @ v, a


def additive_case(rng):
    names = {"Wq": (3, 6), "Wk": (4, 6), "b": (6,), "u": (6,)}
    p = {name: rng.normal(size=shape) for name, shape in names.items()}
    q, k, v = rng.normal(size=(2, 3)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    return p, q, k, v, np.array([True, True, False, True, True])


@pytest.mark.equation("attention-additive-grad")
def test_additive_attention(engine, rng, prove):
    p, q, k, v, kept = additive_case(rng)
    layer = AdditiveAttention(3, 4, 6, rng=rng).astype("float64")
    layer.load_state({
        "query.weight": p["Wq"], "query.bias": p["b"], "key.weight": p["Wk"],
        "score": p["u"][:, None],
    })  # fmt: skip
    dy = rng.normal(size=(2, 2))

    def loss(params):
        y, _ = layer.apply(
            params["own"], params["q"], memory=params["k"], values=params["v"],
            mask=engine.array(kept[None]),
        )  # fmt: skip
        return engine.sum(y * f64(engine, dy[None]))

    params = {"own": layer.parameters()}
    params |= {n: engine.parameter(a[None], dtype="float64") for n, a in zip("qkv", (q, k, v))}
    _, grads = engine.value_and_grad(loss)(params)
    found = {n: engine.asnumpy(grads[n])[0] for n in "qkv"}
    own = {n: engine.asnumpy(g) for n, g in grads["own"].items()}

    # The page's formulas, in loops.
    y, a = additive(p, q, k, v, kept)
    da = dy @ v.T
    dz = a * (da - (a * da).sum(1, keepdims=True))
    g, du = np.zeros((2, 5, 6)), np.zeros(6)
    for t, s in itertools.product(range(2), range(5)):
        h = np.tanh(q[t] @ p["Wq"] + k[s] @ p["Wk"] + p["b"])
        g[t, s] = dz[t, s] * p["u"] * (1 - h**2)
        du += dz[t, s] * h
    formula = {
        "q": np.array([p["Wq"] @ g[t].sum(0) for t in range(2)]),
        "k": np.array([p["Wk"] @ g[:, s].sum(0) for s in range(5)]),
        "Wq": sum(np.outer(q[t], g[t].sum(0)) for t in range(2)),
        "Wk": sum(np.outer(k[s], g[:, s].sum(0)) for s in range(5)),
        "b": g.sum((0, 1)), "u": du,
    }  # fmt: skip
    ours = {
        "q": found["q"], "k": found["k"], "Wq": own["query.weight"], "Wk": own["key.weight"],
        "b": own["query.bias"], "u": own["score"][:, 0],
    }  # fmt: skip
    prove(ours, formula, oracle="nested loops", tol=1e-10)
    measured = numerical_gradient(
        lambda w: (additive(w, w["q"], w["k"], v, kept)[0] * dy).sum(), {**p, "q": q, "k": k}
    )
    prove(ours, measured)
    assert relative_error(found["v"], a.T @ dy) < 1e-10
    got, weights = layer(f64(engine, q[None]), memory=f64(engine, k[None]),
                         values=f64(engine, v[None]), mask=engine.array(kept[None]))  # fmt: skip
    assert relative_error(engine.asnumpy(got)[0], y) < 1e-10
    assert relative_error(engine.asnumpy(weights)[0], a) < 1e-10


@pytest.mark.equation("attention-additive-cost")
def test_the_hyperbolic_tangents_of_additive_attention_counted(rng, prove):
    layer = AdditiveAttention(3, 4, 6, rng=rng).astype("float64")
    counted = []

    class Counting:
        def __init__(self, E):
            self.E = E

        def __getattr__(self, name):
            return getattr(self.E, name)

        def tanh(self, x):
            counted.append(int(np.prod(x.shape)))
            return self.E.tanh(x)

    layer.E = Counting(layer.E)
    layer(rng.normal(size=(2, 5, 3)), memory=rng.normal(size=(2, 7, 4)))
    prove(float(sum(counted)), float(2 * 5 * 7 * 6), oracle="count", tol=0)


# --- scaled dot products --------------------------------------------------------------------


@pytest.mark.equation("attention-scale")
@pytest.mark.parametrize("d", [1, 2, 4])
def test_variance_of_a_dot_product_over_all_signs(engine, prove, d):
    """Entries ±1 have mean 0 and variance 1; all 4^d pairs are equally likely."""
    every = signs(d)
    dots = engine.asnumpy(engine.matmul(f64(engine, every), f64(engine, every.T)))
    assert abs(dots.mean()) < 1e-12
    prove(np.mean(dots**2), float(d), oracle="enumeration", tol=1e-12)
    prove(np.mean((dots / math.sqrt(d)) ** 2), 1.0, oracle="enumeration", tol=1e-12)


@pytest.mark.equation("attention-forward")
def test_forward(engine, rng, prove):
    arrays = qkv(rng)
    y, weights = run(engine, *arrays)
    expected = attention_rows(*arrays)
    prove([y, weights], list(expected), oracle="nested loops", tol=1e-12)


@pytest.mark.equation(
    "attention-dv", "attention-da", "attention-ds", "attention-row-sum", "attention-dq",
    "attention-dk",
)  # fmt: skip
def test_gradients(engine, rng, prove):
    """dQ, dK, dV of the operator; dA and dZ where the chain is cut there."""
    q, k, v = qkv(rng)
    dy = rng.normal(size=(4, 2))
    y, a = attention_rows(q, k, v)
    T, S, d, e = 4, 5, 3, 2
    da, dz, dv = np.zeros((T, S)), np.zeros((T, S)), np.zeros((S, e))
    dq, dk, rho = np.zeros((T, d)), np.zeros((S, d)), np.zeros(T)
    for s, c in itertools.product(range(S), range(e)):
        dv[s, c] = sum(a[t, s] * dy[t, c] for t in range(T))
    for t, s in itertools.product(range(T), range(S)):
        da[t, s] = sum(dy[t, c] * v[s, c] for c in range(e))
    for t in range(T):
        rho[t] = sum(a[t, j] * da[t, j] for j in range(S))
        for s in range(S):
            dz[t, s] = a[t, s] * (da[t, s] - rho[t])
    for t, i in itertools.product(range(T), range(d)):
        dq[t, i] = sum(dz[t, s] * k[s, i] for s in range(S)) / math.sqrt(d)
    for s, i in itertools.product(range(S), range(d)):
        dk[s, i] = sum(dz[t, s] * q[t, i] for t in range(T)) / math.sqrt(d)

    weight = f64(engine, dy)
    params = [engine.parameter(x, dtype="float64") for x in (q, k, v)]
    loss = lambda p: engine.sum(engine.attention(*p)[0] * weight)
    _, grads = engine.value_and_grad(loss)(params)
    found = [engine.asnumpy(g) for g in grads]
    measured = numerical_gradient(lambda p: (attention_rows(*p)[0] * dy).sum(), [q, k, v])
    for name, ours, formula, difference in zip("qkv", found, (dq, dk, dv), measured):
        prove(ours, formula, oracle="nested loops", label=f"attention-d{name}", tol=1e-11)
        prove(ours, difference, label=f"attention-d{name}")

    # From the weights on, and from the scores on, by the same engine's elementary operators.
    from_weights = lambda w: engine.sum(engine.matmul(w, f64(engine, v)) * weight)
    _, by_engine = engine.value_and_grad(from_weights)(engine.parameter(a, dtype="float64"))
    prove(by_engine, da, oracle="nested loops", label="attention-da", tol=1e-11)
    prove(da, numerical_gradient(lambda w: ((w @ v) * dy).sum(), a), label="attention-da")
    z = q @ k.T / math.sqrt(d)
    from_scores = lambda s: engine.sum(engine.matmul(engine.softmax(s), f64(engine, v)) * weight)
    _, by_engine = engine.value_and_grad(from_scores)(engine.parameter(z, dtype="float64"))
    prove(by_engine, dz, oracle="nested loops", label="attention-ds", tol=1e-11)
    plain = lambda s: (np.array([softmax_row(row) for row in s]) @ v * dy).sum()
    prove(dz, numerical_gradient(plain, z), label="attention-ds")
    assert np.abs(dz.sum(axis=1)).max() < 1e-12
    y_engine = run(engine, q, k, v)[0]
    prove((dy * y_engine).sum(axis=1), rho, oracle="nested loops", label="attention-row-sum",
          tol=1e-11)  # fmt: skip


def test_a_loss_on_the_weights_adds_to_their_gradient(engine, rng):
    q, k, v = qkv(rng)
    b = rng.normal(size=(4, 5))
    params = [engine.parameter(x, dtype="float64") for x in (q, k)]
    loss = lambda p: engine.sum(engine.attention(*p, f64(engine, v))[1] * f64(engine, b))
    _, grads = engine.value_and_grad(loss)(params)
    measured = numerical_gradient(lambda p: (attention_rows(*p, v)[1] * b).sum(), [q, k])
    assert max(relative_error(g, m) for g, m in zip(grads, measured)) < 1e-7


@pytest.mark.equation("attention-key-bias")
def test_the_same_vector_added_to_all_keys_changes_nothing(engine, rng, prove):
    q, k, v = qkv(rng)
    moved = run(engine, q, k + 3 * rng.normal(size=3), v)
    prove(list(moved), list(attention_rows(q, k, v)), oracle="nested loops", tol=1e-11)


# --- masks ----------------------------------------------------------------------------------


@pytest.mark.equation("attention-mask")
def test_a_mask_renormalises_over_what_is_allowed(engine, rng, prove):
    q, k, v = qkv(rng)
    mask = rng.random((4, 5)) > 0.4
    mask[1], mask[2] = False, True
    z = np.exp(q @ k.T / math.sqrt(3))
    total = (mask * z).sum(axis=1, keepdims=True)
    a = np.where(total > 0, mask * z / np.where(total > 0, total, 1), 0)
    y, weights = run(engine, q, k, v, mask=mask)
    prove([y, weights], [a @ v, a], oracle="closed form", tol=1e-12)
    assert not weights[1].any() and not y[1].any()


@pytest.mark.equation("attention-padding")
def test_padding_changes_nothing_for_the_rest(engine, rng, prove):
    q, k, v = qkv(rng, T=5)
    real = np.arange(5) < 3
    k[3:], v[3:] = 1e3, 1e3  # anything at all
    y, weights = run(engine, q, k, v, mask=real[None])
    alone = run(engine, q[:3], k[:3], v[:3])
    prove(y[:3], alone[0], oracle="the sequence alone", tol=1e-12)
    prove(weights[:3, :3], alone[1], oracle="the sequence alone", tol=1e-12)
    assert not weights[:, 3:].any()
    encoder = TransformerEncoder(4, 2, 2, rng=rng).astype("float64")
    x = rng.normal(size=(2, 5, 4))
    kept = np.array([[True] * 3 + [False] * 2, [True] * 5])
    whole = engine.asnumpy(encoder(f64(engine, x), mask=engine.array(kept))[0])
    single = engine.asnumpy(encoder(f64(engine, x[:1, :3]))[0])
    prove(whole[0, :3], single[0], oracle="the sequence alone", tol=1e-10)
    assert not whole[0, 3:].any()


@pytest.mark.equation("attention-causal")
def test_a_causal_row_is_a_function_of_what_came_before(engine, rng, prove):
    q, k, v = qkv(rng, T=5)
    y, _ = run(engine, q, k, v, mask=np.tril(np.ones((5, 5), bool)))
    steps = [attention_rows(q[t : t + 1], k[: t + 1], v[: t + 1])[0][0] for t in range(5)]
    prove(y, np.array(steps), oracle="one step at a time", tol=1e-12)
    encoder = TransformerEncoder(4, 2, 2, causal=True, rng=rng).astype("float64")
    x = rng.normal(size=(1, 5, 4))
    whole = engine.asnumpy(encoder(f64(engine, x))[0])[0]
    prefixes = [
        engine.asnumpy(encoder(f64(engine, x[:, : t + 1]))[0])[0, -1] for t in range(5)
    ]  # fmt: skip
    prove(whole, np.array(prefixes), oracle="one step at a time", tol=1e-10)


# --- heads, order, positions ------------------------------------------------------------------


@pytest.mark.equation("attention-multi-head", "attention-self-dx")
def test_heads_add_up_and_three_gradients_come_back(engine, rng, prove):
    layer = MultiHeadAttention(6, 3, rng=rng).astype("float64")
    for name, p in layer.parameters().items():
        if name.endswith("bias"):
            engine.assign(p, f64(engine, rng.normal(size=6)))
    x, dy = rng.normal(size=(2, 1, 4, 6))
    state = layer.state()
    y, weights = layer(f64(engine, x))
    summed = multi_head(state, x[0], 3)
    prove(engine.asnumpy(y)[0], summed, oracle="one head at a time", tol=1e-11,
          label="attention-multi-head")  # fmt: skip
    assert tuple(weights.shape) == (1, 3, 4, 4)

    loss = lambda x: engine.sum(layer(x)[0] * f64(engine, dy))
    _, dx = engine.value_and_grad(loss)(engine.parameter(x, dtype="float64"))
    d_heads, total = dy[0] @ state["output.weight"].T, np.zeros((4, 6))
    for head in range(3):  # eqs. attention-dv to attention-dk inside each head
        at = slice(2 * head, 2 * head + 2)
        q, k, v = (
            x[0] @ state[f"{n}.weight"][:, at] + state[f"{n}.bias"][at]
            for n in ("query", "key", "value")
        )
        a = attention_rows(q, k, v)[1]
        da = d_heads[:, at] @ v.T
        dz = a * (da - (a * da).sum(1, keepdims=True))
        for name, d in (
            ("query", dz @ k / math.sqrt(2)), ("key", dz.T @ q / math.sqrt(2)),
            ("value", a.T @ d_heads[:, at]),
        ):  # fmt: skip
            total += d @ state[f"{name}.weight"][:, at].T
    here = {"label": "attention-self-dx"}
    prove(engine.asnumpy(dx)[0], total, oracle="one head at a time", tol=1e-11, **here)
    J = jacobian_of(lambda x: multi_head(state, x, 3), x[0])
    prove(engine.asnumpy(dx)[0], (dy[0].ravel() @ J).reshape(4, 6), **here)


@pytest.mark.equation("attention-equivariance")
def test_shuffled_in_shuffled_out(engine, rng, prove):
    order = rng.permutation(6)
    x = rng.normal(size=(2, 6, 4))
    for layer in (
        MultiHeadAttention(4, 2, rng=rng), TransformerEncoder(4, 2, 3, positions=False, rng=rng),
        TransformerEncoder(4, 1, 2, positions=False, norm="post", rng=rng),
    ):  # fmt: skip
        layer.astype("float64")
        y, weights = layer(f64(engine, x))
        shuffled, their = layer(f64(engine, x[:, order]))
        prove(engine.asnumpy(shuffled), engine.asnumpy(y)[:, order], oracle="permuted input",
              tol=1e-10)  # fmt: skip
        first = weights[0] if isinstance(weights, list) else weights
        second = their[0] if isinstance(their, list) else their
        permuted = engine.asnumpy(first)[:, :, order][..., order]
        prove(engine.asnumpy(second), permuted, oracle="permuted input", tol=1e-10)
    with_places = TransformerEncoder(4, 2, 1, rng=rng).astype("float64")
    y, shuffled = (engine.asnumpy(with_places(f64(engine, a))[0]) for a in (x, x[:, order]))
    assert relative_error(shuffled, y[:, order]) > 0.05


@pytest.mark.equation("attention-position-shift")
@pytest.mark.parametrize("k", [1, 5, 37])
def test_a_shift_is_one_rotation(prove, k):
    D = 8
    p = sinusoidal_positions(80, D)
    R = np.zeros((D, D))
    for i in range(D // 2):
        angle = k * 10000 ** (-2 * i / D)
        c, s = math.cos(angle), math.sin(angle)
        R[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, s], [-s, c]]
    prove(p[k:], p[:-k] @ R.T, oracle="closed form", tol=1e-12)
    prove(R @ R.T, np.eye(D), oracle="closed form", tol=1e-12)


@pytest.mark.equation("attention-position-dot")
def test_dot_products_of_positions_see_distances_alone(prove):
    D = 8
    p = sinusoidal_positions(40, D)
    expected = [
        [sum(math.cos((t - s) * 10000 ** (-2 * i / D)) for i in range(D // 2)) for s in range(40)]
        for t in range(40)
    ]
    prove(p @ p.T, np.array(expected), oracle="closed form", tol=1e-12)
    assert np.allclose((p * p).sum(axis=1), D / 2)
