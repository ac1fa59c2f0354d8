"""LSTM and GRU: values and gradients against PyTorch and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework import operators
from lepton_ref.framework.autograd import OPERATORS, value_and_grad
from lepton_ref.text.lstm import gru, lstm
from tests.numeric import numerical_gradient, relative_error
from tests.text.reference import check_against_torch, needs_torch, recurrent
from tests.text.test_rnn import SIZES


def lstm_arguments(rng, N, T, C, H):
    shapes = [(N, T, C), (N, H), (N, H), (C, 4 * H), (H, 4 * H), (4 * H,)]
    return [rng.standard_normal(shape) for shape in shapes]


def gru_arguments(rng, N, T, C, H):
    shapes = [(N, T, C), (N, H), (C, 3 * H), (H, 3 * H), (3 * H,), (3 * H,)]
    return [rng.standard_normal(shape) for shape in shapes]


def flat_lstm(x, h, c, *weights):
    outputs, (h, c) = lstm(x, (h, c), *weights)
    return outputs, h, c


@needs_torch
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_lstm_against_torch(sizes, rng):
    check_against_torch(
        flat_lstm,
        lambda x, h, c, *w: recurrent("lstm", x, [h, c], *w),
        lstm_arguments(rng, *sizes),
        rng,
    )


@needs_torch
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gru_against_torch(sizes, rng):
    check_against_torch(
        gru, lambda x, h, *w: recurrent("gru", x, [h], *w), gru_arguments(rng, *sizes), rng
    )


@pytest.mark.parametrize("operator, make", [(flat_lstm, lstm_arguments), (gru, gru_arguments)])
def test_against_finite_differences(operator, make, rng):
    values = make(rng, 2, 4, 3, 2)
    weights = [rng.standard_normal(np.shape(y)) for y in operator(*values)]

    def loss(p):
        terms = [operators.sum(y * w) for y, w in zip(operator(*p), weights)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    _, gradients = value_and_grad(loss)(values)
    expected = numerical_gradient(loss, values)
    assert max(relative_error(g, e) for g, e in zip(gradients, expected)) < 1e-7


@pytest.mark.parametrize("operator, make", [(flat_lstm, lstm_arguments), (gru, gru_arguments)])
def test_continuing_from_a_state_is_the_same_as_not_stopping(operator, make, rng):
    values = make(rng, 3, 6, 2, 4)
    x, n = values[0], len(operator(*values)) - 1  # n states
    states, weights = values[1 : 1 + n], values[1 + n :]
    whole, *last = operator(x, *states, *weights)
    first, *middle = operator(x[:, :4], *states, *weights)
    second, *end = operator(x[:, 4:], *middle, *weights)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-12)
    np.testing.assert_allclose(end, last, rtol=1e-12)


@pytest.mark.parametrize("operator, make", [(flat_lstm, lstm_arguments), (gru, gru_arguments)])
def test_float32_stays_float32_and_arguments_are_left_alone(operator, make, rng):
    values = [a.astype(np.float32) for a in make(rng, 2, 3, 4, 5)]
    before = [a.copy() for a in values]
    _, gradients = value_and_grad(lambda p: operators.sum(operator(*p)[0]))(values)
    assert all(y.dtype == np.float32 for y in operator(*values))
    assert all(g.dtype == np.float32 for g in gradients)
    assert all(np.array_equal(a, b) for a, b in zip(values, before))


def test_an_open_forget_gate_keeps_the_cell():
    """With f = 1 and i = 0 the cell is handed on unchanged through a hundred steps."""
    H = 3
    bias = np.repeat([-50.0, 50.0, 0.0, 50.0], H)
    cell = np.array([[0.5, -1.0, 2.0]])
    x = np.zeros((1, 100, 2))
    _, (h, c) = lstm(x, (np.zeros((1, H)), cell), np.zeros((2, 4 * H)), np.zeros((H, 4 * H)), bias)
    np.testing.assert_allclose(c, cell, rtol=1e-12)
    np.testing.assert_allclose(h, np.tanh(cell), rtol=1e-12)


def test_large_gates_do_not_overflow():
    x = np.full((1, 2, 1), 1e4, np.float32)
    state = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)
    weights = np.ones((1, 4), np.float32), np.ones((1, 4), np.float32), np.zeros(4, np.float32)
    with np.errstate(all="raise"):
        outputs, _ = lstm(-x, state, *weights)
        assert np.isfinite(outputs).all()


def test_the_pair_of_states_is_one_operator():
    assert OPERATORS["lstm"].__wrapped__.__name__ == "_lstm"
