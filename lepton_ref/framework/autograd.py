"""A define-by-run tape: reverse-mode differentiation in one screen.

An operator is a function of NumPy arrays that returns its value and one vector-Jacobian
product per argument. The tape records each call while the network runs, so the network may
branch, loop and change from one call to the next. :func:`value_and_grad` walks the record
backwards once.

The rule it applies at every node is the chain rule in vector-Jacobian form
(eq. autograd-chain-rule); where a value is used more than once the contributions are summed
(eq. autograd-fan-out).

Source: Griewank and Walther, *Evaluating Derivatives*, 2nd ed., chapter 3.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.trees import flatten, map_tree, unflatten

#: Every differentiable operator by name; the registry-driven tests walk it.
OPERATORS: dict[str, Callable[..., Any]] = {}

_creation = itertools.count()
_mode = threading.local()


class Node:
    """One recorded operator call: who its inputs were and how to send gradients to them."""

    __slots__ = ("index", "name", "parents", "vjp", "arity", "width")

    def __init__(
        self, name: str, parents: list[tuple[int, Tensor]], vjp: Any, arity: int = 0, width: int = 1
    ) -> None:
        self.index = next(_creation)
        self.name = name
        self.parents = parents  # (position among the arguments, tensor)
        self.vjp = vjp
        self.arity = arity  # number of array arguments
        self.width = width  # number of outputs


class Tensor:
    """A NumPy array whose history is recorded. Lives only inside :func:`value_and_grad`."""

    __slots__ = ("value", "node", "slot")
    __array_ufunc__ = None  # so that ndarray + Tensor defers to Tensor.__radd__

    def __init__(self, value: Any, node: Node, slot: int = 0) -> None:
        self.value = value
        self.node = node
        self.slot = slot

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return f"Tensor({self.value!r}, from={self.node.name!r})"

    # Comparisons steer the Python program (dynamic graphs); they carry no gradient.
    def __lt__(self, other):
        return self.value < raw(other)

    def __le__(self, other):
        return self.value <= raw(other)

    def __gt__(self, other):
        return self.value > raw(other)

    def __ge__(self, other):
        return self.value >= raw(other)


def raw(x: Any) -> Any:
    """The plain array inside ``x``, or ``x`` itself."""
    return x.value if type(x) is Tensor else x


def op(function: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    """Make a differentiable operator of ``function`` and register it under its name.

    ``function`` receives plain arrays and returns ``(value, vjp)``. ``vjp`` is a tuple with
    one function of the output's gradient per leading array argument (``None`` where there is
    no gradient), or one joint function ``vjp(dy, needs)`` that returns the gradients of all
    array arguments, where ``needs[i]`` tells whether argument ``i`` wants one. An operator
    with several outputs returns a tuple as its value; then ``dy`` is a tuple, with ``None``
    for outputs that nothing depended on. Nothing is recorded when no argument is traced.
    """
    name = function.__name__.lstrip("_")
    signature = inspect.signature(function)
    arity = sum(p.default in (p.empty, None) for p in signature.parameters.values())

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(type(a) is Tensor for a in kwargs.values()):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        parents = [(i, a) for i, a in enumerate(args) if type(a) is Tensor]
        try:
            plain = [raw(a) for a in args] if parents else args
            value, vjp = function(*plain, **kwargs)
        except ArgumentError:
            raise
        except (ValueError, IndexError, TypeError) as error:
            shapes = ", ".join(str(np.shape(raw(a))) for a in args if hasattr(a, "shape"))
            raise ArgumentError(name, "arguments", f"shapes {shapes}", str(error)) from error
        if type(value) is np.float64 and not any(_is_float64(a) for a in plain):
            value = np.float32(value)  # NumPy 1 widens a float32 scalar beside a Python number
        if not parents or getattr(_mode, "paused", False):
            return value
        if type(value) is tuple:
            node = Node(name, parents, vjp, arity, len(value))
            return tuple(Tensor(v, node, slot) for slot, v in enumerate(value))
        return Tensor(value, Node(name, parents, vjp, arity))

    OPERATORS[name] = call
    return call


def _is_float64(x: Any) -> bool:
    return getattr(x, "dtype", None) == np.float64


def unbroadcast(dy: np.ndarray, like: Any) -> np.ndarray:
    """Sum ``dy`` over the axes along which ``like`` was broadcast.

    If Y = A + 0·B with A of shape s broadcast to the shape of Y, then dA is dY summed over
    every axis that s lacks or in which s has size 1 (eq. broadcast-vjp).
    """
    shape = np.shape(like)
    if dy.shape == shape:
        return dy
    extra = dy.ndim - len(shape)
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1 and dy.shape[i + extra] != 1)
    return dy.sum(axis=tuple(range(extra)) + stretched, keepdims=True).reshape(shape)


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside: traced arrays in, plain arrays out."""
    before, _mode.paused = getattr(_mode, "paused", False), True
    try:
        yield
    finally:
        _mode.paused = before


@contextmanager
def differentiating() -> Iterator[None]:
    """The forward pass of :func:`value_and_grad`, on every engine; one inside another is refused.

    Raises
    ------
    ArgumentError
        When this thread is in a forward pass already: the tapes would run into each other.
    """
    if getattr(_mode, "differentiating", False):
        raise ArgumentError(
            "value_and_grad", "function", "another value_and_grad inside",
            "one at a time: no double backward",
        )  # fmt: skip
    _mode.differentiating = True
    try:
        yield
    finally:
        _mode.differentiating = False


