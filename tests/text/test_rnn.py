"""The plain recurrent network: values and gradients against PyTorch and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework import operators
from lepton_ref.framework.autograd import value_and_grad
from lepton_ref.text.rnn import rnn
from tests.numeric import numerical_gradient, relative_error
from tests.text.reference import check_against_torch, needs_torch, recurrent

# (N, T, C, H)
SIZES = [(3, 5, 4, 6), (1, 1, 1, 1), (2, 7, 1, 3), (4, 1, 3, 2), (0, 3, 2, 2)]


def arguments(rng, N, T, C, H):
    shapes = [(N, T, C), (N, H), (C, H), (H, H), (H,)]
    return [rng.standard_normal(shape) for shape in shapes]


@needs_torch
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_against_torch(sizes, rng):
    check_against_torch(
        rnn, lambda x, h, *w: recurrent("rnn", x, [h], *w), arguments(rng, *sizes), rng
    )


def test_against_finite_differences(rng):
    values = arguments(rng, 2, 4, 3, 2)
    weights = rng.standard_normal((2, 4, 2)), rng.standard_normal((2, 2))

    def loss(p):
        outputs, last = rnn(*p)
        return operators.sum(outputs * weights[0]) + operators.sum(last * weights[1])

    _, gradients = value_and_grad(loss)(values)
    expected = numerical_gradient(loss, values)
    assert max(relative_error(g, e) for g, e in zip(gradients, expected)) < 1e-7


def test_continuing_from_a_state_is_the_same_as_not_stopping(rng):
    x, state, *weights = arguments(rng, 3, 6, 2, 4)
    whole, last = rnn(x, state, *weights)
    first, middle = rnn(x[:, :4], state, *weights)
    second, end = rnn(x[:, 4:], middle, *weights)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-12)
    np.testing.assert_allclose(end, last, rtol=1e-12)


def test_float32_stays_float32(rng):
    values = [a.astype(np.float32) for a in arguments(rng, 2, 3, 4, 5)]
    outputs, last = rnn(*values)
    assert outputs.dtype == last.dtype == np.float32
    _, gradients = value_and_grad(lambda p: operators.sum(rnn(*p)[0]))(values)
    assert all(g.dtype == np.float32 for g in gradients)


def test_arguments_are_left_alone(rng):
    values = arguments(rng, 2, 3, 4, 5)
    before = [a.copy() for a in values]
    value_and_grad(lambda p: operators.sum(rnn(*p)[0]))(values)
    assert all(np.array_equal(a, b) for a, b in zip(values, before))


def test_two_thousand_steps(rng):
    x, state, *weights = arguments(rng, 1, 2000, 1, 2)
    value, (gradient,) = value_and_grad(lambda p: operators.sum(rnn(x, p[0], *weights)[1]))([state])
    assert np.isfinite(value) and gradient.shape == state.shape
