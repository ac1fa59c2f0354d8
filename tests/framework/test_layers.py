"""Proofs of the page framework/layers."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.layers import (
    GRU,
    LSTM,
    AdditiveAttention,
    AttentionPooling,
    AvgPool2d,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Embedding,
    MaxPool2d,
    MultiHeadAttention,
    Residual,
    RNNLayer,
    TransformerBlock,
    glorot_uniform,
    kaiming_normal,
    orthogonal,
)
from tests.framework.layer_tools import Fixed, f64, gradient_of, jacobian, signs
from tests.numeric import numerical_gradient

# --- dense -------------------------------------------------------------------------------


@pytest.mark.equation("layers-dense-grad")
def test_dense_gradients(engine, rng, prove):
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 5))
    layer = Dense(3, 5, rng=rng)
    dx, own = gradient_of(engine, layer, x, dy)
    w = engine.asnumpy(layer.weight)
    prove(
        {"x": dy @ w.T, "weight": x.T @ dy, "bias": dy.sum(0)},
        {"x": dx, **own},
        oracle="engine's gradient",
    )
    measured = numerical_gradient(
        lambda p: (dy * (p["x"] @ p["w"] + p["b"])).sum(), {"x": x, "w": w, "b": np.zeros(5)}
    )
    prove({"x": dx, "w": own["weight"], "b": own["bias"]}, measured)


@pytest.mark.equation("layers-printed-dense")
def test_printed_full_connection_never_mixes_inputs(engine, rng, prove):
    """The pseudo-code, run as printed: its Jacobian is diagonal."""
    x, w, b = rng.normal(size=6), 0.8, -0.1

    def full_connection(input_layer, weights, bias):
        output = []
        for input in input_layer:
            output.append(engine.tanh((weights * input) + bias))
        return output

    def printed(p):
        return engine.stack(full_connection([p[i] for i in range(6)], w, b))

    expected = np.diag(w * (1 - np.tanh(w * x + b) ** 2))
    prove(jacobian(engine, printed, x), expected, oracle="closed form")


@pytest.mark.equation("layers-dense-jacobian")
def test_dense_jacobian_is_full(engine, rng, prove):
    x = rng.normal(size=(1, 6))
    layer = Dense(6, 4, rng=rng).astype("float64")
    w, b = engine.asnumpy(layer.weight), engine.asnumpy(layer.bias)
    expected = (w * (1 - np.tanh(x @ w + b) ** 2)).T
    assert np.all(expected != 0)
    prove(jacobian(engine, lambda p: engine.tanh(layer(p)), x), expected, oracle="closed form")


# --- initial weights: the expectation over all sign patterns is exact ----------------------


@pytest.mark.equation("layers-forward-variance")
def test_forward_variance(engine, rng, prove):
    x, s = rng.normal(0.5, 1.0, size=(3, 5)), 0.7
    weights = s * signs(5, 2)  # (1024, 5, 2), independent, mean 0, variance s²
    y = engine.asnumpy(engine.matmul(f64(engine, x), f64(engine, weights)))
    prove(5 * s**2 * (x**2).mean(), (y**2).mean(), oracle="enumeration")


@pytest.mark.equation("layers-backward-variance")
def test_backward_variance(engine, rng, prove):
    dy, s = rng.normal(size=(1, 5)), 0.7
    weights = f64(engine, s * signs(2, 5))
    x = engine.parameter(np.ones((1024, 1, 2)), dtype="float64")
    _, dx = engine.value_and_grad(
        lambda p: engine.sum(engine.matmul(p, weights) * f64(engine, dy))
    )(x)
    measured = (engine.asnumpy(dx) ** 2).mean()
    prove(5 * s**2 * (dy**2).mean(), measured, oracle="enumeration")


@pytest.mark.equation("layers-glorot-uniform")
def test_glorot_limit_gives_the_wanted_variance(prove):
    import sympy

    class Limits(Fixed):
        def uniform(self, low=0.0, high=1.0, size=None):
            self.limits = low, high
            return np.zeros(size)

    w, a = sympy.symbols("w a", positive=True)
    variance = sympy.integrate(w**2 / (2 * a), (w, -a, a))
    wanted, found = [], []
    for fan_in, fan_out in [(3, 5), (784, 256), (1, 1)]:
        source = Limits(())
        glorot_uniform(source, (fan_in, fan_out), fan_in, fan_out)
        assert source.limits[0] == -source.limits[1]
        wanted.append(2 / (fan_in + fan_out))
        found.append(float(variance.subs(a, source.limits[1])))
    prove(np.array(wanted), np.array(found), oracle="sympy")


@pytest.mark.equation("layers-relu-half")
def test_relu_keeps_half(engine, rng, prove):
    x = rng.normal(0.5, 1.0, size=(3, 8))
    y = engine.matmul(f64(engine, x), f64(engine, signs(8).T))
    kept = engine.asnumpy(engine.relu(y))
    prove((kept**2).mean(), (engine.asnumpy(y) ** 2).mean() / 2, oracle="enumeration")


def signal_through_three_layers(engine, x, s):
    """E[y²] after 1, 2, 3 layers of width 2, over all 4096 choices of weights."""
    w = f64(engine, s * signs(2, 2))
    first = engine.matmul(f64(engine, x), w)  # (16, 1, 2)
    second = engine.matmul(engine.reshape(engine.relu(first), (1, 16, 1, 2)), w[:, None])
    third = engine.matmul(engine.reshape(engine.relu(second), (1, 16, 16, 1, 2)), w[:, None, None])
    return np.array([(engine.asnumpy(y) ** 2).mean() for y in (first, second, third)])


@pytest.mark.equation("layers-depth")
def test_depth_compounds_the_factor(engine, rng, prove):
    x, s = rng.normal(size=(1, 2)), 0.6
    gain = 2 * s**2
    expected = gain * (gain / 2) ** np.arange(3) * (x**2).mean()
    prove(expected, signal_through_three_layers(engine, x, s), oracle="enumeration")


@pytest.mark.equation("layers-kaiming")
def test_kaiming_keeps_the_signal(engine, rng, prove):
    x = rng.normal(size=(1, 2))
    sizes = signal_through_three_layers(engine, x, np.sqrt(2 / 2))
    prove(np.full(3, 2 * (x**2).mean()), sizes, oracle="enumeration")
    drawn = kaiming_normal(rng, (400, 500), 400)
    assert abs(drawn.var() * 400 / 2 - 1) < 0.02  # 200,000 draws: standard error 0.003


@pytest.mark.equation("layers-orthogonal")
def test_orthogonal_keeps_lengths(engine, rng, prove):
    q, h = orthogonal(rng, (6, 6)), rng.normal(size=(4, 6))
    after = engine.asnumpy(engine.matmul(f64(engine, h), f64(engine, q)))
    prove((after**2).sum(1), (h**2).sum(1), oracle="closed form")
    tall, wide = orthogonal(rng, (7, 3)), orthogonal(rng, (3, 7))
    assert np.allclose(tall.T @ tall, np.eye(3)) and np.allclose(wide @ wide.T, np.eye(3))


# --- convolution and pooling: shapes and counts --------------------------------------------


@pytest.mark.equation("layers-conv-count")
def test_convolution_count(prove, rng):
    cases = [(1, 6, (5, 5)), (3, 8, (3, 1)), (6, 16, (5, 5))]
    counted = [(c * kh * kw + 1) * o for c, o, (kh, kw) in cases]
    built = [Conv2d(c, o, k, rng=rng).num_parameters for c, o, k in cases]
    prove(np.array(counted), np.array(built), oracle="built layer", tol=0)


SIZES = [(7, 3, 1, 0), (7, 3, 2, 1), (8, 3, 2, 0), (8, 2, 3, 1), (5, 5, 1, 0), (9, 4, 4, 2)]


@pytest.mark.equation("layers-conv-size")
def test_convolution_and_pooling_sizes(engine, rng, prove):
    counted, seen = [], []
    for size, k, s, p in SIZES:
        x = engine.array(rng.normal(size=(2, 3, size, 9)))
        for layer in (
            Conv2d(3, 2, (k, 1), (s, 1), (p, 0), rng=rng),
            MaxPool2d((k, 1), (s, 1), (p, 0)) if 2 * p <= k else AvgPool2d((k, 1), (s, 1)),
        ):
            padding = layer.padding[0]
            counted.append((size + 2 * padding - k) // s + 1)
            seen.append(layer(x).shape[2])
    prove(np.array(counted), np.array(seen), oracle="output of the layer", tol=0)


@pytest.mark.equation("layers-conv-transpose-size")
def test_transposed_convolution_sizes(engine, rng, prove):
    counted, seen = [], []
    for size, k, s, p in [(4, 3, 1, 0), (4, 3, 2, 1), (5, 4, 2, 1), (3, 2, 3, 0)]:
        layer = ConvTranspose2d(3, 2, (k, 1), (s, 1), (p, 0), rng=rng)
        counted.append((size - 1) * s + k - 2 * p)
        seen.append(layer(engine.array(rng.normal(size=(2, 3, size, 2)))).shape[2])
    prove(np.array(counted), np.array(seen), oracle="output of the layer", tol=0)


# --- embedding ---------------------------------------------------------------------------


@pytest.mark.equation("layers-embedding")
def test_embedding_is_a_product_with_one_hot_rows(engine, rng, prove):
    layer, ids = Embedding(5, 3, rng=rng).astype("float64"), np.array([[4, 0], [2, 4]])
    product = np.eye(5)[ids] @ engine.asnumpy(layer.weight)
    prove(engine.asnumpy(layer(engine.array(ids))), product, oracle="closed form")


@pytest.mark.equation("embedding-vjp")
def test_embedding_gradient_collects_occurrences(engine, rng, prove):
    layer, ids = Embedding(5, 3, rng=rng), np.array([[4, 0, 4], [2, 4, 0]])
    dy = rng.normal(size=(2, 3, 3))
    layer.astype("float64")
    f = engine.value_and_grad(
        lambda p: engine.sum(layer.apply(p, engine.array(ids)) * f64(engine, dy))
    )
    _, grads = f(layer.parameters())
    expected = np.zeros((5, 3))
    for place in np.ndindex(2, 3):
        expected[ids[place]] += dy[place]
    assert not expected[1].any() and not expected[3].any()
    prove(engine.asnumpy(grads["weight"]), expected, oracle="closed form")
    w = engine.asnumpy(layer.weight)
    prove(engine.asnumpy(grads["weight"]), numerical_gradient(lambda v: (v[ids] * dy).sum(), w))


# --- recurrent, attention, residual --------------------------------------------------------


@pytest.mark.equation("layers-recurrent-count")
def test_recurrent_counts(prove, rng):
    built = [cls(5, 7, rng=rng).num_parameters for cls in (RNNLayer, LSTM)]
    counted = [gates * (5 * 7 + 7 * 7 + 7) for gates in (1, 4)]
    prove(np.array(counted), np.array(built), oracle="built layer", tol=0)
    assert GRU(5, 7, rng=rng).num_parameters == 3 * (5 * 7 + 7 * 7 + 7) + 3 * 7


@pytest.mark.equation("layers-attention-count")
def test_attention_count(prove, rng):
    built = [MultiHeadAttention(12, h, rng=rng).num_parameters for h in (1, 3)]
    prove(np.array([4 * (144 + 12)] * 2), np.array(built), oracle="built layer", tol=0)


@pytest.mark.equation("layers-attention-scale")
def test_scores_have_variance_d(engine, prove):
    d = 5
    q, k = f64(engine, signs(d)), f64(engine, signs(d))  # all pairs: independent, variance 1
    scores = engine.asnumpy(engine.matmul(q, engine.transpose(k)))
    prove(np.array([d, 1.0]), np.array([scores.var(), (scores / np.sqrt(d)).var()]), "enumeration")


@pytest.mark.equation("layers-residual-dx")
def test_residual_has_two_paths(engine, rng, prove):
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    layer = Residual(Dense(3, 3, rng=rng))
    dx, own = gradient_of(engine, layer, x, dy)
    w = engine.asnumpy(layer.body.weight)
    prove(dx, dy + dy @ w.T, oracle="closed form")
    prove(dx, numerical_gradient(lambda v: (dy * (v + v @ w)).sum(), x))
    assert lepton_ref.engine().name == engine.name and set(own) == {"body.weight", "body.bias"}


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (lambda rng: AdditiveAttention(5, 7, 3, rng=rng), (5 + 7 + 2) * 3),
        (lambda rng: AttentionPooling(6, 4, rng=rng), (6 + 2) * 4),
        (lambda rng: MultiHeadAttention(6, 2, rng=rng), 4 * 6**2 + 4 * 6),
        (lambda rng: TransformerBlock(6, 2, rng=rng), 12 * 6**2 + 13 * 6),
        (lambda rng: ConvTranspose2d(2, 3, (3, 2), rng=rng), 2 * 3 * 3 * 2 + 3),
    ],
)
def test_the_table_of_layers_counts_their_parameters(layer, count, rng):
    assert layer(rng).num_parameters == count
