"""Proofs of the page framework/layers: normalisation and dropout."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.layers import BatchNorm, Dropout, LayerNorm
from tests.framework.layer_tools import Fixed, f64, gradient_of, jacobian, signs
from tests.numeric import numerical_gradient, vjp_check

# --- normalisation -----------------------------------------------------------------------

EPS = 0.1  # large, so that a misplaced epsilon shows


@pytest.mark.equation(
    "layers-centre-jacobian",
    "layers-variance-grad",
    "layers-rstd-grad",
    "layers-normalise-jacobian",
)
def test_normalisation_step_by_step(engine, rng, prove):
    n, x = 6, rng.normal(size=6)
    c = x - x.mean()
    r = 1 / np.sqrt((c**2).mean() + EPS)
    xhat = r * c

    def centred(p):
        return p - engine.mean(p)

    def variance(p):
        return engine.mean(centred(p) ** 2, keepdims=True)

    def rstd(p):
        return (variance(p) + EPS) ** -0.5

    one, zero = f64(engine, np.ones(n)), f64(engine, np.zeros(n))
    steps = {
        "layers-centre-jacobian": (centred, np.eye(n) - 1 / n),
        "layers-variance-grad": (variance, 2 * c[None] / n),
        "layers-rstd-grad": (rstd, -(r**2) * xhat[None] / n),
        "layers-normalise-jacobian": (
            lambda p: engine.layer_norm(p, one, zero, eps=EPS),
            r * (np.eye(n) - 1 / n - np.outer(xhat, xhat) / n),
        ),
    }
    for label, (f, formula) in steps.items():
        found = jacobian(engine, f, x)
        prove(formula, found, oracle="engine's gradient", label=label)
        measured = [
            numerical_gradient(lambda v, i=i, f=f: engine.asnumpy(f(f64(engine, v))).ravel()[i], x)
            for i in range(len(formula))
        ]
        prove(formula, np.array(measured), label=label)


def page_formula(x, gamma, dy, axes, eps):
    c = x - x.mean(axes, keepdims=True)
    r = 1 / np.sqrt((c**2).mean(axes, keepdims=True) + eps)
    xhat, dxhat = r * c, gamma * dy
    dx = r * (
        dxhat - dxhat.mean(axes, keepdims=True) - xhat * (dxhat * xhat).mean(axes, keepdims=True)
    )
    return dx, xhat


@pytest.mark.equation("layer-norm-dx", "layers-norm-affine")
def test_layer_norm_gradients(engine, rng, prove):
    x, dy = rng.normal(2.0, 3.0, size=(4, 3, 5)), rng.normal(size=(4, 3, 5))
    layer = LayerNorm(5, eps=EPS)
    layer.load_state({"gamma": rng.normal(size=5), "beta": rng.normal(size=5)})
    dx, own = gradient_of(engine, layer, x, dy)
    formula, xhat = page_formula(x, engine.asnumpy(layer.gamma), dy, -1, EPS)
    prove(formula, dx, oracle="engine's gradient", label="layer-norm-dx")
    affine = {"gamma": (dy * xhat).sum((0, 1)), "beta": dy.sum((0, 1))}
    prove(affine, own, oracle="engine's gradient", label="layers-norm-affine")
    args = (x, engine.asnumpy(layer.gamma), engine.asnumpy(layer.beta))
    prove(*vjp_check(engine, lambda *a: engine.layer_norm(*a, eps=EPS), args, rng))


@pytest.mark.equation("batch-norm-dx", "layers-norm-affine")
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 5)])
def test_batch_norm_gradients(engine, rng, prove, shape):
    x, dy = rng.normal(2.0, 3.0, size=shape), rng.normal(size=shape)
    axes, wide = (0, *range(2, len(shape))), (1, 3) + (1,) * (len(shape) - 2)
    layer = BatchNorm(3, eps=EPS)
    start = {**layer.state(), "gamma": rng.normal(size=3), "beta": rng.normal(size=3)}
    layer.load_state(start)
    dx, own = gradient_of(engine, layer, x, dy, rng)
    gamma = engine.asnumpy(layer.gamma)
    formula, xhat = page_formula(x, gamma.reshape(wide), dy, axes, EPS)
    prove(formula, dx, oracle="engine's gradient", label="batch-norm-dx")
    affine = {"gamma": (dy * xhat).sum(axes), "beta": dy.sum(axes)}
    prove(affine, own, oracle="engine's gradient", label="layers-norm-affine")
    args = (x, gamma, engine.asnumpy(layer.beta))
    prove(*vjp_check(engine, lambda *a: engine.batch_norm(*a, eps=EPS)[0], args, rng))


@pytest.mark.equation("layer-norm-dx", "batch-norm-dx", "layers-norm-affine")
def test_normalisation_against_torch(engine, rng, prove):
    torch = pytest.importorskip("torch")
    x, dy = rng.normal(size=(4, 3, 2, 5)), rng.normal(size=(4, 3, 2, 5))
    theirs = {"layer-norm-dx": torch.nn.LayerNorm(5), "batch-norm-dx": torch.nn.BatchNorm2d(3)}
    for (label, peer), layer in zip(theirs.items(), (LayerNorm(5), BatchNorm(3))):
        dx, own = gradient_of(engine, layer, x, dy, rng)
        leaf = torch.tensor(x, requires_grad=True)
        (peer.double()(leaf) * torch.tensor(dy)).sum().backward()
        prove(dx, leaf.grad.numpy(), oracle="torch", label=label)
        their_own = {"gamma": peer.weight.grad.numpy(), "beta": peer.bias.grad.numpy()}
        prove(own, their_own, oracle="torch", label="layers-norm-affine")


def running_statistics(engine, rng, batches, rho):
    """What a batch normalisation remembers of these batches."""
    layer = BatchNorm(3, momentum=rho).astype("float64")
    for batch in batches:
        layer(f64(engine, batch), rng)
    return {name: engine.asnumpy(value) for name, value in layer.buffers().items()}


@pytest.mark.equation("layers-running-average")
def test_running_statistics(engine, rng, prove):
    batches, rho = rng.normal(1.0, 2.0, size=(7, 6, 3, 2)), 0.3
    buffers = running_statistics(engine, rng, batches, rho)
    means = batches.mean((1, 3))
    unbiased = batches.transpose(0, 2, 1, 3).reshape(7, 3, 12).var(-1, ddof=1)
    weights = rho * (1 - rho) ** np.arange(6, -1, -1)
    left = (1 - rho) ** 7  # weight of the start: mean 0, variance 1
    closed = {"running_mean": weights @ means, "running_var": left + weights @ unbiased}
    prove(buffers, closed, oracle="closed form")


@pytest.mark.equation("layers-running-average")
def test_running_statistics_are_those_of_torch(engine, rng, prove):
    torch = pytest.importorskip("torch")
    batches, rho = rng.normal(1.0, 2.0, size=(7, 6, 3, 2)), 0.3
    buffers = running_statistics(engine, rng, batches, rho)
    peer = torch.nn.BatchNorm1d(3, momentum=rho).double()
    for batch in batches:
        peer(torch.tensor(batch))
    theirs = {"running_mean": peer.running_mean.numpy(), "running_var": peer.running_var.numpy()}
    prove(buffers, theirs, oracle="torch")


# --- dropout -----------------------------------------------------------------------------


@pytest.mark.equation("layers-dropout-expectation", "layers-dropout-variance")
def test_dropout_moments_over_all_masks(engine, rng, prove):
    """Every mask of 8 entries once, weighted with its probability."""
    q, x = 0.3, rng.normal(size=8)
    keeps = signs(8) > 0  # (256, 8)
    probability = np.where(keeps, 1 - q, q).prod(1)
    y = Dropout(q)(f64(engine, np.tile(x, (256, 1))), Fixed(np.where(keeps, 0.9, 0.1)))
    y = engine.asnumpy(y)
    mean = probability @ y
    prove(mean, x, oracle="enumeration", tol=1e-7, label="layers-dropout-expectation")
    variance = probability @ (y - mean) ** 2
    prove(
        variance,
        q / (1 - q) * x**2,
        oracle="enumeration",
        tol=2e-7,
        label="layers-dropout-variance",
    )  # the mask's scale 1/(1 − q) is a float32 number


@pytest.mark.equation("layers-dropout-dx")
def test_dropout_gradient_uses_the_same_mask(engine, rng, prove):
    x, dy, layer = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), Dropout(0.4)

    def loss(p):
        y = layer(p, np.random.default_rng(7))
        return engine.sum(y * f64(engine, dy))

    _, dx = engine.value_and_grad(loss)(engine.parameter(x, dtype="float64"))
    numeric = numerical_gradient(lambda v: engine.asnumpy(loss(f64(engine, v))), x)
    prove(engine.asnumpy(dx), numeric)
    mask = engine.asnumpy(layer(f64(engine, np.ones((5, 7))), np.random.default_rng(7)))
    assert set(np.unique(mask.round(6))) == {0.0, round(1 / 0.6, 6)}
    prove(engine.asnumpy(dx), mask * dy, oracle="closed form")
