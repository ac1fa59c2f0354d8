"""Numerical oracles: finite differences and relative errors.

Everything here works in float64 and knows nothing of the tape, so that it can
contradict it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Tree = Any  # an array or number, or a nested dict/list/tuple of them


def to_numpy(x: Any) -> np.ndarray:
    """Bring an array of any engine (or a number) to NumPy, without a copy where possible."""
    if hasattr(x, "asnumpy"):  # mxnet, whose arrays have a detach() too
        return x.asnumpy()
    if hasattr(x, "detach"):  # torch
        return x.detach().cpu().numpy()
    if not isinstance(x, np.ndarray) and hasattr(x, "value"):  # a traced Tensor
        return to_numpy(x.value)
    return np.asarray(x)


def leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``(path, leaf)`` of a nested dict/list/tuple in a fixed order."""
    if isinstance(tree, dict):
        for key in sorted(tree):
            yield from leaves(tree[key], f"{path}.{key}" if path else str(key))
    elif isinstance(tree, (list, tuple)):
        for i, item in enumerate(tree):
            yield from leaves(item, f"{path}[{i}]")
    else:
        yield path, tree


def tree_map(f: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `f` to the leaves of trees of one structure."""
    if isinstance(tree, dict):
        return {k: tree_map(f, tree[k], *(o[k] for o in others)) for k in tree}
    if isinstance(tree, (list, tuple)):
        return type(tree)(tree_map(f, *items) for items in zip(tree, *others, strict=True))
    return f(tree, *others)


def relative_error(a: Any, b: Any) -> float:
    """Largest difference over the largest magnitude, ``max|a - b| / max(|a|, |b|)``.

    Scaling by the array's largest entry, not entry by entry, keeps an entry that
    is zero up to rounding from counting as wholly wrong. Two arrays of zeros have
    error 0; arrays of two shapes raise ``ValueError``.
    """
    a, b = to_numpy(a), to_numpy(b)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    if a.size == 0:
        return 0.0
    wide = np.complex128 if np.iscomplexobj(a) or np.iscomplexobj(b) else np.float64
    a, b = a.astype(wide), b.astype(wide)
    scale = max(np.max(np.abs(a)), np.max(np.abs(b)))
    difference = np.max(np.abs(a - b))
    return float(difference / scale) if scale > 0 else float(difference)


def numerical_gradient(f: Callable[[Any], Any], x: Tree, eps: float = 1e-6) -> Tree:
    """Central differences of a scalar function, entry by entry, in float64.

    Parameters
    ----------
    f : callable
        Takes what `x` is (an array or a nested dict/list/tuple of arrays) and
        returns a scalar.
    x : array or nest of arrays
        Brought to float64; never changed in place.
    eps : float
        Step; the error is of the order ``eps**2`` (truncation) plus ``1e-16 / eps``
        (rounding).

    Returns
    -------
    array or nest of arrays
        The gradient, float64, in the structure of `x`.
    """
    point = tree_map(lambda a: np.array(to_numpy(a), dtype=np.float64), x)
    gradient = tree_map(np.zeros_like, point)
    for (_, values), (_, slot) in zip(leaves(point), leaves(gradient), strict=True):
        for i in np.ndindex(values.shape):
            kept = values[i]
            values[i] = kept + eps
            above = float(to_numpy(f(tree_map(np.copy, point))))
            values[i] = kept - eps
            below = float(to_numpy(f(tree_map(np.copy, point))))
            values[i] = kept
            slot[i] = (above - below) / (2 * eps)
    return gradient


def projected_derivatives(
    f: Callable[[Any], Any],
    x: Tree,
    gradient: Tree,
    rng: np.random.Generator,
    directions: int = 3,
    eps: float = 1e-6,
) -> tuple[np.ndarray, np.ndarray]:
    """Derivative of scalar `f` along random unit directions: by `gradient`, and by differences.

    One direction touches every entry at once, so two calls of `f` check a gradient of
    any size. Returns two arrays ``(directions,)``: what `gradient` says, what `f` does.
    """
    point = tree_map(lambda a: np.array(to_numpy(a), dtype=np.float64), x)
    said, done = [], []
    for _ in range(directions):
        v = tree_map(lambda a: rng.standard_normal(a.shape), point)
        norm = np.sqrt(sum(np.sum(d * d) for _, d in leaves(v)))
        v = tree_map(lambda d, norm=norm: d / norm, v)
        above = f(tree_map(lambda a, d: a + eps * d, point, v))
        below = f(tree_map(lambda a, d: a - eps * d, point, v))
        done.append((float(to_numpy(above)) - float(to_numpy(below))) / (2 * eps))
        pairs = zip(leaves(gradient), leaves(v), strict=True)
        said.append(sum(float(np.sum(to_numpy(g) * d)) for (_, g), (_, d) in pairs))
    return np.array(said), np.array(done)


def vjp_check(
    engine: Any,
    f: Callable[..., Any],
    args: tuple[Any, ...],
    rng: np.random.Generator,
    directions: int = 3,
    eps: float = 1e-6,
) -> tuple[np.ndarray, np.ndarray]:
    """Vector-Jacobian products of an operator, against projected central differences.

    Draws ``dY`` (one array per output), differentiates ``sum(dY * f(*args))`` with
    respect to all of `args` (float64), and projects each argument's gradient on random
    directions of its own, so a mistake in one argument cannot hide behind another.

    Parameters
    ----------
    engine : Engine
    f : callable
        Takes engine arrays, returns one array or a (nested) tuple of them.
    args : tuple of arrays
        The arguments to differentiate; close over the others.
    rng : numpy.random.Generator

    Returns
    -------
    analytic, numeric : ndarray (len(args) * directions,)
        For ``prove(analytic, numeric)``.
    """
    args = tuple(np.array(to_numpy(a), dtype=np.float64) for a in args)

    def run(values: Any) -> list[Any]:
        return [y for _, y in leaves(f(*values)) if y is not None]

    weights = [
        rng.standard_normal(to_numpy(y).shape)
        for y in run([engine.array(a, dtype="float64") for a in args])
    ]

    def loss(values: Any) -> Any:
        total = None
        for y, w in zip(run(values), weights, strict=True):
            term = engine.sum(engine.multiply(y, engine.array(w, dtype="float64")))
            total = term if total is None else engine.add(total, term)
        return total

    params = [engine.parameter(a, dtype="float64") for a in args]
    _, grads = engine.value_and_grad(loss)(params)
    analytic, numeric = [], []
    for i in range(len(args)):

        def of_one(x: np.ndarray, i: int = i) -> Any:
            values = [engine.array(a, dtype="float64") for a in args]
            values[i] = engine.array(x, dtype="float64")
            return engine.asnumpy(loss(values))

        said, done = projected_derivatives(of_one, args[i], grads[i], rng, directions, eps)
        analytic.append(said)
        numeric.append(done)
    return np.concatenate(analytic), np.concatenate(numeric)
