"""What the elementary operators accept; :mod:`lepton_ref.engines.domain` has the fused ones.

The rules on dtypes are stricter than NumPy's, because the libraries part company here: whole
numbers times 0.5 are whole numbers in MXNet, float32 in PyTorch and float64 in NumPy. So an
operator takes floating arrays of one dtype; truth values may stand beside them as 0 and 1;
whole numbers add, subtract and multiply among themselves. Python numbers go with everything
of their kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from lepton_ref.engines.common import dtype_of, plain_index
from lepton_ref.engines.domain import FLOATS, dtype_name, floating, shape_of
from lepton_ref.framework.errors import ArgumentError

_BROADCASTS = "a shape that broadcasts with {}, the shape of `{}`"


def _is_number(x: Any) -> bool:
    """A number of Python; NumPy's scalars have a dtype and count as arrays."""
    return isinstance(x, (int, float)) and not isinstance(x, np.generic)


def _operands(where: str, *operands: tuple[str, Any], whole: bool) -> tuple[int, ...]:
    """Arrays or numbers of one kind, at least one an array; returns the shape they give."""
    shape: tuple[int, ...] = ()
    leader = ("", "")  # name and dtype of the first array that is not bool
    refused = operands[0]
    for argument, x in operands:
        if _is_number(x):
            continue
        own = shape_of(where, argument, x)
        if own != shape:
            shape = _broadcast(where, argument, own, operands[0][0], shape)
        name = dtype_name(x)
        if not leader[0] and name != "bool":
            leader, refused = (argument, name), (argument, x)
    if not (leader[1] in FLOATS or (whole and "int" in leader[1])):
        raise ArgumentError(where, refused[0], _kind(refused[1]), "a floating array (float32)")
    for argument, x in operands:
        if _is_number(x):
            fits = leader[1] in FLOATS or isinstance(x, int)
        else:
            fits = dtype_name(x) == leader[1] or (dtype_name(x) == "bool" and leader[1] in FLOATS)
        if not fits:
            raise ArgumentError(
                where, argument, _kind(x), f"{leader[1]}, the dtype of `{leader[0]}`"
            )
    return shape


def _kind(x: Any) -> str:
    return f"dtype {dtype_name(x)}" if hasattr(x, "dtype") else f"type {type(x).__name__}"


def _broadcast(where, argument, own, owner, shape):
    if any(m != n and 1 not in (m, n) for m, n in zip(reversed(own), reversed(shape))):
        raise ArgumentError(where, argument, f"shape {own}", _BROADCASTS.format(shape, owner))
    longer, shorter = (own, shape) if len(own) > len(shape) else (shape, own)
    lead = len(longer) - len(shorter)
    return longer[:lead] + tuple(m if n == 1 else n for m, n in zip(longer[lead:], shorter))


def _same(a: Any, b: Any) -> bool:
    """The usual case, told apart quickly: two floating arrays of one dtype and shape."""
    try:
        return a.dtype == b.dtype and a.shape == b.shape and dtype_name(a) in FLOATS
    except AttributeError:
        return False


def _elementwise(where: str, whole: bool) -> Callable[..., None]:
    def check(a: Any, b: Any) -> None:
        if not _same(a, b):
            _operands(where, ("a", a), ("b", b), whole=whole)

    return check


def _unary(where: str, whole: bool = False) -> Callable[..., None]:
    def check(x: Any) -> None:
        shape_of(where, "x", x)
        name = dtype_name(x)
        if name not in FLOATS and not (whole and "int" in name):
            raise ArgumentError(where, "x", f"dtype {name}", "a floating dtype (float32)")

    return check


def power(x: Any, exponent: Any) -> None:
    floating("power", x=x)
    if isinstance(exponent, bool) or not isinstance(exponent, Real):
        raise ArgumentError(
            "power", "exponent", f"type {type(exponent).__name__}", "a constant real number"
        )


def matmul(a: Any, b: Any) -> None:
    for argument, x in (("a", a), ("b", b)):
        shape = shape_of("matmul", argument, x)
        if len(shape) < 2:
            raise ArgumentError(
                "matmul", argument, f"shape {shape}", "at least 2 axes (..., rows, columns)"
            )
    floating("matmul", a=a, b=b)
    left, right = tuple(a.shape), tuple(b.shape)
    if left[-1] != right[-2]:
        raise ArgumentError(
            "matmul", "b", f"shape {right}",
            f"{left[-1]} rows, as many as `a` of shape {left} has columns",
        )  # fmt: skip
    if len(left) > 2 and len(right) > 2:
        pairs = zip(reversed(left[:-2]), reversed(right[:-2]))
        if any(m != n and 1 not in (m, n) for m, n in pairs):
            raise ArgumentError("matmul", "b", f"shape {right}", _BROADCASTS.format(left, "a"))


def where(condition: Any, a: Any, b: Any) -> None:
    chosen = shape_of("where", "condition", condition)
    name = dtype_name(condition)
    if name != "bool":
        raise ArgumentError("where", "condition", f"dtype {name}", "bool")
    shape = _operands("where", ("a", a), ("b", b), whole=True)
    for argument, x in (("a", a), ("b", b)):
        if not _is_number(x) and dtype_name(x) == "bool":
            raise ArgumentError("where", argument, "dtype bool", "the dtype of the other")
    _broadcast("where", "condition", chosen, "a` and `b", shape)


def getitem(x: Any, index: Any) -> None:
    plain_index(index, shape_of("getitem", "x", x))


def _axis(operator: str, axis: Any, ndim: int, argument: str = "axis") -> int:
    whole = isinstance(axis, (int, np.integer)) and not isinstance(axis, bool)
    if not whole or not -ndim <= axis < ndim:
        expected = f"a whole number in {-ndim}..{ndim - 1}"
        raise ArgumentError(operator, argument, f"the value {axis!r}", expected)
    return int(axis) % ndim