def stop_gradient(x: Any) -> Any:
    """The value of ``x`` as a constant: dL/dx is zero along this path."""
    return map_tree(raw, x)


def ancestors(node: Node) -> list[Node]:
    """``node`` and everything it depends on, in the order of creation."""
    found, frontier = {node}, [node]
    while frontier:
        for _, parent in frontier.pop().parents:
            if parent.node not in found:
                found.add(parent.node)
                frontier.append(parent.node)
    return sorted(found, key=lambda n: n.index)


def tape(function: Callable[..., Any]) -> Callable[..., list[str]]:
    """Turn ``function(params, *args) -> scalar`` into one that returns its tape.

    The result lists the operators that the scalar depends on, in the order they were called:
    what one backward pass will visit, one vjp each (eq. autograd-cost).
    """

    def run(params: Any, *args: Any, **kwargs: Any) -> list[str]:
        traced = map_tree(lambda a: Tensor(a, Node("parameter", [], None)), params)
        output = function(traced, *args, **kwargs)
        return [node.name for node in ancestors(output.node) if node.vjp is not None]

    return run


def backward(output: Tensor) -> dict[Node, list[Any]]:
    """Gradients of the scalar ``output`` with respect to every leaf it depends on.

    Nodes are visited in the reverse order of their creation, which is a topological order,
    so no recursion is needed and a network of any depth can be differentiated.
    """
    nodes = ancestors(output.node)
    reachable: dict[Node, list[Any]] = {node: [None] * node.width for node in nodes}
    reachable[output.node][output.slot] = np.ones_like(output.value)
    summed: set[tuple[Node, int]] = set()
    leaves = {}
    for node in reversed(nodes):
        grads = reachable.pop(node)
        if node.vjp is None:
            leaves[node] = grads
            continue
        dy = grads[0] if node.width == 1 else tuple(grads)
        for parent, gradient in _send(node, dy):
            slots, slot = reachable[parent.node], parent.slot
            if slots[slot] is None:
                slots[slot] = gradient
            elif (parent.node, slot) in summed:
                slots[slot] += gradient
            else:  # the first contribution may be an array that somebody else still holds
                slots[slot] = slots[slot] + gradient
                if isinstance(slots[slot], np.ndarray):
                    summed.add((parent.node, slot))
        node.parents, node.vjp = [], None  # free the buffers that the closures hold
    return leaves


def _send(node: Node, dy: Any) -> Iterator[tuple[Tensor, Any]]:
    if dy is None or (node.width > 1 and all(part is None for part in dy)):
        return  # reached through a non-differentiable argument only
    if callable(node.vjp):
        traced = {i for i, _ in node.parents}
        gradients = node.vjp(dy, tuple(i in traced for i in range(node.arity)))
    else:
        gradients = {i: node.vjp[i] and node.vjp[i](dy) for i, _ in node.parents}
    for i, parent in node.parents:
        if gradients[i] is not None:
            yield parent, gradients[i]


def _leaf(path: str, array: Any) -> Tensor:
    if type(array) is Tensor:
        raise ArgumentError("value_and_grad", path, "a history", "plain arrays: no double backward")
    if not isinstance(array, (np.ndarray, np.floating)) or array.dtype.kind != "f":
        kind = getattr(array, "dtype", type(array).__name__)
        raise ArgumentError(
            "value_and_grad", path, f"dtype {kind}", "a float32 or float64 NumPy array"
        )
    return Tensor(array, Node("parameter", [], None))


def value_and_grad(function: Callable[..., Any], has_aux: bool = False) -> Callable[..., Any]:
    """Turn ``function(params, *args) -> scalar`` into one that also returns dL/dparams.

    Parameters
    ----------
    function : callable
        Returns a scalar, or ``(scalar, aux)`` when ``has_aux`` is true.
    has_aux : bool
        Whether the function returns further results beside the scalar.

    Returns
    -------
    callable
        ``(params, *args) -> (value, grads)``; ``grads`` has the structure of ``params``
        (nested dicts, lists and tuples of arrays). With ``has_aux``,
        ``((value, aux), grads)``.

    Raises
    ------
    ArgumentError
        When the result is no scalar, does not depend on any parameter, a parameter is not a
        floating array, or parameters are already being differentiated (no double backward).
    """

    @functools.wraps(function)
    def run(params: Any, *args: Any, **kwargs: Any) -> Any:
        arrays, structure = flatten(params)
        with differentiating():
            leaves = [_leaf(path, array) for path, array in arrays]
            result = function(unflatten(structure, leaves), *args, **kwargs)
        output, aux = result if has_aux else (result, None)
        if np.shape(raw(output)) != ():
            raise ArgumentError(
                "value_and_grad",
                "function",
                f"a result of shape {np.shape(raw(output))}",
                "a scalar (shape ())",
            )
        if type(output) is not Tensor:
            raise ArgumentError(
                "value_and_grad",
                "function",
                "a result that depends on no parameter",
                "a scalar computed from the parameters",
            )
        found = backward(output)
        grads = [
            np.zeros_like(leaf.value)
            if found.get(leaf.node, [None])[0] is None
            else np.asarray(found[leaf.node][0], dtype=leaf.value.dtype)
            for leaf in leaves
        ]
        value = (output.value, stop_gradient(aux)) if has_aux else output.value
        return value, unflatten(structure, grads)

    return run
