"""The equations of text/attention from layer normalisation on: the block and what it costs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lepton_ref.framework.layers import LayerNorm, TransformerBlock, TransformerEncoder
from lepton_ref.text.attention import transformer_block_cost
from tests.framework.layer_tools import f64, gradient_of, jacobian
from tests.numeric import numerical_gradient, relative_error
from tests.text.attention_reference import jacobian_of, layer_norm, parts

D, F, HEADS, T = 4, 6, 2, 3


def block(rng, engine, norm, **options):
    """A block whose biases and gains are no longer zeros and ones."""
    layer = TransformerBlock(D, HEADS, F, norm=norm, rng=rng, **options).astype("float64")
    for name, p in layer.parameters().items():
        if len(p.shape) == 1:
            engine.assign(p, f64(engine, 0.5 * rng.normal(size=p.shape) + ("gamma" in name)))
    return layer


# --- layer normalisation ----------------------------------------------------------------------


@pytest.mark.equation("attention-layer-norm-jacobian")
def test_layer_norm_jacobian(engine, rng, prove):
    x, eps = rng.normal(size=5) + 1, 0.125  # exact in float32, as MXNet keeps it
    one, zero = f64(engine, np.ones(5)), f64(engine, np.zeros(5))
    found = jacobian(engine, lambda v: engine.layer_norm(v, one, zero, eps=eps), x[None])
    r = 1 / np.sqrt(x.var() + eps)
    xhat, C = r * (x - x.mean()), np.eye(5) - 1 / 5
    formula = np.array([
        [r * (C[i, j] - xhat[i] * xhat[j] / 5) for j in range(5)] for i in range(5)
    ])  # fmt: skip
    prove(found, formula, oracle="closed form", tol=1e-11)
    prove(found, jacobian_of(lambda v: layer_norm(v, np.ones(5), np.zeros(5), eps), x[None]))


@pytest.mark.equation("attention-layer-norm-dx")
def test_layer_norm_gradients(engine, rng, prove):
    layer = LayerNorm(5)
    layer.load_state({"gamma": rng.normal(size=5), "beta": rng.normal(size=5)})
    layer.astype("float64")
    state = layer.state()
    x, dy = rng.normal(size=(2, 3, 5)) + 1, rng.normal(size=(2, 3, 5))
    dx, own = gradient_of(engine, layer, x, dy)
    formula, dgamma = np.zeros_like(x), np.zeros(5)
    for index in np.ndindex(2, 3):
        row, g = x[index], state["gamma"] * dy[index]
        r = 1 / np.sqrt(row.var() + 1e-5)
        xhat = r * (row - row.mean())
        formula[index] = r * (g - g.mean() - xhat * (xhat @ g) / 5)
        dgamma += dy[index] * xhat
    found = {"x": dx, **own}
    expected = {"x": formula, "gamma": dgamma, "beta": dy.sum((0, 1))}
    prove(found, expected, oracle="closed form", tol=1e-11)
    measured = numerical_gradient(
        lambda p: (layer_norm(p["x"], p["gamma"], p["beta"]) * dy).sum(), {"x": x, **state}
    )
    prove(found, measured)


@pytest.mark.equation("attention-layer-norm-invariance")
def test_layer_norm_sees_neither_size_nor_offset(engine, rng, prove):
    x = rng.normal(size=(3, 6))
    run = lambda v: engine.asnumpy(
        engine.layer_norm(f64(engine, v), *(f64(engine, f(6)) for f in (np.ones, np.zeros)),
                          eps=1e-14)
    )  # fmt: skip
    expected = layer_norm(x, np.ones(6), np.zeros(6), 0.0)
    for alpha, c in ((3.0, 0.0), (1.0, 7.0), (0.4, -2.0)):
        prove(run(alpha * x + c), expected, oracle="transformed input", tol=1e-10)


# --- the block ----------------------------------------------------------------------------------


@pytest.mark.equation("attention-network-grad")
def test_network_gradients(engine, rng, prove):
    layer = block(rng, engine, "pre")
    names = {"W1": "expand.weight", "b1": "expand.bias", "W2": "contract.weight"}
    state, x, dy = layer.state(), rng.normal(size=(T, D)), rng.normal(size=(T, D))
    params = {n: engine.parameter(state[full], dtype="float64") for n, full in names.items()}
    params["x"] = engine.parameter(x, dtype="float64")

    def loss(p):
        hidden = engine.relu(engine.matmul(p["x"], p["W1"]) + p["b1"])
        return engine.sum(engine.matmul(hidden, p["W2"]) * f64(engine, dy))

    _, grads = engine.value_and_grad(loss)(params)
    W1, W2 = state["expand.weight"], state["contract.weight"]
    before = x @ W1 + state["expand.bias"]
    dx, dW1, dW2 = np.zeros_like(x), np.zeros_like(W1), np.zeros_like(W2)
    for t, f in itertools.product(range(T), range(F)):
        if before[t, f] > 0:
            back = dy[t] @ W2[f]
            dx[t] += back * W1[:, f]
            dW1[:, f] += back * x[t]
            dW2[f] += before[t, f] * dy[t]
    found = {n: engine.asnumpy(grads[n]) for n in ("x", "W1", "W2")}
    prove(found, {"x": dx, "W1": dW1, "W2": dW2}, oracle="nested loops", tol=1e-11)
    theirs = lambda p: (np.maximum(p["x"] @ p["W1"] + state["expand.bias"], 0) @ p["W2"] * dy).sum()
    prove(found, numerical_gradient(theirs, {"x": x, "W1": W1, "W2": W2}))


@pytest.mark.equation("attention-pre-norm-dx", "attention-post-norm-dx")
@pytest.mark.parametrize("causal", [False, True])
def test_gradient_of_a_block_from_the_jacobians_of_its_parts(engine, rng, prove, causal):
    """Jacobians of F and LN by differences of loops, put together as the page says."""
    x, dy = rng.normal(size=(T, D)), rng.normal(size=(T, D))
    seen = np.tril(np.ones((T, T), bool)) if causal else None
    for norm in ("pre", "post"):
        layer = block(rng, engine, norm, causal=causal)
        state = layer.state()
        loss = lambda v, layer=layer: engine.sum(layer(v)[0] * f64(engine, dy[None]))
        _, dx = engine.value_and_grad(loss)(engine.parameter(x[None], dtype="float64"))

        states, matrices = [x], []
        for part, normalise in parts(state, HEADS, seen):
            here = states[-1]
            if norm == "pre":
                J_N, J_F = jacobian_of(normalise, here), jacobian_of(part, normalise(here))
                matrices.append(np.eye(T * D) + J_F @ J_N)
                states.append(here + part(normalise(here)))
            else:
                J_F, summed = jacobian_of(part, here), here + part(here)
                matrices.append(jacobian_of(normalise, summed) @ (np.eye(T * D) + J_F))
                states.append(normalise(summed))
        y = engine.asnumpy(layer(f64(engine, x[None]))[0])[0]
        assert relative_error(y, states[-1]) < 1e-10  # the block is what the loops say
        composed = dy.ravel() @ matrices[1] @ matrices[0]
        prove(engine.asnumpy(dx).ravel(), composed, oracle="Jacobians of the parts",
              label=f"attention-{norm}-norm-dx")  # fmt: skip


@pytest.mark.equation("attention-pre-norm-sum")
def test_pre_norm_adds_up_what_each_part_says(engine, rng, prove):
    encoder = TransformerEncoder(D, HEADS, 3, F, positions=False, rng=rng).astype("float64")
    x, state = rng.normal(size=(T, D)), encoder.state()
    here, said = x, []
    for layer in range(3):
        for part, normalise in parts(state, HEADS, prefix=f"blocks.{layer}."):
            said.append(part(normalise(here)))
            here = here + said[-1]
    final = layer_norm(x + sum(said), state["last.gamma"], state["last.beta"])
    y = engine.asnumpy(encoder(f64(engine, x[None]))[0])[0]
    prove(y, final, oracle="nested loops", tol=1e-10)


def test_pre_norm_has_a_direct_path_for_the_gradient_and_post_norm_has_not(engine, rng):
    """The part of the gradient that arrives as it was: 1 and about 0.5^L."""
    x, dy = rng.normal(size=(2, 4, 16, 32))
    direct = {}
    for norm in ("pre", "post"):
        layers = TransformerEncoder(32, 2, 6, norm=norm, positions=False, rng=rng)
        layers.last = None
        dx, _ = gradient_of(engine, First(layers), x, dy)
        direct[norm] = (dx * dy).sum() / (dy * dy).sum()
    assert abs(direct["pre"] - 1) < 0.2 and abs(direct["post"]) < 0.1


class First:
    """An encoder's first output, for helpers that want one array."""

    def __init__(self, layer):
        self.layer = layer

    def astype(self, dtype):
        self.layer.astype(dtype)
        return self

    def parameters(self):
        return self.layer.parameters()

    def apply(self, params, x, rng=None):
        return self.layer.apply(params, x, rng)[0]


