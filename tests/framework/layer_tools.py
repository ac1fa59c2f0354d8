"""What the tests of layers and losses share: float64 arrays, Jacobians, enumerations."""

from __future__ import annotations

import itertools

import numpy as np

from tests.numeric import numerical_gradient


def f64(engine, x):
    return engine.array(np.asarray(x), dtype="float64")


def jacobian(engine, f, x):
    """Every entry ∂f_i/∂x_j by the engine, shape (outputs, inputs)."""
    rows = []
    size = engine.asnumpy(f(f64(engine, x))).size
    for pick in np.eye(size):

        def one(p, pick=pick):
            return engine.sum(engine.reshape(f(p), (size,)) * f64(engine, pick))

        _, dx = engine.value_and_grad(one)(engine.parameter(x, dtype="float64"))
        rows.append(engine.asnumpy(dx).ravel())
    return np.array(rows)


def gradient_of(engine, layer, x, dy, rng=None):
    """dX and the gradients of the parameters of sum(dy * layer(x)), in float64."""

    def loss(params):
        y = layer.apply(params["own"], params["x"], rng)
        return engine.sum(y * f64(engine, dy))

    params = {"own": layer.astype("float64").parameters()}
    params["x"] = engine.parameter(x, dtype="float64")
    _, grads = engine.value_and_grad(loss)(params)
    return engine.asnumpy(grads["x"]), {k: engine.asnumpy(v) for k, v in grads["own"].items()}


def gradient(engine, loss, z):
    """dZ by the engine and by finite differences, in float64."""
    _, dz = engine.value_and_grad(loss)(engine.parameter(z, dtype="float64"))
    return engine.asnumpy(dz), numerical_gradient(lambda v: engine.asnumpy(loss(f64(engine, v))), z)


class Fixed(np.random.Generator):
    """A generator whose uniform numbers in [0, 1) are given beforehand."""

    def __init__(self, numbers):
        super().__init__(np.random.PCG64(0))
        self.numbers = np.asarray(numbers)

    def random(self, size=None, dtype=np.float64, out=None):
        assert tuple(size) == self.numbers.shape
        return self.numbers.astype(dtype)


def signs(*shape):
    """All arrays of this shape with entries ±1, stacked: every weight equally likely."""
    n = int(np.prod(shape))
    return np.array(list(itertools.product((-1.0, 1.0), repeat=n))).reshape(2**n, *shape)
