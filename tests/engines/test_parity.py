"""The three engines agree, in one process, in float32: values to 1e-5, gradients to 1e-4."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import lepton_ref
import lepton_ref.engines
from lepton_ref.engines.domain import dtype_name
from tests.engines.operator_cases import CASES, SERVICES, build, differentiable
from tests.numeric import leaves, relative_error, to_numpy, tree_map

OTHERS = [name for name in lepton_ref.engines.installed() if name != "numpy"]
others = pytest.mark.parametrize("engine", OTHERS, indirect=True)


def assert_close(ours, reference, tolerance):
    """Leaf by leaf: dtype and shape alike, infinities in the same places, the rest close."""
    ours, reference = list(leaves(ours)), list(leaves(reference))
    assert [path for path, _ in ours] == [path for path, _ in reference]
    for (path, a), (_, b) in zip(ours, reference, strict=True):
        if b is None:
            assert a is None
            continue
        if not hasattr(b, "dtype"):
            assert a == b
            continue
        assert dtype_name(a) == dtype_name(b), path
        a, b = to_numpy(a), to_numpy(b)
        assert a.shape == b.shape, path
        odd = ~np.isfinite(b)
        np.testing.assert_array_equal(a[odd], b[odd])
        if b[~odd].size and abs(b[~odd]).max() > 1e-3:
            assert relative_error(a[~odd], b[~odd]) <= tolerance, path
        else:  # a gradient that is zero but for rounding has no scale of its own
            np.testing.assert_allclose(a[~odd], b[~odd], rtol=0, atol=tolerance, err_msg=path)


def run(engine, case):
    """Outputs, and gradients of a random projection of them."""
    rng = np.random.default_rng(11)
    floats, wrt, call = build(case, rng)
    arrays = [engine.array(x) for x in floats]
    out = call(engine, arrays)
    if not any(wrt):
        return out, None
    weights = [rng.standard_normal(to_numpy(y).shape) for _, y in leaves(differentiable(case, out))]

    def loss(params):
        stock = iter(params)
        values = [next(stock) if asked else x for x, asked in zip(arrays, wrt, strict=True)]
        total = None
        found = leaves(differentiable(case, call(engine, values)))
        for (_, y), w in zip(found, weights, strict=True):
            term = engine.sum(engine.multiply(y, engine.array(w)))
            total = term if total is None else engine.add(total, term)
        return total

    wanted = [engine.parameter(x) for x, asked in zip(floats, wrt, strict=True) if asked]
    return out, engine.value_and_grad(loss)(wanted)[1]


@others
@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(engine, case):
    values, gradients = run(engine, case)
    reference, reference_gradients = run(lepton_ref.engine("numpy"), case)
    assert_close(values, reference, 1e-5)
    assert_close(gradients, reference_gradients, 1e-4)


@others
@pytest.mark.parametrize("name", sorted(SERVICES))
def test_service(engine, name):
    for function in SERVICES[name]:
        assert_close(function(engine), function(lepton_ref.engine("numpy")), 1e-6)


def two_steps(E):
    """A network of every kind of layer, two steps of gradient descent on one batch."""
    rng = np.random.default_rng(5)
    images, words = E.array(rng.standard_normal((4, 1, 8, 8))), E.array(rng.integers(0, 7, (4, 5)))
    labels = E.array(rng.integers(0, 3, 4))

    def weights(*shape):
        return E.parameter(rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[:-1]))))

    params = {
        "conv": {"w": weights(4, 1, 3, 3), "b": weights(4)},
        "norm": {"gamma": E.parameter(np.ones(4)), "beta": E.parameter(np.zeros(4))},
        "up": weights(4, 2, 2, 2),
        "embedding": weights(7, 6),
        "lstm": [weights(6, 20), weights(5, 20), weights(20)],
        "gru": [weights(5, 15), weights(5, 15), weights(15), weights(15)],
        "rnn": [weights(5, 5), weights(5, 5), weights(5)],
        "layer": (E.parameter(np.ones(5)), E.parameter(np.zeros(5))),
        "out": weights(37, 3),
    }

    def loss(p):
        x = E.conv2d(images, p["conv"]["w"], p["conv"]["b"], stride=2, padding=1)  # (4, 4, 4, 4)
        x, mean, var = E.batch_norm(x, p["norm"]["gamma"], p["norm"]["beta"])
        x = E.conv_transpose2d(E.relu(x), p["up"], stride=2)  # (4, 2, 8, 8)
        x = E.avg_pool2d(E.max_pool2d(x, 3, stride=1, padding=1), 2)  # (4, 2, 4, 4)
        h = E.take(p["embedding"], words)  # (4, 5, 6)
        start = E.array(np.zeros((4, 5)))
        h, (last, _) = E.lstm(h, (start, start), *p["lstm"])
        h, _ = E.gru(h, last, *p["gru"])
        h, last = E.rnn(h, last, *p["rnn"])
        h, _ = E.attention(h, h, h, E.array(np.tri(5, dtype=bool)))
        h = E.gelu(E.layer_norm(h, *p["layer"]))
        features = E.concat([E.reshape(x, (4, 32)), E.mean(h, axis=1)], axis=1)
        return E.cross_entropy(features @ p["out"], labels), (mean, var)

    losses, statistics = [], []
    for _ in range(2):
        (value, seen), grads = E.value_and_grad(loss, has_aux=True)(params)
        losses.append(float(value))
        statistics.append(seen)
        for (_, w), (_, g) in zip(leaves(params), leaves(grads), strict=True):
            E.assign(w, E.subtract(w, E.multiply(g, 0.1)))
    return np.array(losses), statistics, params


@others
def test_two_training_steps(engine):
    reference = two_steps(lepton_ref.engine("numpy"))
    assert reference[0][1] < reference[0][0]
    losses, statistics, params = two_steps(engine)
    assert relative_error(losses, reference[0]) <= 1e-5
    assert_close(statistics, reference[1], 1e-5)
    assert_close(params, reference[2], 1e-4)


def long_recurrence(E, steps):
    rng = np.random.default_rng(1)
    w, u, x = 0.5 * rng.standard_normal((3, 3)), rng.standard_normal((1, 3)), rng.standard_normal(3)

    def loss(p):
        h = E.array(np.zeros((1, 3)))
        for _ in range(steps):
            h = E.tanh(E.add(E.matmul(h, p["w"]), E.multiply(p["u"], E.array(x))))
        return E.sum(h)

    return E.value_and_grad(loss)({"w": E.parameter(w), "u": E.parameter(u)})


def test_two_thousand_steps_do_not_recurse(engine):
    """An unrolled RNN of 2,000 steps (8,000 recorded operators) is differentiated."""
    value, grads = long_recurrence(engine, 2000)
    short = long_recurrence(lepton_ref.engine("numpy"), 400)  # the state has settled by then
    assert relative_error(value, short[0]) <= 1e-4
    assert_close(grads, short[1], 1e-3)


def heavy(E):
    rng = np.random.default_rng(2)
    x, w = E.array(rng.standard_normal((8, 3, 16, 16))), rng.standard_normal((8, 3, 3, 3))
    table, at = rng.standard_normal((20, 8)), E.array(rng.integers(0, 20, (64, 5)))
    start = E.array(np.zeros((64, 8)))

    def loss(p):
        y = E.sum(E.tanh(E.conv2d(x, p["w"], padding=1)))
        h, _ = E.rnn(E.take(p["table"], at), start, p["r"], p["r"], p["b"])
        return y + E.sum(h)

    params = {"w": w, "table": table, "r": rng.standard_normal((8, 8)), "b": np.zeros(8)}
    return E.value_and_grad(loss)({k: E.parameter(v) for k, v in params.items()})


def test_a_run_repeats_to_the_bit(engine):
    first, second = heavy(engine), heavy(engine)
    for (_, a), (_, b) in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


def test_another_thread_computes_the_same(engine):
    """MXNet's NumPy semantics belong to a thread; the engine looks after that."""
    found = {}

    def work():
        rng = np.random.default_rng(4)
        found["heavy"] = tree_map(to_numpy, heavy(engine))
        x = engine.parameter(rng.standard_normal((2, 3)))
        nothing = engine.array(np.zeros((0, 3)))

        def loss(p):
            rows = engine.concat([engine.reshape(p, (3, 2)), engine.reshape(nothing, (0, 2))])
            return engine.max(rows) + engine.sum(engine.reshape(engine.sum(rows), ()))

        found["shapes"] = tree_map(to_numpy, differentiate(loss)(x))

    differentiate = engine.value_and_grad
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(found) == {"heavy", "shapes"}
    assert_close(found["heavy"], tree_map(to_numpy, heavy(engine)), 0)
    np.testing.assert_allclose(found["shapes"][1].sum(), 7)


