"""Convolution and pooling against PyTorch in float64: strides, padding, odd sizes, threads."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework import operators, parallel
from lepton_ref.framework.autograd import value_and_grad
from lepton_ref.vision import convolution
from lepton_ref.vision.convolution import col2im, im2col, output_size, pair

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")

# N, C, O, H, W, kernel, stride, padding
CASES = [
    (2, 3, 4, 7, 6, (3, 3), 1, 1),
    (2, 3, 4, 7, 6, (3, 2), 2, (1, 0)),
    (1, 1, 1, 5, 5, (5, 5), 1, 0),
    (3, 2, 5, 8, 9, (1, 3), (2, 3), (0, 1)),
    (0, 2, 3, 5, 5, (3, 3), 1, 1),
    (2, 1, 2, 1, 1, (1, 1), 1, 0),
    (1, 2, 2, 1, 4, (3, 3), 1, 1),
    (2, 2, 3, 6, 6, (2, 2), 3, 1),
    (40, 3, 4, 12, 11, (3, 3), 2, 1),
]


def agree(ours, theirs, *arrays, rng):
    """Value and all gradients of a random projection."""
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*tensors)
    weight = rng.standard_normal(tuple(expected.shape))
    (expected * torch.tensor(weight)).sum().backward()
    value = ours(*arrays)
    assert value.shape == tuple(expected.shape)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-11, atol=1e-11)
    _, gradients = value_and_grad(lambda p: operators.sum(ours(*p) * weight))(list(arrays))
    for gradient, tensor in zip(gradients, tensors):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-11, atol=1e-11)


@needs_torch
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv2d(case, bias, rng):
    N, C, O, H, W, kernel, stride, padding = case
    arrays = [rng.standard_normal((N, C, H, W)), rng.standard_normal((O, C, *kernel))]
    arrays += [rng.standard_normal(O)] if bias else []
    agree(
        lambda x, w, b=None: convolution.conv2d(x, w, b, stride, padding),
        lambda x, w, b=None: F.conv2d(x, w, b, stride, padding),
        *arrays,
        rng=rng,
    )


@needs_torch
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv_transpose2d(case, bias, rng):
    N, C, O, H, W, kernel, stride, padding = case
    arrays = [rng.standard_normal((N, C, H, W)), rng.standard_normal((C, O, *kernel))]
    arrays += [rng.standard_normal(O)] if bias else []
    agree(
        lambda x, w, b=None: convolution.conv_transpose2d(x, w, b, stride, padding),
        lambda x, w, b=None: F.conv_transpose2d(x, w, b, stride, padding),
        *arrays,
        rng=rng,
    )


@needs_torch
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("stride", [None, 1, (2, 3)])
@pytest.mark.parametrize("kind", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_pooling(case, kind, stride, ties, rng):
    N, C, _, H, W, kernel, _, padding = case
    padding = tuple(min(p, k // 2) for p, k in zip(pair(padding), kernel))
    if any(k > n + 2 * p for k, n, p in zip(kernel, (H, W), padding)):
        pytest.skip("the kernel does not fit")
    x = rng.standard_normal((N, C, H, W))
    x = np.round(x) if ties else x
    agree(
        lambda x: getattr(convolution, kind)(x, kernel, stride, padding),
        lambda x: getattr(F, kind)(x, kernel, stride, padding),
        x,
        rng=rng,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_im2col_by_its_definition(case, rng):
    N, C, _, H, W, (kh, kw), stride, padding = case
    x = rng.standard_normal((N, C, H, W))
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    Ho, Wo = output_size(x.shape, (kh, kw), stride, padding)
    expected = np.zeros((N, C, kh, kw, Ho, Wo))
    for c, i, j, u, v in np.ndindex(C, kh, kw, Ho, Wo):
        row, column = u * sh + i - ph, v * sw + j - pw
        if 0 <= row < H and 0 <= column < W:
            expected[:, c, i, j, u, v] = x[:, c, row, column]
    found = im2col(x, (kh, kw), stride, padding)
    assert np.array_equal(found, expected.reshape(N, C * kh * kw, Ho * Wo))


@pytest.mark.parametrize("case", CASES[:4] + CASES[6:], ids=str)
def test_col2im_is_the_transpose_of_im2col(case, rng):
    N, C, _, H, W, kernel, stride, padding = case
    x = rng.standard_normal((N, C, H, W))
    cols = im2col(x, kernel, stride, padding)
    d = rng.standard_normal(cols.shape)
    back = col2im(d, x.shape, kernel, stride, padding)
    assert np.isclose(np.vdot(cols, d), np.vdot(x, back), rtol=1e-12)


@pytest.mark.parametrize(
    "operator, shapes",
    [
        ("conv2d", [(7, 2, 9, 8), (3, 2, 3, 3), (3,)]),
        ("conv_transpose2d", [(7, 2, 5, 4), (2, 3, 3, 3), (3,)]),
        ("max_pool2d", [(7, 2, 9, 8)]),
        ("avg_pool2d", [(7, 2, 9, 8)]),
    ],
)
def test_threads_and_small_pieces_change_nothing(operator, shapes, rng, monkeypatch):
    f = getattr(convolution, operator)
    extra = (3,) if "pool" in operator else ()
    arrays = [rng.standard_normal(shape) for shape in shapes]
    weight = rng.standard_normal(f(*arrays, *extra, stride=2, padding=1).shape)

    def run():
        loss = lambda p: operators.sum(f(*p, *extra, stride=2, padding=1) * weight)
        return value_and_grad(loss)(arrays)

    monkeypatch.setattr(parallel, "threads", lambda: 1)
    value, gradients = run()
    monkeypatch.setattr(parallel, "threads", lambda: 3)
    monkeypatch.setattr(parallel, "WORTHWHILE", 0)
    monkeypatch.setattr(convolution.windows, "CACHE", 1)
    again, together = run()
    assert np.isclose(value, again, rtol=1e-12)
    for a, b in zip(gradients, together):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("traced", [(0,), (1,), (2,), (0, 2)])
def test_conv2d_with_only_some_arguments_traced(traced, rng):
    arrays = [rng.standard_normal(s) for s in ((2, 2, 5, 5), (3, 2, 3, 3), (3,))]
    weight = rng.standard_normal((2, 3, 5, 5))

    def loss(chosen):
        mixed = list(arrays)
        for i, value in zip(traced, chosen):
            mixed[i] = value
        return operators.sum(convolution.conv2d(*mixed, padding=1) * weight)

    _, some = value_and_grad(loss)([arrays[i] for i in traced])
    every = value_and_grad(lambda p: operators.sum(convolution.conv2d(*p, padding=1) * weight))(
        arrays
    )[1]
    assert all(np.allclose(g, every[i], rtol=1e-13) for g, i in zip(some, traced))


def test_float32_stays_float32_and_arguments_are_left_alone(rng):
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((2, 2, 5, 5), (3, 2, 3, 3), (3,))]
    before = [a.copy() for a in arrays]

    def loss(p):
        y = convolution.max_pool2d(convolution.conv2d(*p, padding=1), 2)
        return operators.sum(convolution.avg_pool2d(y, 2))

    value, gradients = value_and_grad(loss)(arrays)
    assert value.dtype == np.float32 and all(g.dtype == np.float32 for g in gradients)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before))


def test_max_pool_gives_a_tie_to_the_first_in_reading_order():
    x = np.ones((1, 1, 2, 2))
    _, (dx,) = value_and_grad(lambda p: operators.sum(convolution.max_pool2d(p[0], 2)))([x])
    assert dx.tolist() == [[[[1, 0], [0, 0]]]]
