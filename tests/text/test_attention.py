"""Attention: values and gradients against PyTorch and finite differences, and its masks."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework import operators, parallel
from lepton_ref.framework.autograd import value_and_grad
from lepton_ref.text.attention import attention
from tests.numeric import numerical_gradient, relative_error
from tests.text.reference import check_against_torch, needs_torch, torch

# (lead axes, T, S, D, E)
SIZES = [((2, 3), 4, 5, 3, 6), ((), 1, 1, 1, 1), ((2,), 3, 1, 2, 2), ((0, 2), 3, 3, 2, 2)]
MASKS = {
    "none": lambda rng, lead, T, S: None,
    "causal": lambda rng, lead, T, S: np.tril(np.ones((T, S), bool)),
    "random": lambda rng, lead, T, S: rng.random((*lead, T, S)) > 0.5,
    "keys": lambda rng, lead, T, S: np.arange(S) < max(1, S - 1),
    "nothing": lambda rng, lead, T, S: np.zeros((T, 1), bool),
}


def arguments(rng, lead, T, S, D, E):
    return [rng.standard_normal((*lead, *s)) for s in ((T, D), (S, D), (S, E))]


def in_torch(mask):
    def forward(q, k, v):
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if mask is None:
            weights = torch.softmax(scores, -1)
        else:
            allowed = torch.tensor(mask)
            weights = torch.softmax(scores.masked_fill(~allowed, -1e30), -1) * allowed
        return weights @ v, weights

    return forward


@needs_torch
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_against_torch(sizes, mask, rng):
    mask = MASKS[mask](rng, *sizes[:3])
    check_against_torch(
        lambda q, k, v: attention(q, k, v, mask), in_torch(mask), arguments(rng, *sizes), rng
    )


@needs_torch
def test_against_torch_s_own_operator(rng):
    values = arguments(rng, (2, 3), 4, 5, 3, 6)
    mask = np.tril(np.ones((4, 5), bool), 1)
    out, _ = attention(*values, mask)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, values), attn_mask=torch.tensor(mask)
    )
    np.testing.assert_allclose(out, theirs.numpy(), rtol=1e-12)


def test_against_finite_differences(rng):
    values = arguments(rng, (2,), 3, 4, 2, 3)
    mask = rng.random((3, 4)) > 0.4
    mask[0] = False
    a, b = rng.standard_normal((2, 3, 3)), rng.standard_normal((2, 3, 4))

    def loss(p):
        out, weights = attention(*p, mask)
        return operators.sum(out * a) + operators.sum(weights * b)

    _, gradients = value_and_grad(loss)(values)
    expected = numerical_gradient(loss, values)
    assert max(relative_error(g, e) for g, e in zip(gradients, expected)) < 1e-7


def test_weights_are_a_distribution_and_a_masked_row_is_zero(rng):
    q, k, v = arguments(rng, (2,), 3, 4, 2, 3)
    mask = np.ones((3, 4), bool)
    mask[1] = False
    mask[2, 3] = False
    out, weights = attention(q, k, v, mask)
    np.testing.assert_allclose(weights.sum(axis=-1), [[1, 0, 1]] * 2, atol=1e-12)
    assert not weights[:, 2, 3].any() and not out[:, 1].any()


def test_large_scores_do_not_overflow(rng):
    q, k, v = (1e3 * a.astype(np.float32) for a in arguments(rng, (2,), 3, 4, 2, 3))
    with np.errstate(over="raise", invalid="raise"):
        out, weights = attention(q, k, v)
    assert np.isfinite(out).all() and np.isfinite(weights).all()


@pytest.mark.parametrize("traced", [(0,), (1,), (2,), (0, 2)])
def test_only_some_arguments_are_traced(traced, rng):
    values = arguments(rng, (2,), 3, 4, 2, 3)
    weight = rng.standard_normal((2, 3, 3))

    def loss(chosen):
        mixed = list(values)
        for i, value in zip(traced, chosen):
            mixed[i] = value
        return operators.sum(attention(*mixed)[0] * weight)

    _, some = value_and_grad(loss)([values[i] for i in traced])
    _, every = value_and_grad(lambda p: operators.sum(attention(*p)[0] * weight))(values)
    assert all(np.array_equal(g, every[i]) for g, i in zip(some, traced))


def test_float32_stays_float32_and_arguments_are_left_alone(rng):
    values = [a.astype(np.float32) for a in arguments(rng, (2,), 3, 4, 2, 3)]
    before = [a.copy() for a in values]
    _, gradients = value_and_grad(lambda p: operators.sum(attention(*p)[0]))(values)
    assert all(y.dtype == np.float32 for y in attention(*values))
    assert all(g.dtype == np.float32 for g in gradients)
    assert all(np.array_equal(a, b) for a, b in zip(values, before))


def test_threads_change_nothing(rng, monkeypatch):
    values = arguments(rng, (5, 2), 6, 7, 4, 3)
    weight = rng.standard_normal((5, 2, 6, 3))
    run = value_and_grad(lambda p: operators.sum(attention(*p)[0] * weight))
    monkeypatch.setattr(parallel, "threads", lambda: 1)
    _, alone = run(values)
    monkeypatch.setattr(parallel, "threads", lambda: 3)
    monkeypatch.setattr(parallel, "WORTHWHILE", 0)
    _, together = run(values)
    for a, b in zip(alone, together):
        np.testing.assert_allclose(a, b, rtol=1e-12)