def _reduced(operator: str, x: Any, axis: Any) -> tuple[int, ...]:
    shape = shape_of(operator, "x", x)
    if axis is None:
        return shape
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if len({_axis(operator, a, len(shape)) for a in axes}) < len(axes):
        raise ArgumentError(operator, "axis", f"the value {axis!r}", "each axis once")
    return shape


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> None:
    _reduced("sum", x, axis)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> None:
    floating("mean", x=x)
    if 0 in _reduced("mean", x, axis):
        raise ArgumentError("mean", "x", f"shape {tuple(x.shape)}", "at least one entry to average")


def max(x: Any, axis: Any = None, keepdims: bool = False) -> None:
    if 0 in _reduced("max", x, axis):
        raise ArgumentError("max", "x", f"shape {tuple(x.shape)}", "at least one entry")
    if dtype_name(x) == "bool":
        raise ArgumentError("max", "x", "dtype bool", "numbers")


def reshape(x: Any, shape: Any) -> None:
    own = shape_of("reshape", "x", x)
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    whole = all(isinstance(n, (int, np.integer)) and n >= -1 for n in sizes)
    known = math.prod(n for n in sizes if n != -1) if whole else 0
    guesses = [n == -1 for n in sizes].count(True) if whole else 2
    count = math.prod(own)
    fits = known == count if guesses == 0 else guesses == 1 and known and count % known == 0
    if not fits:
        raise ArgumentError(
            "reshape", "shape", f"the value {shape!r}",
            f"{count} entries, as `x` of shape {own} has; at most one size may be -1",
        )  # fmt: skip


def transpose(x: Any, axes: Any = None) -> None:
    shape = shape_of("transpose", "x", x)
    if axes is not None:
        order = [_axis("transpose", a, len(shape), "axes") for a in axes]
        if sorted(order) != list(range(len(shape))):
            raise ArgumentError(
                "transpose", "axes", f"the value {axes!r}", f"each of {len(shape)} axes once"
            )


def _joined(operator: str, arrays: Any) -> list[tuple[int, ...]]:
    listed = isinstance(arrays, (list, tuple))
    if not listed or not arrays:
        got = "no entries" if listed else f"type {type(arrays).__name__}"
        raise ArgumentError(operator, "arrays", got, "a list of at least one array")
    shapes = [shape_of(operator, f"arrays[{i}]", a) for i, a in enumerate(arrays)]
    for i, a in enumerate(arrays):
        if dtype_name(a) != dtype_name(arrays[0]):
            raise ArgumentError(
                operator, f"arrays[{i}]", f"dtype {dtype_name(a)}",
                f"{dtype_name(arrays[0])}, the dtype of `arrays[0]`",
            )  # fmt: skip
    return shapes


def concat(arrays: Any, axis: int = 0) -> None:
    shapes = _joined("concat", arrays)
    at = _axis("concat", axis, len(shapes[0]))
    for i, shape in enumerate(shapes):
        if len(shape) != len(shapes[0]) or any(
            m != n for k, (m, n) in enumerate(zip(shape, shapes[0])) if k != at
        ):
            raise ArgumentError(
                "concat", f"arrays[{i}]", f"shape {shape}", f"{shapes[0]} but for axis {at}"
            )


def stack(arrays: Any, axis: int = 0) -> None:
    shapes = _joined("stack", arrays)
    _axis("stack", axis, len(shapes[0]) + 1)
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ArgumentError("stack", f"arrays[{i}]", f"shape {shape}", f"{shapes[0]}")


def pad(x: Any, pad_width: Any, value: float = 0.0) -> None:
    shape = shape_of("pad", "x", x)
    floating("pad", x=x)
    try:
        widths = [tuple(pair) for pair in pad_width]
    except TypeError:
        widths = [()]
    if len(widths) != len(shape) or any(
        len(pair) != 2 or any(not isinstance(n, (int, np.integer)) or n < 0 for n in pair)
        for pair in widths
    ):
        raise ArgumentError(
            "pad", "pad_width", f"the value {pad_width!r}",
            f"a pair (before, after) of whole numbers for each of {len(shape)} axes",
        )  # fmt: skip


def _normalised(operator: str) -> Callable[..., None]:
    def check(x: Any, axis: int = -1) -> None:
        shape = shape_of(operator, "x", x)
        floating(operator, x=x)
        if not shape or shape[_axis(operator, axis, len(shape))] == 0:
            raise ArgumentError(
                operator, "x", f"shape {shape}", f"at least one entry along axis {axis}"
            )

    return check


def array(x: Any, dtype: Any = None) -> None:
    dtype_of(dtype)


def assign(target: Any, value: Any) -> None:
    shape = shape_of("assign", "target", target)
    if not _is_number(value) and shape_of("assign", "value", value) != shape:
        raise ArgumentError(
            "assign", "value", f"shape {tuple(value.shape)}", f"{shape}, the shape of `target`"
        )


CHECKS: dict[str, Callable[..., None]] = {
    **{name: _elementwise(name, whole=True) for name in ("add", "subtract", "multiply")},
    "divide": _elementwise("divide", whole=False),
    **{name: _unary(name, whole=True) for name in ("negative", "abs")},
    **{
        name: _unary(name)
        for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "softplus")
    },
    **{name: _normalised(name) for name in ("softmax", "log_softmax")},
    **{
        check.__name__: check
        for check in (
            power, matmul, where, getitem, sum, mean, max, reshape, transpose, concat, stack,
            pad, array, assign,
        )
    },
    "parameter": array,
}  # fmt: skip