def test_nothing_is_stored_on_the_parameters(engine):
    w = engine.parameter(np.arange(4.0))
    before = to_numpy(w).copy()
    _, first = engine.value_and_grad(lambda p: engine.sum(p * p))(w)
    kept = to_numpy(first).copy()
    _, second = engine.value_and_grad(lambda p: engine.sum(p * p * p))(w)
    assert getattr(w, "grad", None) is None
    assert not getattr(w, "requires_grad", False)
    np.testing.assert_array_equal(to_numpy(w), before)
    np.testing.assert_array_equal(to_numpy(first), kept)  # not overwritten by the second
    np.testing.assert_allclose(to_numpy(second), 3 * before**2)


def test_a_parameter_is_a_copy(engine):
    data = np.ones(3, np.float32)
    w = engine.parameter(data)
    again = engine.parameter(w)
    engine.assign(w, 5.0)
    assert data.tolist() == [1, 1, 1]
    assert to_numpy(again).tolist() == [1, 1, 1]


def test_fixed_statistics_are_not_moved(engine):
    mean, var = engine.parameter([0.5, -1.0]), engine.parameter([2.0, 3.0])
    x, gamma = engine.parameter(np.arange(8.0).reshape(4, 2)), engine.parameter(np.ones(2))

    def loss(p):
        y, _, _ = engine.batch_norm(p["x"], p["gamma"], p["gamma"], p["mean"], p["var"])
        return engine.sum(y * y)

    params = {"x": x, "gamma": gamma, "mean": mean, "var": var}
    _, grads = engine.value_and_grad(loss)(params)
    assert to_numpy(mean).tolist() == [0.5, -1.0]
    assert to_numpy(var).tolist() == [2.0, 3.0]
    assert not to_numpy(grads["mean"]).any()
    assert not to_numpy(grads["var"]).any()


@others
def test_numpy_arrays_are_taken_as_operands(engine):
    """Labels, masks and constants may come as they are; the result is the engine's."""
    rng = np.random.default_rng(8)
    logits, labels = rng.standard_normal((4, 3)).astype(np.float32), rng.integers(0, 3, 4)
    x = engine.parameter(logits)
    reference = lepton_ref.engine("numpy")
    for name, args in {
        "cross_entropy": (labels, np.array([1.0, 0, 1, 1], np.float32)),
        "pick": (labels,),
        "multiply": (logits,),
        "add": (np.float32(0.5),),
        "matmul": (logits.T.copy(),),
    }.items():
        ours = getattr(engine, name)(x, *args)
        assert type(ours) is type(x)
        assert_close(ours, getattr(reference, name)(logits, *args), 1e-5)
    chosen = engine.where(np.array([[True], [False], [True], [True]]), x, 0.0)
    assert_close(chosen, np.where([[True], [False], [True], [True]], logits, np.float32(0)), 0)
