"""Every equation of the page vision/convolution, against loops that follow it letter by letter."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision import convolution
from tests.numeric import numerical_gradient, vjp_check

GEOMETRIES = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 2)]  # (stride, padding)


def framed(x, p, value=0.0):
    return np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=value)


def output_size(h, k, s, p):
    """The number of windows that fit, counted by laying them down one after the other."""
    return sum(1 for top in range(0, h + 2 * p, s) if top + k <= h + 2 * p)


def positions(shape, kernel, s, p):
    h, w = (output_size(n, k, s, p) for n, k in zip(shape[2:], kernel))
    return itertools.product(range(shape[0]), range(h), range(w))


def naive_forward(x, w, b, s, p):
    padded = framed(x, p)
    sizes = [output_size(n, k, s, p) for n, k in zip(x.shape[2:], w.shape[2:])]
    y = np.zeros((x.shape[0], w.shape[0], *sizes))
    kh, kw = w.shape[2:]
    for n, i, j in positions(x.shape, (kh, kw), s, p):
        window = padded[n, :, s * i : s * i + kh, s * j : s * j + kw]
        for o in range(w.shape[0]):
            y[n, o, i, j] = b[o] + (w[o] * window).sum()
    return y


def naive_dw(x, w, dy, s, p):
    padded, dw = framed(x, p), np.zeros_like(w)
    kh, kw = w.shape[2:]
    for n, i, j in positions(x.shape, (kh, kw), s, p):
        window = padded[n, :, s * i : s * i + kh, s * j : s * j + kw]
        for o in range(w.shape[0]):
            dw[o] += dy[n, o, i, j] * window
    return dw


def naive_dx(x, w, dy, s, p):
    """eq. conv2d-dx read literally: for each pixel, over the kernel entries that reach it."""
    n_images, _, h, width = x.shape
    _, _, kh, kw = w.shape
    out_h, out_w = dy.shape[2:]
    dx = np.zeros((n_images, x.shape[1], h + 2 * p, width + 2 * p))
    for r, q, u, v in itertools.product(
        range(h + 2 * p), range(width + 2 * p), range(kh), range(kw)
    ):
        if (r - u) % s or (q - v) % s:
            continue
        i, j = (r - u) // s, (q - v) // s
        if 0 <= i < out_h and 0 <= j < out_w:
            dx[:, :, r, q] += dy[:, :, i, j] @ w[:, :, u, v]
    return dx[:, :, p : p + h, p : p + width]


def case(rng, s, p, n=2, c=3, o=4, h=7, width=6, kh=3, kw=2):
    x, w, b = rng.normal(size=(n, c, h, width)), rng.normal(size=(o, c, kh, kw)), rng.normal(size=o)
    dy = rng.normal(size=(n, o, output_size(h, kh, s, p), output_size(width, kw, s, p)))
    return x, w, b, dy


def engine_gradients(engine, operator, dy, *arrays):
    weights = engine.array(dy, dtype="float64")
    params = [engine.parameter(a, dtype="float64") for a in arrays]
    _, grads = engine.value_and_grad(lambda p: engine.sum(operator(*p) * weights))(params)
    return [engine.asnumpy(g) for g in grads]


@pytest.mark.equation("conv2d-forward")
@pytest.mark.parametrize(("s", "p"), GEOMETRIES)
def test_forward(engine, rng, prove, s, p):
    x, w, b, _ = case(rng, s, p)
    args = [engine.array(a, dtype="float64") for a in (x, w, b)]
    y = engine.asnumpy(engine.conv2d(*args, stride=s, padding=p))
    prove(y, naive_forward(x, w, b, s, p), oracle="nested loops", tol=1e-12)


@pytest.mark.equation("conv2d-db", "conv2d-dw", "conv2d-dx")
@pytest.mark.parametrize(("s", "p"), GEOMETRIES)
def test_gradients(engine, rng, prove, s, p):
    x, w, b, dy = case(rng, s, p)
    dx, dw, db = engine_gradients(
        engine, lambda x, w, b: engine.conv2d(x, w, b, stride=s, padding=p), dy, x, w, b
    )
    prove(db, dy.sum(axis=(0, 2, 3)), oracle="closed form", label="conv2d-db", tol=1e-12)
    prove(dw, naive_dw(x, w, dy, s, p), oracle="nested loops", label="conv2d-dw", tol=1e-12)
    prove(dx, naive_dx(x, w, dy, s, p), oracle="nested loops", label="conv2d-dx", tol=1e-12)


@pytest.mark.equation("conv2d-db", "conv2d-dw", "conv2d-dx")
def test_gradients_against_finite_differences(engine, rng, prove):
    x, w, b, dy = case(rng, 2, 1, n=2, c=2, o=2, h=5, width=4)

    def loss(arrays):
        return (naive_forward(*arrays, 2, 1) * dy).sum()

    found = engine_gradients(
        engine, lambda x, w, b: engine.conv2d(x, w, b, stride=2, padding=1), dy, x, w, b
    )
    measured = numerical_gradient(loss, [x, w, b])
    for gradient, difference, name in zip(found, measured, ("dx", "dw", "db")):
        prove(gradient, difference, label=f"conv2d-{name}")


@pytest.mark.equation("conv2d-output-size")
def test_output_size(prove):
    cases = list(itertools.product(range(3, 12), range(1, 4), range(1, 4), range(3)))
    formula = [(h + 2 * p - k) // s + 1 for h, k, s, p in cases]
    ours = [
        convolution.conv2d(np.zeros((1, 1, h, h)), np.zeros((1, 1, k, k)), None, s, p).shape[2]
        for h, k, s, p in cases
    ]
    prove(np.array(ours), np.array([output_size(*c) for c in cases]), oracle="count", tol=0)
    assert ours == formula


@pytest.mark.equation("conv2d-equivariance")
def test_shifting_the_image_shifts_the_output(engine, rng, prove):
    scene, w = rng.normal(size=(1, 2, 20, 9)), rng.normal(size=(3, 2, 3, 3))

    def seen_from(row):
        return engine.asnumpy(
            engine.conv2d(
                engine.array(scene[:, :, row : row + 15], dtype="float64"),
                engine.array(w, dtype="float64"),
            )
        )

    for d in (1, 4):
        prove(seen_from(d)[:, :, :-d], seen_from(0)[:, :, d:], oracle="shifted input", tol=1e-12)


@pytest.mark.equation("conv2d-im2col")
@pytest.mark.parametrize(("s", "p"), GEOMETRIES)
def test_matrix_form(rng, prove, s, p):
    """The matrix product of hand-cut columns gives the layer and its gradients."""
    E = lepton_ref.engine("numpy")
    x, w, b, dy = case(rng, s, p)
    kh, kw = w.shape[2:]
    out_h, out_w = dy.shape[2:]
    padded = framed(x, p)
    columns = np.stack([
        np.stack([
            padded[n, :, s * i : s * i + kh, s * j : s * j + kw].ravel()
            for i in range(out_h) for j in range(out_w)
        ], axis=1)
        for n in range(x.shape[0])
    ])  # fmt: skip
    flat_w, flat_dy = w.reshape(w.shape[0], -1), dy.reshape(*dy.shape[:2], -1)
    y = (flat_w @ columns + b[:, None]).reshape(dy.shape)
    prove(E.conv2d(x, w, b, s, p), y, oracle="closed form", tol=1e-12)
    dx, dw, db = engine_gradients(E, lambda x, w, b: E.conv2d(x, w, b, s, p), dy, x, w, b)
    ones = np.ones(flat_dy.shape[-1])
    prove(db, sum(flat_dy[n] @ ones for n in range(x.shape[0])), oracle="closed form", tol=1e-12)
    by_columns = sum(flat_dy[n] @ columns[n].T for n in range(x.shape[0])).reshape(w.shape)
    prove(dw, by_columns, oracle="closed form", tol=1e-12)
    ours = convolution.im2col(x, (kh, kw), (s, s), (p, p))
    prove(ours, columns, oracle="nested loops", tol=1e-12)
    dcolumns = flat_w.T @ flat_dy
    prove(dx, convolution.col2im(dcolumns, x.shape, (kh, kw), (s, s), (p, p)),
          oracle="closed form", tol=1e-12)  # fmt: skip


@pytest.mark.equation("col2im-adjoint")
@pytest.mark.parametrize(("s", "p"), GEOMETRIES)
def test_col2im_is_the_transpose_of_im2col(rng, prove, s, p):
    x = rng.normal(size=(2, 3, 7, 6))
    columns = convolution.im2col(x, (3, 2), (s, s), (p, p))
    k = rng.normal(size=columns.shape)
    back = convolution.col2im(k, x.shape, (3, 2), (s, s), (p, p))
    prove((columns * k).sum(), (x * back).sum(), oracle="inner product", tol=1e-12)


@pytest.mark.equation("conv-transpose")
@pytest.mark.parametrize(("s", "p"), GEOMETRIES)
def test_transposed_convolution_is_the_transpose(engine, rng, prove, s, p):
    """<conv(x), y> = <x, convT(y)> with one kernel, at sizes where no row is left over."""
    out = 3
    h = s * (out - 1) + 3 - 2 * p
    x, w = rng.normal(size=(2, 3, h, h)), rng.normal(size=(4, 3, 3, 3))
    y = rng.normal(size=(2, 4, out, out))
    a = [engine.array(v, dtype="float64") for v in (x, w, y)]
    forward = engine.asnumpy(engine.conv2d(a[0], a[1], stride=s, padding=p))
    back = engine.asnumpy(engine.conv_transpose2d(a[2], a[1], stride=s, padding=p))
    assert back.shape == x.shape
    prove((forward * y).sum(), (x * back).sum(), oracle="inner product", tol=1e-12)
    prove(*vjp_check(
        engine, lambda y, w: engine.conv_transpose2d(y, w, stride=s, padding=p), (y, w), rng
    ))  # fmt: skip


@pytest.mark.equation("conv2d-cost")
@pytest.mark.parametrize(("s", "p"), GEOMETRIES)
def test_multiplications_counted(prove, s, p):
    """Count the factors that a literal run of eq. conv2d-forward multiplies."""
    x_shape, w_shape = (2, 3, 7, 6), (4, 3, 3, 2)
    counted = sum(1 for _ in positions(x_shape, w_shape[2:], s, p)) * 4 * 3 * 3 * 2
    cost = convolution.conv2d_cost(x_shape, w_shape, stride=s, padding=p)
    prove(cost.forward_multiply_adds, counted, oracle="count", tol=0)
    prove(cost.backward_multiply_adds, 2 * counted, oracle="count", tol=0)


@pytest.mark.equation("conv2d-bytes")
@pytest.mark.parametrize(("s", "p"), GEOMETRIES)
def test_bytes_counted(rng, prove, s, p):
    x, w, _, dy = case(rng, s, p)
    cost = convolution.conv2d_cost(x.shape, w.shape, stride=s, padding=p)
    small = [a.astype("float32") for a in (x, w, dy)]
    prove(cost.minimum_bytes, sum(a.nbytes for a in small), oracle="count", tol=0)
    columns = convolution.im2col(small[0], w.shape[2:], (s, s), (p, p))
    prove(cost.im2col_bytes, np.ascontiguousarray(columns).nbytes, oracle="count", tol=0)


def naive_pool(x, k, s, p, reduce, frame):
    padded = framed(x, p, frame)
    sizes = [output_size(n, kk, s, p) for n, kk in zip(x.shape[2:], k)]
    y = np.zeros((*x.shape[:2], *sizes))
    for n, i, j in positions(x.shape, k, s, p):
        window = padded[n, :, s * i : s * i + k[0], s * j : s * j + k[1]]
        y[n, :, i, j] = reduce(window.reshape(x.shape[1], -1), axis=1)
    return y


POOLS = [((2, 2), 2, 0), ((3, 2), 1, 1), ((3, 3), 2, 1), ((2, 3), 3, 0)]


@pytest.mark.parametrize(("k", "s", "p"), POOLS)
@pytest.mark.equation("max-pool-forward", "max-pool-dx")
def test_max_pooling(engine, rng, prove, k, s, p):
    x = rng.permutation(2 * 3 * 7 * 6).reshape(2, 3, 7, 6) / 10.0 - 12  # no ties, some < 0
    y = naive_pool(x, k, s, p, np.max, -np.inf)
    ours = engine.max_pool2d(engine.array(x, dtype="float64"), k, stride=s, padding=p)
    prove(engine.asnumpy(ours), y, oracle="nested loops", label="max-pool-forward", tol=1e-12)
    dy = rng.normal(size=y.shape)
    (dx,) = engine_gradients(engine, lambda x: engine.max_pool2d(x, k, stride=s, padding=p), dy, x)
    routed = np.zeros((2, 3, 7 + 2 * p, 6 + 2 * p))
    padded = framed(x, p, -np.inf)
    for (n, i, j), c in itertools.product(list(positions(x.shape, k, s, p)), range(3)):
        window = padded[n, c, s * i : s * i + k[0], s * j : s * j + k[1]]
        u, v = np.unravel_index(window.argmax(), k)
        routed[n, c, s * i + u, s * j + v] += dy[n, c, i, j]
    prove(dx, routed[:, :, p : p + 7, p : p + 6], oracle="nested loops", label="max-pool-dx",
          tol=1e-12)  # fmt: skip


@pytest.mark.parametrize(("k", "s", "p"), POOLS)
@pytest.mark.equation("avg-pool-forward", "avg-pool-dx")
def test_average_pooling(engine, rng, prove, k, s, p):
    x = rng.normal(size=(2, 3, 7, 6))
    y = naive_pool(x, k, s, p, np.mean, 0.0)
    ours = engine.avg_pool2d(engine.array(x, dtype="float64"), k, stride=s, padding=p)
    prove(engine.asnumpy(ours), y, oracle="nested loops", label="avg-pool-forward", tol=1e-12)
    dy = rng.normal(size=y.shape)
    (dx,) = engine_gradients(engine, lambda x: engine.avg_pool2d(x, k, stride=s, padding=p), dy, x)
    measured = numerical_gradient(lambda x: (naive_pool(x, k, s, p, np.mean, 0.0) * dy).sum(), x)
    prove(dx, measured, label="avg-pool-dx")


def test_max_pooling_sends_ties_to_the_first(engine):
    x = engine.parameter(np.zeros((1, 1, 2, 4)))
    _, dx = engine.value_and_grad(lambda x: engine.sum(engine.max_pool2d(x, 2)))(x)
    assert engine.asnumpy(dx)[0, 0].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.equation("receptive-field")
def test_receptive_field_is_what_a_gradient_reaches(rng, prove):
    """The rows of the input that one output's gradient touches, through a stack of layers."""
    E = lepton_ref.engine("numpy")
    for stack in ([(3, 1), (3, 1)], [(3, 1), (2, 2), (3, 1)], [(5, 2), (3, 2), (2, 1)]):

        def run(x, stack=stack):
            for k, s in stack:
                x = E.conv2d(x, np.ones((1, 1, k, k)), stride=s)
            return x[0, 0, 1, 1]

        _, dx = E.value_and_grad(run)(rng.normal(size=(1, 1, 40, 40)))
        touched = np.flatnonzero(dx[0, 0].any(axis=1))
        formula = convolution.receptive_field(stack)
        prove(float(formula), float(touched[-1] - touched[0] + 1), oracle="gradient", tol=0)


