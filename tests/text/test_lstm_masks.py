"""Sequences of unequal lengths: a padded batch against a loop that runs each row by itself."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import GRU, LSTM, RNNLayer
from tests.framework.layer_tools import f64
from tests.numeric import relative_error

LENGTHS = [4, 1, 6, 0, 3]
LAYERS = [RNNLayer, LSTM, GRU]


def mask_of(lengths, T=6):
    return np.arange(T) < np.array(lengths)[:, None]


def states_of(layer, rng, n):
    """One random state per stacked layer, of NumPy arrays."""

    def one():
        return rng.normal(size=(n, layer.hidden_size))

    pair = isinstance(layer, LSTM)
    return [(one(), one()) if pair else one() for _ in range(layer.num_layers)]


def map_state(f, state):
    return [tuple(f(s) for s in one) if isinstance(one, tuple) else f(one) for one in state]


def flat(state):
    return [s for one in state for s in (one if isinstance(one, tuple) else (one,))]


def row_by_row(engine, layer, x, lengths, state):
    """Each row alone, cut to its length; an empty row keeps its state."""
    n, T, _ = x.shape
    outputs = np.zeros((n, T, layer.hidden_size))
    last = [np.array(s) for s in flat(state)]
    for i, length in enumerate(lengths):
        if length:
            own = map_state(lambda s, i=i: f64(engine, s[i : i + 1]), state)
            y, end = layer(f64(engine, x[i : i + 1, :length]), state=own)
            outputs[i, :length] = engine.asnumpy(y)[0]
            for kept, s in zip(last, flat(end), strict=True):
                kept[i] = engine.asnumpy(s)[0]
    return outputs, last


@pytest.mark.equation("lstm-last-state")
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cls", LAYERS)
def test_a_padded_batch_is_its_rows(engine, rng, prove, cls, num_layers):
    layer = cls(3, 4, num_layers=num_layers, rng=rng).astype("float64")
    x = rng.normal(size=(len(LENGTHS), 6, 3))
    state = states_of(layer, rng, len(LENGTHS))
    expected, expected_last = row_by_row(engine, layer, x, LENGTHS, state)
    outputs, last = layer(
        f64(engine, x), state=map_state(lambda s: f64(engine, s), state), mask=mask_of(LENGTHS)
    )
    assert relative_error(outputs, expected) < 1e-12
    assert not engine.asnumpy(outputs)[~mask_of(LENGTHS)].any()
    ours = [engine.asnumpy(s) for s in flat(last)]
    prove(ours, expected_last, oracle="a loop per row", tol=1e-12)


@pytest.mark.equation("lstm-frozen-cell")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_shut_gate_freezes_the_cell_exactly(engine, rng, prove, dtype):
    """Padding behind three real steps changes no bit of c, and its inputs get no gradient."""
    layer = LSTM(3, 4, rng=rng).astype(dtype)
    x = rng.normal(size=(2, 9, 3))
    mask = np.repeat([[True, False]], [3, 6], axis=1).repeat(2, axis=0)
    _, ((_, padded),) = layer(engine.array(x, dtype=dtype), mask=mask)
    _, ((_, short),) = layer(engine.array(x[:, :3], dtype=dtype), mask=np.ones((2, 3), bool))
    tol = 1e-6 if dtype == "float32" else 1e-14
    prove(engine.asnumpy(padded), engine.asnumpy(short), oracle="the row alone", tol=tol)
    _, ((_, longer),) = layer(engine.array(x[:, :5], dtype=dtype), mask=mask[:, :5])
    assert np.array_equal(engine.asnumpy(padded), engine.asnumpy(longer))

    def cells(p):
        return engine.sum(layer.apply({}, p, mask=mask)[1][0][1])

    _, dx = engine.value_and_grad(cells)(engine.parameter(x, dtype=dtype))
    assert engine.asnumpy(dx)[:, :3].any() and not engine.asnumpy(dx)[:, 3:].any()


@pytest.mark.parametrize("cls", LAYERS)
def test_gradients_are_the_sum_over_the_rows(engine, rng, cls):
    layer = cls(3, 4, num_layers=2, rng=rng).astype("float64")
    x, lengths = rng.normal(size=(5, 6, 3)), LENGTHS
    dy, dh = rng.normal(size=(5, 6, 4)), rng.normal(size=(5, 4))

    def loss(params, rows, steps, mask=None):
        y, last = layer.apply(params["own"], params["x"][rows, :steps], mask=mask)
        ends = flat(last)
        total = engine.sum(y * f64(engine, dy[rows, :steps]))
        for k, end in enumerate(ends):  # all states, the cells among them
            total = total + (k + 1) * engine.sum(end * f64(engine, dh[rows]))
        return total

    params = {"own": layer.parameters(), "x": engine.parameter(x, dtype="float64")}
    everything = slice(0, 5)
    _, ours = engine.value_and_grad(lambda p: loss(p, everything, 6, f64_mask(engine, lengths)))(
        params
    )
    total = {name: 0.0 for name in ours["own"]}
    dx = np.zeros_like(x)
    for i, length in enumerate(lengths):
        if length:
            _, one = engine.value_and_grad(lambda p, i=i, n=length: loss(p, slice(i, i + 1), n))(
                params
            )
            dx += engine.asnumpy(one["x"])
            for name, g in one["own"].items():
                total[name] = total[name] + engine.asnumpy(g)
    assert relative_error(ours["x"], dx) < 1e-11
    assert not engine.asnumpy(ours["x"])[~mask_of(lengths)].any()
    for name, g in ours["own"].items():
        assert relative_error(g, total[name]) < 1e-11, name


def f64_mask(engine, lengths):
    return engine.array(mask_of(lengths))


@pytest.mark.parametrize("cls", LAYERS)
def test_what_stands_in_the_padding_does_not_matter(engine, rng, cls):
    layer = cls(3, 4, num_layers=2, rng=rng)
    x, mask = rng.normal(size=(5, 6, 3)).astype("float32"), mask_of(LENGTHS)
    other = np.where(mask[:, :, None], x, np.float32(1e3))
    first, last = layer(engine.array(x), mask=mask)
    second, other_last = layer(engine.array(other), mask=mask)
    assert np.array_equal(engine.asnumpy(first), engine.asnumpy(second))
    for a, b in zip(flat(last), flat(other_last), strict=True):
        assert np.array_equal(engine.asnumpy(a), engine.asnumpy(b))


@pytest.mark.parametrize("cls", LAYERS)
def test_a_mask_of_ones_is_no_mask(engine, rng, cls):
    layer, x = cls(3, 4, rng=rng), engine.array(rng.normal(size=(2, 5, 3)))
    with_mask, last = layer(x, mask=np.ones((2, 5), bool))
    without, other = layer(x)
    assert np.array_equal(engine.asnumpy(with_mask), engine.asnumpy(without))
    assert all(
        np.array_equal(engine.asnumpy(a), engine.asnumpy(b))
        for a, b in zip(flat(last), flat(other))
    )


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 4), bool), r"lstm: argument `mask` has shape \(2, 4\); expected \(2, 5\)"),
        (np.ones((2, 5)), "`mask` has dtype float64; expected bool"),
        (np.array([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0]], bool), "`mask` has a gap in row 1"),
        (np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]], bool), "a gap in row 0"),
        ([[True] * 5] * 2, "`mask` has type list"),
    ],
)
def test_a_wrong_mask_is_refused(engine, rng, mask, message):
    layer, x = LSTM(3, 4, rng=rng), engine.array(rng.normal(size=(2, 5, 3)))
    with pytest.raises(ArgumentError, match=message):
        layer(x, mask=mask)