# --- what it costs ------------------------------------------------------------------------------


class Counting:
    """An engine that counts the multiplications of its matrix products."""

    def __init__(self, E):
        self.E, self.products, self.pairs, self.kept = E, 0, 0, 0

    def __getattr__(self, name):
        return getattr(self.E, name)

    def matmul(self, a, b):
        self.products += int(np.prod(a.shape)) * b.shape[-1]
        return self.E.matmul(a, b)

    def attention(self, q, k, v, mask=None):
        """Put together again from products, so that they are counted where they happen."""
        before = self.products
        z = self.matmul(q, self.E.transpose(k, (0, 1, 3, 2))) / np.sqrt(q.shape[-1])
        a = self.E.softmax(z)
        y = self.matmul(a, v)
        self.pairs += self.products - before
        self.kept += a.astype(np.float32).nbytes
        return y, a


def counted(N, T, D, heads, F, rng):
    layer = TransformerBlock(D, heads, F, rng=rng).astype("float64")
    counter = Counting(layer.E)
    for _, inner in layer.named_layers():
        inner.E = counter
    layer(rng.normal(size=(N, T, D)))
    return layer, counter


@pytest.mark.equation("attention-cost", "attention-memory", "attention-block-count")
@pytest.mark.parametrize("sizes", [(2, 5, 8, 2, 12), (1, 7, 6, 3, 5), (3, 1, 4, 1, 16)], ids=str)
def test_multiplications_bytes_and_parameters_counted(rng, prove, sizes):
    N, T, D, heads, F = sizes
    layer, counter = counted(*sizes, rng)
    cost = transformer_block_cost(*sizes)
    prove(float(cost.forward_multiply_adds), float(counter.products), oracle="count",
          label="attention-cost", tol=0)  # fmt: skip
    assert cost.pairs == counter.pairs
    prove(float(cost.weights_bytes), float(counter.kept), oracle="count",
          label="attention-memory", tol=0)  # fmt: skip
    formula = 4 * (D * D + D) + (2 * D * F + F + D) + 4 * D
    prove(float(layer.num_parameters), float(formula), oracle="count",
          label="attention-block-count", tol=0)  # fmt: skip


@pytest.mark.equation("attention-crossover")
@pytest.mark.parametrize(("D", "F"), [(2, 3), (3, 12), (4, 5)])
def test_the_length_from_which_the_pairs_cost_most(rng, prove, D, F):
    """Count block after block of growing length until the pairs cost more than the rest."""
    for T in range(1, 50):
        _, counter = counted(1, T, D, 1, F, rng)
        if counter.pairs > counter.products - counter.pairs:
            break
    prove(float(T), float(2 * D + F + 1), oracle="count", tol=0)