def test_first_layer_does_not_pay_for_dx(rng, monkeypatch):
    """The gradient of the image is computed only when somebody asks for it."""
    E = lepton_ref.engine("numpy")
    x, w, b, dy = case(rng, 1, 1)

    def forbidden(*args, **kwargs):
        raise AssertionError("col2im ran although no gradient of x was asked for")

    monkeypatch.setattr(convolution.operators, "col2im", forbidden)
    _, grads = E.value_and_grad(lambda p: E.sum(E.conv2d(x, p["w"], p["b"], 1, 1) * dy))(
        {"w": w, "b": b}
    )
    np.testing.assert_allclose(grads["w"], naive_dw(x, w, dy, 1, 1))
    with pytest.raises(AssertionError, match="col2im ran"):
        E.value_and_grad(lambda x: E.sum(E.conv2d(x, w, b, 1, 1) * dy))(x)


@pytest.mark.parametrize(
    ("x", "w", "b", "options", "message"),
    [
        ((2, 3), (1, 3, 2, 2), None, {}, r"`x` has shape \(2, 3\); expected 4 axes \(N, C, H, W\)"),
        ((1, 3, 5, 5), (3, 2, 2), None, {}, r"`w` has shape \(3, 2, 2\); expected 4 axes"),
        ((1, 3, 5, 5), (2, 4, 3, 3), None, {}, "C = 3, the channels of `x`"),
        ((1, 3, 5, 5), (2, 3, 3, 3), (3,), {}, r"`b` has shape \(3,\); expected \(2,\)"),
        ((1, 3, 5, 5), (2, 3, 6, 3), None, {}, "a kernel of 6 along H; expected at most 5"),
        ((1, 3, 5, 5), (2, 3, 3, 3), None, {"stride": 0}, "`stride` has the value 0"),
        ((1, 3, 5, 5), (2, 3, 3, 3), None, {"padding": -1}, "`padding` has the value -1"),
        ((1, 3, 5, 5), (2, 3, 3, 3), None, {"stride": 1.5}, "`stride` has the value 1.5"),
    ],
)
def test_wrong_shapes_are_named(engine, x, w, b, options, message):
    arrays = [None if shape is None else engine.array(np.zeros(shape)) for shape in (x, w, b)]
    with pytest.raises(ArgumentError, match=message):
        engine.conv2d(*arrays, **options)


