"""What PyTorch computes for the operators of this chapter, in the layouts of the surface."""

from __future__ import annotations

import numpy as np
import pytest

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")


def leaf(a: np.ndarray):
    return torch.tensor(a, dtype=torch.float64, requires_grad=True)


def recurrent(kind: str, x, states, w_ih, w_hh, *biases):
    """``torch.nn.RNN``, ``LSTM`` or ``GRU`` with these weights; biases: one or two."""
    zero = torch.zeros_like(biases[0])
    flat = [w_ih.T, w_hh.T, biases[0], biases[1] if len(biases) > 1 else zero]
    states = [s[None] for s in states]
    hx = tuple(states) if kind == "lstm" else states[0]
    run = {"rnn": torch.rnn_tanh, "lstm": torch.lstm, "gru": torch.gru}[kind]
    outputs, *last = run(x, hx, flat, True, 1, 0.0, False, False, True)
    return (outputs, *[s[0] for s in last])


def check_against_torch(ours, theirs, arguments, rng, tolerance=1e-10):
    """Values of all outputs, and gradients through each subset of outputs, agree.

    ``ours`` and ``theirs`` take the list of arguments and return a tuple of outputs; a random
    projection of the outputs is differentiated with respect to every argument.
    """
    from lepton_ref.framework.autograd import value_and_grad

    expected = theirs(*[leaf(a) for a in arguments])
    got = ours(*arguments)
    assert len(got) == len(expected)
    for g, e in zip(got, expected):
        assert g.shape == tuple(e.shape)
        np.testing.assert_allclose(g, e.detach().numpy(), rtol=tolerance, atol=tolerance)

    n = len(expected)
    for kept in [{i} for i in range(n)] + [set(range(n))]:
        weights = {i: rng.standard_normal(tuple(expected[i].shape)) for i in kept}
        leaves = [leaf(a) for a in arguments]
        outputs = theirs(*leaves)
        sum((outputs[i] * torch.tensor(w)).sum() for i, w in weights.items()).backward()

        def loss(params, weights=weights):
            from lepton_ref.framework import operators

            outputs = ours(*params)
            total = 0.0
            for i, w in weights.items():
                total = operators.sum(outputs[i] * w) + total
            return total

        _, gradients = value_and_grad(loss)(list(arguments))
        for gradient, tensor in zip(gradients, leaves):
            e = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
            np.testing.assert_allclose(gradient, e, rtol=tolerance, atol=tolerance)