def test_wrong_dtype_is_named(engine):
    images = engine.array(np.zeros((1, 1, 4, 4), np.uint8))
    w = engine.array(np.zeros((1, 1, 3, 3)))
    with pytest.raises(ArgumentError, match="conv2d: argument `x` has dtype int64; expected a flo"):
        engine.conv2d(images, w)
    with pytest.raises(ArgumentError, match="`w` has dtype float64; expected float32"):
        engine.conv2d(engine.array(np.zeros((1, 1, 4, 4))), engine.array(
            np.zeros((1, 1, 3, 3)), dtype="float64"))  # fmt: skip


@pytest.mark.parametrize("pool", ["max_pool2d", "avg_pool2d"])
def test_wrong_pooling_is_named(engine, pool):
    x = engine.array(np.zeros((1, 1, 4, 4)))
    with pytest.raises(ArgumentError, match="`kernel_size` has a kernel of 5 along H"):
        getattr(engine, pool)(x, 5)
    with pytest.raises(ArgumentError, match="at most half of kernel_size"):
        getattr(engine, pool)(x, 2, padding=2)
    with pytest.raises(ArgumentError, match="a whole number >= 1"):
        getattr(engine, pool)(x, 0)


def test_an_empty_batch_gives_an_empty_answer(engine):
    x, w = engine.array(np.zeros((0, 2, 6, 6))), engine.array(np.zeros((3, 2, 3, 3)))
    assert tuple(engine.conv2d(x, w, padding=1).shape) == (0, 3, 6, 6)
    assert tuple(engine.max_pool2d(x, 2).shape) == (0, 2, 3, 3)
